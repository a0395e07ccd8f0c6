//! Runs many seeds on a few containerds, and explains failures.

use std::num::NonZero;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use reclaim_testkit::{CROSSED, Containerd, RandomStore, number_from_env};
use tokio::runtime::{Builder, Runtime};

use crate::added;
use crate::check::{Tally, check};
use crate::prune::RandomPrune;
use crate::slim;

/// Seeds that failed in the past.
const REGRESSIONS: &str = include_str!("regressions");

/// Default number of stores. Half as many crossed stores follow.
const STORES: u64 = 150;

/// Default number of stores for [`Property::Added`], which takes about a dozen commands for each.
const STORES_ADDED_TO: u64 = 30;

/// Default number of stores for [`Property::Slimmed`].
const STORES_SLIMMED: u64 = 100;

/// How often to try to reduce a store that fails. Each try takes about half a second.
const SHRINKS: usize = 400;

/// A property of every store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Property {
    /// A prune frees exactly what its dry run names.
    Freed,
    /// Adding an image changes no result of others.
    Added,
    /// A slim frees exactly what its plan names, and leaves no image without both copies of a layer.
    Slimmed,
}

impl Property {
    /// Returns the name of its test.
    fn test(self) -> &'static str {
        match self {
            Self::Freed => "a_prune_frees_exactly_what_its_dry_run_names",
            Self::Added => "an_added_image_changes_no_result_of_others",
            Self::Slimmed => "a_slim_frees_exactly_what_its_plan_names",
        }
    }

    /// Returns the default number of stores.
    fn stores(self) -> u64 {
        match self {
            Self::Freed => STORES,
            Self::Added => STORES_ADDED_TO,
            Self::Slimmed => STORES_SLIMMED,
        }
    }

    /// Returns how many stores there are for each blob and each snapshot that is freed, at most.
    fn stores_per_object(self) -> usize {
        match self {
            Self::Freed | Self::Added => 4,
            // Most layers are shared with images that are not unpacked.
            Self::Slimmed => 8,
        }
    }

    /// Returns the store of a seed.
    fn store(self, seed: u64) -> RandomStore {
        match self {
            Self::Freed | Self::Added => RandomStore::generate(seed),
            Self::Slimmed => slim::store(seed),
        }
    }

    /// Returns the seeds to run, which the environment may choose.
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
    usize::try_from(n_stores).expect("the number of stores fits")
}

/// Parses a line of the regressions: a seed and a comment, or only a comment after `#`.
fn seed_of_line(line: &str) -> Option<u64> {
    let seed = line.split('#').next()?.trim();
    (!seed.is_empty()).then(|| seed.parse().expect("a line starts with a seed or with #"))
}

/// A seed that failed, and the error of its whole store.
struct Failure {
    seed: u64,
    wrong: String,
}

/// A containerd that checks one store after the other, and the runtime of its client.
struct Checker {
    runtime: Runtime,
    containerd: Containerd,
}

impl Checker {
    fn start() -> Self {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime with one thread starts");
        let containerd = runtime.block_on(async {
            let containerd = Containerd::quiet().log_level("warn").start().await;
            let namespace = containerd.namespace("default");
            namespace.collect().await.expect("containerd collects");
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
        prune: &RandomPrune,
    ) -> Result<Tally, String> {
        let containerd = &self.containerd;
        match property {
            Property::Freed => self.runtime.block_on(check(containerd, store, prune)),
            Property::Added => {
                let checking = added::check(containerd, store, prune);
                self.runtime.block_on(checking)
            }
            Property::Slimmed => {
                let checking = slim::check(containerd, store, prune);
                self.runtime.block_on(checking)
            }
        }
    }
}

/// Checks a property for all seeds.
///
/// # Panics
///
/// After the first failure, with the reduced store and the command that repeats it.
pub(crate) fn run(property: Property) {
    let seeds = property.seeds();
    let next = AtomicUsize::new(0);
    let failed: Mutex<Option<Failure>> = Mutex::new(None);
    // One more than processors, because a case often waits for other processes.
    let n_workers = thread::available_parallelism().map_or(1, NonZero::get) + 1;
    let tallies: Vec<Tally> = thread::scope(|scope| {
        let workers: Vec<_> = (0..n_workers.min(seeds.len()))
            .map(|_| scope.spawn(|| work(property, &seeds, &next, &failed)))
            .collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().expect("a worker does not panic"))
            .collect()
    });
    if let Some(failure) = failed.into_inner().expect("no worker panicked") {
        explain(property, &failure);
    }
    let sum = |count: fn(&Tally) -> usize| tallies.iter().map(count).sum::<usize>();
    print(&format!(
        "{property:?}: {} stores: {} images removed or slimmed, {} blobs and {} snapshots freed, and {} that were garbage before",
        tallies.len(),
        sum(|tally| tally.removed),
        sum(|tally| tally.blobs),
        sum(|tally| tally.snapshots),
        sum(|tally| tally.pending),
    ));
    // Stores without anything to free would always pass.
    let is_campaign = property != Property::Added && tallies.len() >= length(property.stores());
    for freed in [
        sum(|tally| tally.blobs),
        sum(|tally| tally.snapshots),
        sum(|tally| tally.pending),
    ] {
        assert!(
            !is_campaign || freed >= tallies.len() / property.stores_per_object(),
            "the generated stores have too little to free"
        );
    }
}

#[expect(clippy::print_stderr, reason = "the log shows how much was compared")]
fn print(text: &str) {
    eprintln!("{text}");
}

/// Checks seeds until none is left, or one fails.
fn work(
    property: Property,
    seeds: &[u64],
    next: &AtomicUsize,
    failed: &Mutex<Option<Failure>>,
) -> Vec<Tally> {
    let checker = Checker::start();
    let mut tallies = Vec::new();
    while let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed)) {
        let store = property.store(*seed);
        let wrong = match checker.check(property, &store, &RandomPrune::generate(&store)) {
            Ok(tally) => {
                tallies.push(tally);
                continue;
            }
            Err(wrong) => wrong,
        };
        // One failure is enough: the other workers stop.
        next.store(seeds.len(), Ordering::Relaxed);
        let mut failed = failed.lock().expect("no worker panicked");
        failed.get_or_insert(Failure { seed: *seed, wrong });
    }
    tallies
}

/// Reduces the store of a seed, and panics with its error.
fn explain(property: Property, failure: &Failure) -> ! {
    let Failure { seed, wrong } = failure;
    let checker = Checker::start();
    let store = property.store(*seed);
    let prune = RandomPrune::generate(&store);
    if let Ok(tally) = checker.check(property, &store, &prune) {
        panic!("seed {seed} failed once and then not again ({tally:?}): {wrong}");
    }
    let is_wrong = |smaller: &RandomStore| {
        let mut things = smaller.objects.iter();
        // A store without the namespace, or one that cannot be built, fails for another reason.
        things.any(|thing| thing.namespace == prune.namespace)
            && checker
                .check(property, smaller, &prune)
                .is_err_and(|wrong| !wrong.starts_with("set up"))
    };
    let shrunk = store.shrink(SHRINKS, is_wrong);
    let wrong = checker
        .check(property, &shrunk, &prune)
        .expect_err("the reduced store fails");
    let before = if prune.is_collected {
        ", after a collection"
    } else {
        ""
    };
    panic!(
        "containerd {}: {wrong}\n\n{shrunk}\nreclaim {}{before}\n\nto repeat: \
         RECLAIM_EXACT_SEED={seed} cargo test -p reclaim-cli --test exact {}",
        checker.containerd.version(),
        prune.arguments().join(" "),
        property.test(),
    );
}
