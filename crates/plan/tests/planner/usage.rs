//! Who uses an image, by evidence other than the selection table's.

mod cri;
mod docker;
mod leases;
mod names;
mod nerdctl;
mod origins;
mod snapshots;
mod torn;
mod unknown;

use reclaim_model::KeepReason;

use crate::world::Outcome;

/// Asserts that the record stays because these use it.
#[track_caller]
fn assert_used(outcome: &Outcome, name: &str, holders: &[&str]) {
    assert_eq!(outcome.reason(name), KeepReason::InUse, "{name}");
    assert_eq!(outcome.holders(name), holders, "{name}");
}
