//! Runs many seeds on all processors, and reports the first that fails.

use std::num::NonZero;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use reclaim_testkit::number_from_env;

use crate::month::{Month, Tally};

/// How many months run by default. Each takes most of a minute of a processor.
const MONTHS: u64 = 6;

/// From this many months on, every kind of event has to occur.
const CAMPAIGN: usize = 50;

/// Returns the seeds to run, by the environment.
fn seeds() -> Vec<u64> {
    let first = number_from_env("RECLAIM_MONTH_SEED");
    let n_months = number_from_env("RECLAIM_MONTHS");
    let usual = if first.is_some() { 1 } else { MONTHS };
    let first = first.unwrap_or(0);
    (first..first.saturating_add(n_months.unwrap_or(usual))).collect()
}

/// Runs all seeds.
///
/// # Panics
///
/// At the first that fails, with what happened in its month.
pub(crate) fn run() {
    let seeds = seeds();
    let next = AtomicUsize::new(0);
    let failed: Mutex<Option<(u64, String)>> = Mutex::new(None);
    let n_workers = thread::available_parallelism().map_or(1, NonZero::get);
    let tallies: Vec<Tally> = thread::scope(|scope| {
        let workers: Vec<_> = (0..n_workers)
            .map(|_| scope.spawn(|| work(&seeds, &next, &failed)))
            .collect();
        let tallies = workers.into_iter().map(thread::ScopedJoinHandle::join);
        tallies
            .flat_map(|it| it.expect("a month does not panic"))
            .collect()
    });
    if let Some((seed, text)) = failed.into_inner().expect("no worker panicked") {
        panic!(
            "{text}\n\nagain: RECLAIM_MONTH_SEED={seed} cargo test -p reclaim-maintenance --test month"
        );
    }
    let is_campaign = tallies.len() >= CAMPAIGN;
    let mut text = format!("{} months:", tallies.len());
    for (name, count) in Tally::COUNTS {
        let sum: usize = tallies.iter().map(count).sum();
        text = format!("{text} {sum} {name},");
        // A campaign without these events proves nothing.
        assert!(
            !is_campaign || sum > 0,
            "the months have become poor: {name}"
        );
    }
    tell(text.trim_end_matches(','));
}

#[expect(clippy::print_stderr, reason = "how much was tried is worth a line")]
fn tell(text: &str) {
    eprintln!("{text}");
}

/// Runs seeds until none are left or one has failed.
fn work(seeds: &[u64], next: &AtomicUsize, failed: &Mutex<Option<(u64, String)>>) -> Vec<Tally> {
    let mut tallies = Vec::new();
    while let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed)) {
        match Month::pass(*seed) {
            Ok(tally) => tallies.push(tally),
            Err(text) => {
                // After a failure further seeds add nothing.
                next.store(seeds.len(), Ordering::Relaxed);
                let mut failed = failed.lock().expect("no worker panicked");
                failed.get_or_insert((*seed, text));
            }
        }
    }
    tallies
}
