//! The binary is killed during a call.

use reclaim_testkit::fault::{Fault, Moment};

use crate::check;
use crate::fixture::Fixture;
use crate::matrix::{Case, Violations, cases, work_through};
use crate::run::{PRUNE_ALL, PRUNE_DANGLING, Place, Victim, reclaim_at, run_with_faults};
use crate::state::State;

/// The next run restores what the killed one had removed and not released, even if containerd
/// collects in between. Afterwards the store is the same as without the kill.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_run_loses_nothing() {
    let first = Fixture::start().await;
    let harms = [(Moment::Before, ()), (Moment::After, ())];
    let cases = cases(&first.calls, &harms);
    work_through("killed runs", first, cases, loses_nothing).await;
}

async fn loses_nothing(fixture: &Fixture, case: &Case<()>) -> Violations {
    let victim = Victim::default();
    let fault = Fault {
        call: case.call.clone(),
        moment: case.moment,
        act: victim.kill(),
    };
    let ended = run_with_faults(&fixture.socket, &PRUNE_ALL, [fault], &victim).await;
    let after = State::of(&fixture.namespace).await;
    let mut violations = check::store(fixture, &after);
    if ended.code.is_some() {
        violations.push(format!("is not killed: {ended:?}"));
    }
    violations.extend(check::leaks(fixture).await);
    violations.extend(restores(fixture).await);
    violations.extend(check::following_run(fixture).await);
    violations
}

/// The next run restores what the killed one had not released, and makes a new plan. Here it prunes
/// dangling images only, so that all others are there again and whole.
pub(crate) async fn restores(fixture: &Fixture) -> Violations {
    restores_at(&Place::default(), fixture).await
}

/// Like [`restores`], by a run at this place.
pub(crate) async fn restores_at(place: &Place, fixture: &Fixture) -> Violations {
    let before = State::of(&fixture.namespace).await;
    // Only a hold counts: the guard may outlive it.
    let mut leases = before.leases.keys();
    let was_released = !leases.any(|id| id.starts_with("reclaim.hold."));
    let ended = reclaim_at(place, fixture.socket.to_str().unwrap(), &PRUNE_DANGLING).await;
    let after = State::of(&fixture.namespace).await;
    let mut violations = check::store(fixture, &after);
    if ended.code != Some(0) {
        violations.push(format!("the next run: {ended:?}"));
    }
    let expected = if was_released {
        &before.images
    } else {
        &fixture.before.images
    };
    let lost = expected
        .keys()
        .filter(|name| !name.starts_with("moby-dangling"))
        .filter(|name| !after.images.contains_key(*name));
    violations.extend(lost.map(|name| format!("{name} is lost")));
    if !after.leases.is_empty() {
        violations.push(format!("the next run leaves {:?}", after.leases));
    }
    violations
}
