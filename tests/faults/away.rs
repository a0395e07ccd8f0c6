//! containerd is away for longer than a call is tried again, and for longer than a run waits.

use std::sync::Arc;
use std::time::Duration;

use reclaim_testkit::Containerd;
use reclaim_testkit::fault::{Act, Fault, Hook, Moment, Then};
use tokio::sync::Mutex;

use crate::check;
use crate::killed::restores;
use crate::matrix::{Case, Complaints, cases, work_through};
use crate::restarted::{first_and_last_of_each_method, kill_and_restart};
use crate::run::{PRUNE_ALL, Place, Victim, spoiled, spoiled_at};
use crate::stage::Stage;
use crate::state::State;

/// An outage of a second, within the retries of a call; and one beyond them.
const OUTAGES: [(Moment, Duration); 2] = [
    (Moment::Before, Duration::from_secs(1)),
    (Moment::After, Duration::from_secs(6)),
];

/// A run that has removed something waits for containerd, and comes to its end.
#[tokio::test(flavor = "multi_thread")]
async fn containerd_may_be_away_for_longer_than_the_retries() {
    let first = Stage::set().await;
    let chosen = first_and_last_of_each_method(&first.calls);
    let cases = cases(&chosen, &OUTAGES);
    work_through("outages within patience", first, cases, ends).await;
}

async fn ends(stage: &Stage, case: &Case<Duration>) -> Complaints {
    let fault = Fault {
        call: case.call.clone(),
        moment: case.moment,
        act: kill_and_restart(&stage.containerd, case.harm),
    };
    let ended = spoiled(&stage.socket, &PRUNE_ALL, [fault], &Victim::default()).await;
    // Whatever the run came to, containerd has to be back before the store is looked at.
    drop(stage.containerd.lock().await);
    let after = State::of(&stage.namespace).await;
    let mut complaints = check::soundness(stage, &after);
    complaints.extend(check::truth(&ended, &stage.before, &after));
    let mut holds = after.leases.keys();
    if let Some(hold) = holds.find(|id| id.starts_with("reclaim.hold.")) {
        complaints.push(format!("the run leaves {hold}: {ended:?}"));
    }
    if ended.code == Some(0) {
        complaints.extend(after.differences(&stage.end));
    }
    complaints.extend(check::leaks(stage).await);
    complaints.extend(check::following_run(stage).await);
    complaints
}

/// A run that gives up on a containerd that stays away loses nothing and blocks nobody: the next
/// run restores at once what it had removed.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_run_could_not_finish_is_restored_by_the_next() {
    let first = Stage::set().await;
    let chosen = first_and_last_of_each_method(&first.calls);
    let cases = cases(&chosen, &[(Moment::Before, ()), (Moment::After, ())]);
    work_through("outages beyond patience", first, cases, is_restored).await;
}

async fn is_restored(stage: &Stage, case: &Case<()>) -> Complaints {
    let fault = Fault {
        call: case.call.clone(),
        moment: case.moment,
        act: kill(&stage.containerd),
    };
    let impatient = Place {
        is_unseen: false,
        variables: vec![("RECLAIM_PATIENCE", "0".to_owned())],
    };
    let victim = Victim::default();
    let ended = spoiled_at(&impatient, &stage.socket, &PRUNE_ALL, [fault], &victim).await;
    stage.containerd.lock().await.restart().await;
    let mut complaints = Complaints::new();
    // With 0 nothing but the guard was left to give back.
    if !matches!(ended.code, Some(0 | 1 | 3)) {
        complaints.push(format!("{ended:?}"));
    }
    let after = State::of(&stage.namespace).await;
    complaints.extend(check::soundness(stage, &after));
    complaints.extend(check::leaks(stage).await);
    complaints.extend(restores(stage).await);
    complaints.extend(check::following_run(stage).await);
    complaints
}

/// Kills containerd during the call.
fn kill(containerd: &Arc<Mutex<Containerd>>) -> Act {
    let containerd = Arc::clone(containerd);
    Act::Run(Hook::new(move || {
        let containerd = Arc::clone(&containerd);
        async move {
            // A task of its own, because this one ends with its connection.
            let mut containerd = containerd.lock_owned().await;
            let killing = tokio::spawn(async move { containerd.kill().await });
            killing.await.unwrap();
            Then::Cut
        }
    }))
}
