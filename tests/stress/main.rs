//! A busy node: containers are created, images pulled and tags moved while prunes run one after the
//! other.
//!
//! The same workload runs against two pruners. Reclaim must do no harm. The other one works like
//! most tools (look once, delete one by one, and drop the leases of pulls) and must do harm:
//! otherwise the workload would prove nothing.
//!
//! A third workload ([`slims`]) starts containers while parts of their images are freed, and a fourth
//! ([`pods`]) starts pods of the real CRI plugin.
//!
//! Both pruners run for the same number of operations, which `RECLAIM_STRESS_OPERATIONS` changes.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a failed unwrap fails the test, and its figures are printed"
)]

#[path = "../e2e/node.rs"]
#[expect(dead_code, reason = "shared with tests that need more of it")]
mod node;
mod pods;
mod pruner;
#[path = "../e2e/rig.rs"]
#[expect(dead_code, reason = "shared with tests that need more of it")]
mod rig;
mod slims;
mod workload;

use reclaim_testkit::{Containerd, number_from_env};

use pruner::Pruner;
use workload::{Harm, Workload};

/// Default number of operations for each pruner.
const DEFAULT_OPERATIONS: u64 = 20_000;

fn operations() -> u64 {
    number_from_env("RECLAIM_STRESS_OPERATIONS").unwrap_or(DEFAULT_OPERATIONS)
}

/// Runs the workload against a pruner.
async fn run(pruner: Pruner) -> (Harm, Containerd) {
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

/// No container loses its image, no pull breaks and, from containerd 2.0 on, which compares the
/// target, no moved tag is deleted.
#[tokio::test(flavor = "multi_thread")]
async fn reclaim_does_no_harm() {
    let (harm, containerd) = run(Pruner::Reclaim).await;
    assert!(harm.containers >= 100, "hardly any container was fast");
    assert_eq!(harm.containers_without_image, Vec::<String>::new());
    assert_eq!(harm.broken_pulls, Vec::<String>::new());
    if containerd.version().at_least(2, 0) {
        assert_eq!(harm.deleted_moved_tags, Vec::<String>::new());
    }
}

/// It breaks pulls and deletes moved tags. It also removes images in use, but only if a container
/// is created at the right moment, so that this is printed and not asserted.
#[tokio::test(flavor = "multi_thread")]
async fn looking_once_and_deleting_does_harm() {
    let (harm, _) = run(Pruner::LookOnceAndDelete).await;
    assert!(!harm.broken_pulls.is_empty());
    assert!(!harm.deleted_moved_tags.is_empty());
}
