//! Creators, pullers and people who move tags, against a prune that never stops.
//!
//! The same workload runs against two pruners. Ours must do no harm. The one that works as
//! others do (look once, then delete one by one, and drop the leases of pulls) must do some: if
//! it did not, the workload would prove nothing.
//!
//! Both go on for as many operations, however long these take; `RECLAIM_STRESS_OPERATIONS` asks for
//! more.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test ends where something is not as it says, and tells its figures"
)]

mod pruner;
mod workload;

use reclaim_testkit::{Containerd, number_from_env};

use pruner::Pruner;
use workload::{Harm, Workload};

/// How many operations each pruner is put up with, unless told otherwise.
const DEFAULT_OPERATIONS: u64 = 20_000;

fn operations() -> u64 {
    number_from_env("RECLAIM_STRESS_OPERATIONS").unwrap_or(DEFAULT_OPERATIONS)
}

async fn suffer(pruner: Pruner) -> (Harm, Containerd) {
    let containerd = Containerd::builder().log_level("warn").start().await;
    let workload = Workload::new(containerd.namespace("default")).await;
    let harm = workload
        .run(pruner, containerd.address(), operations())
        .await;
    println!(
        "{pruner:?} on containerd {}: {harm:#?}",
        containerd.version()
    );
    (harm, containerd)
}

/// No container loses its image, no pull breaks and, where the server can compare, no tag that
/// has moved is deleted.
#[tokio::test(flavor = "multi_thread")]
async fn ours_does_no_harm() {
    let (harm, containerd) = suffer(Pruner::Reclaim).await;
    assert!(harm.containers >= 100, "hardly any container was in time");
    assert_eq!(harm.containers_without_image, Vec::<String>::new());
    assert_eq!(harm.broken_pulls, Vec::<String>::new());
    if containerd.version().at_least(2, 0) {
        assert_eq!(harm.deleted_moved_tags, Vec::<String>::new());
    }
}

/// What others do breaks pulls, deletes tags that have moved, and now and then takes an image from
/// under a container: that one takes a creation just then, so it is told and not demanded.
#[tokio::test(flavor = "multi_thread")]
async fn the_workload_bites() {
    let (harm, _) = suffer(Pruner::LookOnceAndDelete).await;
    assert!(!harm.broken_pulls.is_empty());
    assert!(!harm.deleted_moved_tags.is_empty());
}
