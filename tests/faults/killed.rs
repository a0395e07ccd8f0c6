//! The binary is killed in the middle of a call.

use reclaim_testkit::fault::{Fault, Moment};

use crate::check;
use crate::matrix::{Case, Complaints, cases, work_through};
use crate::run::{PRUNE_ALL, PRUNE_DANGLING, Place, Victim, reclaim_at, spoiled};
use crate::stage::Stage;
use crate::state::State;

/// Killed at any call, a run loses nothing: what it had removed and not released comes back
/// with the next run, whole, even if containerd collects in between; and then the store ends
/// as it would have.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_run_loses_nothing() {
    let first = Stage::set().await;
    let harms = [(Moment::Before, ()), (Moment::After, ())];
    let cases = cases(&first.calls, &harms);
    work_through("killed runs", first, cases, loses_nothing).await;
}

async fn loses_nothing(stage: &Stage, case: &Case<()>) -> Complaints {
    let victim = Victim::default();
    let fault = Fault {
        call: case.call.clone(),
        moment: case.moment,
        act: victim.kill(),
    };
    let ended = spoiled(&stage.socket, &PRUNE_ALL, [fault], &victim).await;
    let after = State::of(&stage.namespace).await;
    let mut complaints = check::soundness(stage, &after);
    if ended.code.is_some() {
        complaints.push(format!("is not killed: {ended:?}"));
    }
    complaints.extend(check::leaks(stage).await);
    complaints.extend(restores(stage).await);
    complaints.extend(check::following_run(stage).await);
    complaints
}

/// The next run puts back what the killed one had not released, and judges it afresh: here it
/// is asked for dangling images only, so that all others are there again, and whole.
pub(crate) async fn restores(stage: &Stage) -> Complaints {
    restores_at(&Place::default(), stage).await
}

/// As [`restores`], by a run at that place.
pub(crate) async fn restores_at(place: &Place, stage: &Stage) -> Complaints {
    let before = State::of(&stage.namespace).await;
    // The guard may outlive what it guarded.
    let mut leases = before.leases.keys();
    let was_released = !leases.any(|id| id.starts_with("reclaim.hold."));
    let ended = reclaim_at(place, stage.socket.to_str().unwrap(), &PRUNE_DANGLING).await;
    let after = State::of(&stage.namespace).await;
    let mut complaints = check::soundness(stage, &after);
    if ended.code != Some(0) {
        complaints.push(format!("the next run: {ended:?}"));
    }
    let names = if was_released {
        before.images
    } else {
        stage.before.images.clone()
    };
    let lost = names
        .keys()
        .filter(|name| !name.starts_with("moby-dangling"));
    let lost = lost.filter(|name| !after.images.contains_key(*name));
    complaints.extend(lost.map(|name| format!("{name} is lost")));
    if !after.leases.is_empty() {
        complaints.push(format!("the next run leaves {:?}", after.leases));
    }
    complaints
}
