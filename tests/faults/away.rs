//! containerd is down for longer than calls are retried, and for longer than a run waits.

use std::sync::Arc;
use std::time::Duration;

use reclaim_testkit::Containerd;
use reclaim_testkit::fault::{Act, Fault, Hook, Moment, Then};
use tokio::sync::Mutex;

use crate::check;
use crate::fixture::Fixture;
use crate::killed::restores;
use crate::matrix::{Case, Violations, cases, work_through};
use crate::restarted::{first_and_last_of_each_method, kill_and_restart};
use crate::run::{PRUNE_ALL, Place, Victim, run_with_faults, run_with_faults_at};
use crate::state::State;

/// An outage that the retries of a call outlast, and a longer one.
const OUTAGES: [(Moment, Duration); 2] = [
    (Moment::Before, Duration::from_secs(1)),
    (Moment::After, Duration::from_secs(6)),
];

/// A run that has removed something waits for containerd and finishes.
#[tokio::test(flavor = "multi_thread")]
async fn finishes_after_an_outage_that_is_longer_than_the_retries() {
    let first = Fixture::start().await;
    let chosen = first_and_last_of_each_method(&first.calls);
    let cases = cases(&chosen, &OUTAGES);
    work_through("outages within patience", first, cases, finishes).await;
}

async fn finishes(fixture: &Fixture, case: &Case<Duration>) -> Violations {
    let fault = Fault {
        call: case.call.clone(),
        moment: case.moment,
        act: kill_and_restart(&fixture.containerd, case.harm),
    };
    let ended = run_with_faults(&fixture.socket, &PRUNE_ALL, [fault], &Victim::default()).await;
    // Wait until containerd is back.
    drop(fixture.containerd.lock().await);
    let after = State::of(&fixture.namespace).await;
    let mut violations = check::store(fixture, &after);
    violations.extend(check::report(&ended, &fixture.before, &after));
    let mut holds = after.leases.keys();
    if let Some(hold) = holds.find(|id| id.starts_with("reclaim.hold.")) {
        violations.push(format!("the run leaves {hold}: {ended:?}"));
    }
    if ended.code == Some(0) {
        violations.extend(after.differences(&fixture.end));
    }
    violations.extend(check::leaks(fixture).await);
    violations.extend(check::following_run(fixture).await);
    violations
}

/// A run that gives up does not block the next one, which restores at once what was removed.
#[tokio::test(flavor = "multi_thread")]
async fn the_next_run_restores_what_an_unfinished_one_removed() {
    let first = Fixture::start().await;
    let chosen = first_and_last_of_each_method(&first.calls);
    let cases = cases(&chosen, &[(Moment::Before, ()), (Moment::After, ())]);
    work_through("outages beyond patience", first, cases, is_restored).await;
}

async fn is_restored(fixture: &Fixture, case: &Case<()>) -> Violations {
    let fault = Fault {
        call: case.call.clone(),
        moment: case.moment,
        act: kill(&fixture.containerd),
    };
    let impatient = Place {
        is_unseen: false,
        variables: vec![("RECLAIM_PATIENCE", "0".to_owned())],
    };
    let victim = Victim::default();
    let ended = run_with_faults_at(&impatient, &fixture.socket, &PRUNE_ALL, [fault], &victim).await;
    fixture.containerd.lock().await.restart().await;
    let mut violations = Violations::new();
    // With 0, all that was missing is the release of the guard.
    if !matches!(ended.code, Some(0 | 1 | 3)) {
        violations.push(format!("{ended:?}"));
    }
    let after = State::of(&fixture.namespace).await;
    violations.extend(check::store(fixture, &after));
    violations.extend(check::leaks(fixture).await);
    violations.extend(restores(fixture).await);
    violations.extend(check::following_run(fixture).await);
    violations
}

/// Returns an act that kills containerd during the call.
fn kill(containerd: &Arc<Mutex<Containerd>>) -> Act {
    let containerd = Arc::clone(containerd);
    Act::Run(Hook::new(move || {
        let containerd = Arc::clone(&containerd);
        async move {
            // In its own task, because this one is cancelled when the connection closes.
            let mut containerd = containerd.lock_owned().await;
            let killing = tokio::spawn(async move { containerd.kill().await });
            killing.await.unwrap();
            Then::Cut
        }
    }))
}
