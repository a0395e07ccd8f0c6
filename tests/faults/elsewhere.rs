//! The binary is killed where the next run cannot see its process: in another PID namespace, or
//! before a reboot.

use reclaim_testkit::fault::{Fault, Moment};
use tempfile::TempDir;

use crate::check;
use crate::fixture::Fixture;
use crate::killed::restores_at;
use crate::matrix::{Case, Violations, cases, work_through};
use crate::run::{PRUNE_ALL, Place, Victim, reclaim_at, run_with_faults_at};
use crate::state::State;

/// The error of a run that finds another one running.
const RUNNING: &str = "a prune operation is already running";

/// What the next run can see of the killed one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Evidence {
    /// Its lock file, but not its process.
    Lock,
    /// A later boot of the machine, but neither the process nor the lock file.
    Boot,
    /// Nothing.
    Nothing,
}

impl Evidence {
    /// Returns where the killed run and the next one run.
    fn places(self, locks: &TempDir) -> (Place, Place) {
        let at = |boot: &str, locks: &str| Place {
            is_unseen: false,
            variables: vec![
                ("RECLAIM_LOCK_DIR", locks.to_owned()),
                ("RECLAIM_MACHINE", format!("{}/{boot}", "1".repeat(32))),
            ],
        };
        let nowhere = "/dev/null/no-directory";
        let (locks, boot) = match self {
            Self::Lock => (locks.path().to_str().unwrap(), "first"),
            Self::Boot => (nowhere, "second"),
            Self::Nothing => (nowhere, "first"),
        };
        let killed = Place {
            is_unseen: true,
            ..at("first", locks)
        };
        (killed, at(boot, nowhere))
    }
}

/// A lock that the kernel has released, or a later boot, proves that the killed run is over.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_run_whose_process_is_not_visible_does_not_block_the_next() {
    let first = Fixture::start().await;
    let harms = [
        (Moment::Before, Evidence::Lock),
        (Moment::After, Evidence::Boot),
    ];
    let cases = cases(&first.calls, &harms);
    work_through("runs killed out of sight", first, cases, does_not_block).await;
}

async fn does_not_block(fixture: &Fixture, case: &Case<Evidence>) -> Violations {
    let locks = tempfile::tempdir().unwrap();
    let (killed, next) = case.harm.places(&locks);
    let mut violations = kill_at(&killed, fixture, case).await;
    violations.extend(restores_at(&next, fixture).await);
    violations.extend(check::following_run(fixture).await);
    violations
}

async fn kill_at(place: &Place, fixture: &Fixture, case: &Case<Evidence>) -> Violations {
    let victim = Victim::default();
    let fault = Fault {
        call: case.call.clone(),
        moment: case.moment,
        act: victim.kill(),
    };
    let ended = run_with_faults_at(place, &fixture.socket, &PRUNE_ALL, [fault], &victim).await;
    let after = State::of(&fixture.namespace).await;
    let mut violations = check::store(fixture, &after);
    if ended.code.is_some() {
        violations.push(format!("is not killed: {ended:?}"));
    }
    violations.extend(check::leaks(fixture).await);
    violations
}

/// Without evidence that the run is over, its guard stays.
#[tokio::test(flavor = "multi_thread")]
async fn does_not_take_over_from_a_run_that_may_still_run() {
    let fixture = Fixture::start().await;
    fixture.refill().await.unwrap();
    let locks = tempfile::tempdir().unwrap();
    let removing = fixture
        .calls
        .iter()
        .find(|call| call.method == "images.v1.Images/Delete");
    let case = Case {
        call: removing.unwrap().clone(),
        moment: Moment::After,
        harm: Evidence::Nothing,
    };
    let (killed, next) = case.harm.places(&locks);
    let violations = kill_at(&killed, &fixture, &case).await;
    assert_eq!(violations, [""; 0]);
    let before = State::of(&fixture.namespace).await;
    let ended = reclaim_at(&next, fixture.socket.to_str().unwrap(), &PRUNE_ALL).await;
    assert_eq!(ended.code, Some(4), "{ended:?}");
    assert!(ended.stderr.contains(RUNNING), "{ended:?}");
    assert_eq!(State::of(&fixture.namespace).await, before);
}
