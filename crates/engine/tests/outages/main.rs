//! containerd is away or silent for 1, 5, 30 and 300 seconds, from each call of a prune or a slim.
//!
//! Time is simulated, and containerd is the fake one. A daemon prunes, and finishes unfinished runs. After
//! each outage:
//!
//! - no image that a container uses is gone, and every record has its content; after a slim each
//!   image has its layers, or its snapshots;
//! - each planned image is either completely gone or complete;
//! - no hold and no guard is left, without a restart;
//! - the next run removes the rest, and the store is as without the outage;
//! - the caller has an answer within a minute plus the length of the outage.
//!
//! `RECLAIM_TEST_FAULTS=all` runs every case; without it one of seven.

mod case;
mod stage;

use std::num::NonZero;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use reclaim_testkit::select_faults;

use crate::case::{Case, Harm};
use crate::stage::{Stage, Work};

/// The lengths of outages, in seconds.
const LENGTHS: [u64; 4] = [1, 5, 30, 300];

const VERSIONS: [&str; 4] = ["1.6.20", "1.7.28", "2.1.9", "2.3.4"];

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for version in VERSIONS {
        let works = [Work::Prune, Work::Slim];
        let works = works.map(|work| [(work, false), (work, true)]);
        for (work, is_held) in works.into_iter().flatten() {
            let calls = Stage::count_calls(version, work, is_held);
            for call in 0..calls {
                for harm in [Harm::Away, Harm::AwayAfter, Harm::Silent] {
                    let lengths = LENGTHS.into_iter().map(Duration::from_secs);
                    cases.extend(lengths.map(|length| Case {
                        version,
                        work,
                        is_held,
                        call,
                        harm,
                        length,
                    }));
                }
            }
        }
    }
    select_faults("outages", cases)
}

#[test]
fn no_outage_at_any_call_loses_an_image() {
    let cases = cases();
    let next = AtomicUsize::new(0);
    let complaints = Mutex::new(Vec::new());
    let n_workers = thread::available_parallelism().map_or(1, NonZero::get);
    thread::scope(|scope| {
        for _ in 0..n_workers {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(complaint) = case.run() {
                        let mut complaints = complaints.lock().expect("no worker panicked");
                        complaints.push(format!("{case:?}: {complaint}"));
                    }
                }
            });
        }
    });
    let complaints = complaints.into_inner().expect("no worker panicked");
    assert!(
        complaints.is_empty(),
        "{} of {} cases:\n{}",
        complaints.len(),
        cases.len(),
        complaints[..complaints.len().min(20)].join("\n")
    );
}
