//! The binary is killed where the next run cannot see its process: in another PID namespace, or
//! before a reboot.

use reclaim_testkit::fault::{Fault, Moment};
use tempfile::TempDir;

use crate::check;
use crate::killed::restores_at;
use crate::matrix::{Case, Complaints, cases, work_through};
use crate::run::{PRUNE_ALL, Place, Victim, reclaim_at, spoiled_at};
use crate::stage::Stage;
use crate::state::State;

/// What a run says that another is in the way of.
const RUNNING: &str = "a prune operation is already running";

/// What the next run can tell of the one that was killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// Its lock file, but not its process.
    Lock,
    /// That this machine was started again since: neither the process nor the lock file.
    Boot,
    /// Nothing.
    Nothing,
}

impl Seen {
    /// Where the run is that is killed, and where the next one.
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

/// A run that is killed at any call blocks nobody, wherever its process was: a lock that the
/// kernel has dropped proves that it is over, or that the machine was started again.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_killed_out_of_sight_blocks_nobody() {
    let first = Stage::set().await;
    let harms = [(Moment::Before, Seen::Lock), (Moment::After, Seen::Boot)];
    let cases = cases(&first.calls, &harms);
    work_through("runs killed out of sight", first, cases, blocks_nobody).await;
}

async fn blocks_nobody(stage: &Stage, case: &Case<Seen>) -> Complaints {
    let locks = tempfile::tempdir().unwrap();
    let (killed, next) = case.harm.places(&locks);
    let mut complaints = kill_at(&killed, stage, case).await;
    complaints.extend(restores_at(&next, stage).await);
    complaints.extend(check::following_run(stage).await);
    complaints
}

async fn kill_at(place: &Place, stage: &Stage, case: &Case<Seen>) -> Complaints {
    let victim = Victim::default();
    let fault = Fault {
        call: case.call.clone(),
        moment: case.moment,
        act: victim.kill(),
    };
    let ended = spoiled_at(place, &stage.socket, &PRUNE_ALL, [fault], &victim).await;
    let after = State::of(&stage.namespace).await;
    let mut complaints = check::soundness(stage, &after);
    if ended.code.is_some() {
        complaints.push(format!("is not killed: {ended:?}"));
    }
    complaints.extend(check::leaks(stage).await);
    complaints
}

/// What cannot be seen proves nothing: the guard of a run of which nothing is known stays.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_of_which_nothing_is_seen_is_not_taken_over_from() {
    let stage = Stage::set().await;
    stage.restock().await.unwrap();
    let locks = tempfile::tempdir().unwrap();
    let removing = stage
        .calls
        .iter()
        .find(|call| call.method == "images.v1.Images/Delete");
    let case = Case {
        call: removing.unwrap().clone(),
        moment: Moment::After,
        harm: Seen::Nothing,
    };
    let (killed, next) = case.harm.places(&locks);
    let complaints = kill_at(&killed, &stage, &case).await;
    assert_eq!(complaints, [""; 0]);
    let before = State::of(&stage.namespace).await;
    let ended = reclaim_at(&next, stage.socket.to_str().unwrap(), &PRUNE_ALL).await;
    assert_eq!(ended.code, Some(4), "{ended:?}");
    assert!(ended.stderr.contains(RUNNING), "{ended:?}");
    assert_eq!(State::of(&stage.namespace).await, before);
}
