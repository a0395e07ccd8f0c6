//! Many seeds, a few containerds, and what to say when one of them fails.

use std::num::NonZero;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use reclaim_testkit::{CROSSED, Containerd, RandomStore, number_from_env};
use tokio::runtime::{Builder, Runtime};

use crate::added;
use crate::check::{Tally, check};
use crate::question::Question;

/// The seeds that have failed once.
const REGRESSIONS: &str = include_str!("regressions");

/// How many stores without being told; half as many crossed ones come after them.
const STORES: u64 = 150;

/// The same, of stores to which an image is added: each is asked about a dozen times.
const STORES_ADDED_TO: u64 = 30;

/// How many tries to make a store that fails smaller. Each takes about half a second.
const SHRINKS: usize = 400;

/// What has to hold of every store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Property {
    /// What a dry run names is what is freed.
    Freed,
    /// An image that is added changes nothing for others.
    Added,
}

impl Property {
    /// The test of it.
    fn test(self) -> &'static str {
        match self {
            Self::Freed => "what_a_dry_run_names_is_what_is_freed",
            Self::Added => "an_added_image_changes_nothing_for_others",
        }
    }

    /// How many stores without being told.
    fn stores(self) -> u64 {
        match self {
            Self::Freed => STORES,
            Self::Added => STORES_ADDED_TO,
        }
    }

    /// Which seeds to run, by the environment.
    fn seeds(self) -> Vec<u64> {
        let n_stores = number_from_env("RECLAIM_EXACT_STORES");
        if let Some(first) = number_from_env("RECLAIM_EXACT_SEED") {
            return (first..).take(length(n_stores.unwrap_or(1))).collect();
        }
        let n_stores = n_stores.unwrap_or(self.stores());
        let regressions = REGRESSIONS.lines().filter_map(seed_of_line);
        let crossed = (CROSSED..).take(length(n_stores / 2));
        let stores = (0..).take(length(n_stores));
        regressions.chain(stores).chain(crossed).collect()
    }
}

fn length(n_stores: u64) -> usize {
    usize::try_from(n_stores).expect("a number of stores that can be run fits")
}

/// Reads a line of the regressions: a seed and what was wrong, or only words after `#`.
fn seed_of_line(line: &str) -> Option<u64> {
    let seed = line.split('#').next()?.trim();
    (!seed.is_empty()).then(|| seed.parse().expect("a line begins with a seed or with #"))
}

/// A seed that failed, and what was wrong with the whole store.
struct Failure {
    seed: u64,
    wrong: String,
}

/// A containerd for one store after the other, and the runtime to talk to it.
struct Bench {
    runtime: Runtime,
    containerd: Containerd,
}

impl Bench {
    fn start() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime of one thread can be made");
        let containerd = runtime.block_on(async {
            let containerd = Containerd::quiet().log_level("warn").start().await;
            let namespace = containerd.namespace("default");
            let first = namespace.collect().await;
            first.expect("a new containerd collects nothing");
            containerd
        });
        Self {
            runtime,
            containerd,
        }
    }

    fn check(
        &self,
        property: Property,
        store: &RandomStore,
        question: &Question,
    ) -> Result<Tally, String> {
        let containerd = &self.containerd;
        match property {
            Property::Freed => self.runtime.block_on(check(containerd, store, question)),
            Property::Added => {
                let checking = added::check(containerd, store, question);
                self.runtime.block_on(checking)
            }
        }
    }
}

/// Runs all seeds of a property.
///
/// # Panics
///
/// At the first that fails, with the store cut down and the command to run it again.
pub(crate) fn run(property: Property) {
    let seeds = property.seeds();
    let next = AtomicUsize::new(0);
    let failed: Mutex<Option<Failure>> = Mutex::new(None);
    // One more than processors: a good part of each case is waiting for another process.
    let n_workers = thread::available_parallelism().map_or(1, NonZero::get) + 1;
    let tallies: Vec<Tally> = thread::scope(|scope| {
        let workers: Vec<_> = (0..n_workers.min(seeds.len()))
            .map(|_| scope.spawn(|| work(property, &seeds, &next, &failed)))
            .collect();
        let tallies = workers.into_iter().map(thread::ScopedJoinHandle::join);
        tallies
            .flat_map(|it| it.expect("a worker does not panic"))
            .collect()
    });
    let failed = failed.into_inner().expect("no worker panicked");
    if let Some(failure) = failed {
        explain(property, &failure);
    }
    let sum = |count: fn(&Tally) -> usize| tallies.iter().map(count).sum::<usize>();
    // A comparison of nothing with nothing would always succeed.
    let is_campaign = property == Property::Freed && tallies.len() >= length(STORES);
    for freed in [
        sum(|it| it.blobs),
        sum(|it| it.snapshots),
        sum(|it| it.pending),
    ] {
        assert!(
            !is_campaign || freed >= tallies.len() / 4,
            "the stores have become too poor"
        );
    }
    tell(&format!(
        "{property:?}: {} stores: {} images removed, {} blobs and {} snapshots freed, {} waiting ones with them",
        tallies.len(),
        sum(|it| it.removed),
        sum(|it| it.blobs),
        sum(|it| it.snapshots),
        sum(|it| it.pending),
    ));
}

#[expect(clippy::print_stderr, reason = "how much was compared is worth a line")]
fn tell(words: &str) {
    eprintln!("{words}");
}

/// Takes seeds until there are none, or one has failed.
fn work(
    property: Property,
    seeds: &[u64],
    next: &AtomicUsize,
    failed: &Mutex<Option<Failure>>,
) -> Vec<Tally> {
    let bench = Bench::start();
    let mut tallies = Vec::new();
    while let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed)) {
        let store = RandomStore::generate(*seed);
        let wrong = match bench.check(property, &store, &Question::generate(&store)) {
            Ok(tally) => {
                tallies.push(tally);
                continue;
            }
            Err(wrong) => wrong,
        };
        // Nobody need go on: where one fails, others tell nothing new.
        next.store(seeds.len(), Ordering::Relaxed);
        let mut failed = failed.lock().expect("no worker panicked");
        failed.get_or_insert(Failure { seed: *seed, wrong });
    }
    tallies
}

/// Cuts the store of a seed down and says what is wrong with it.
fn explain(property: Property, failure: &Failure) -> ! {
    let Failure { seed, wrong } = failure;
    let bench = Bench::start();
    let store = RandomStore::generate(*seed);
    let question = Question::generate(&store);
    if let Ok(tally) = bench.check(property, &store, &question) {
        panic!("seed {seed} failed once and then not again ({tally:?}): {wrong}");
    }
    let is_wrong = |smaller: &RandomStore| {
        let mut objects = smaller.objects.iter();
        // A store without the namespace, or one that cannot be built, fails in ways of its own.
        objects.any(|it| it.namespace == question.namespace)
            && bench
                .check(property, smaller, &question)
                .is_err_and(|wrong| !wrong.starts_with("set up"))
    };
    let shrunk = store.shrink(SHRINKS, is_wrong);
    let wrong = bench.check(property, &shrunk, &question);
    let wrong = wrong.expect_err("what was accepted had failed");
    let before = if question.is_collected {
        ", after a collection"
    } else {
        ""
    };
    panic!(
        "containerd {}: {wrong}\n\n{shrunk}\nreclaim {}{before}\n\nagain: \
         RECLAIM_EXACT_SEED={seed} cargo test -p reclaim-cli --test exact {}",
        bench.containerd.version(),
        question.arguments().join(" "),
        property.test(),
    );
}
