//! containerd is killed during a run, and restarted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use reclaim_testkit::Containerd;
use reclaim_testkit::fault::{Act, Call, Fault, Hook, Moment, Then};
use tokio::sync::Mutex;

use crate::check;
use crate::fixture::Fixture;
use crate::matrix::{Case, Violations, cases, work_through};
use crate::run::{PRUNE_ALL, Victim, run_with_faults};
use crate::state::State;

/// How long containerd is down, without its start.
const AWAY: Duration = Duration::from_millis(200);

/// containerd is killed before or after it acts on a call. The run continues after the restart, or
/// reports that it could not.
#[tokio::test(flavor = "multi_thread")]
async fn survives_a_restart_of_containerd() {
    let first = Fixture::start().await;
    let chosen = first_and_last_of_each_method(&first.calls);
    let cases = cases(&chosen, &[(Moment::Before, ()), (Moment::After, ())]);
    work_through("restarts of containerd", first, cases, survives).await;
}

pub(crate) fn first_and_last_of_each_method(calls: &[Call]) -> Vec<Call> {
    let mut lasts: BTreeMap<&str, &Call> = BTreeMap::new();
    for call in calls {
        let last = lasts.entry(&call.method).or_insert(call);
        if call.nth > last.nth {
            *last = call;
        }
    }
    let is_chosen = |call: &&Call| call.nth == 0 || lasts[call.method.as_str()] == *call;
    calls.iter().filter(is_chosen).cloned().collect()
}

async fn survives(fixture: &Fixture, case: &Case<()>) -> Violations {
    let fault = Fault {
        call: case.call.clone(),
        moment: case.moment,
        act: kill_and_restart(&fixture.containerd, AWAY),
    };
    let ended = run_with_faults(&fixture.socket, &PRUNE_ALL, [fault], &Victim::default()).await;
    // Wait until containerd is back.
    drop(fixture.containerd.lock().await);
    let after = State::of(&fixture.namespace).await;
    let mut violations = check::store(fixture, &after);
    violations.extend(check::report(&ended, &fixture.before, &after));
    if ended.code == Some(0) {
        violations.extend(after.differences(&fixture.end));
    }
    if !ended.struck {
        violations.push("the fault did not strike".to_owned());
    }
    violations.extend(check::leaks(fixture).await);
    violations.extend(check::following_run(fixture).await);
    violations
}

/// Returns an act that kills containerd during the call, and restarts it after `away`.
pub(crate) fn kill_and_restart(containerd: &Arc<Mutex<Containerd>>, away: Duration) -> Act {
    let containerd = Arc::clone(containerd);
    Act::Run(Hook::new(move || {
        let containerd = Arc::clone(&containerd);
        async move {
            // The task keeps the lock, so that taking the lock waits for the restart. It is a task
            // of its own, because this one is cancelled when the connection to containerd closes.
            let mut containerd = containerd.lock_owned().await;
            let restarting = tokio::spawn(async move {
                containerd.kill().await;
                tokio::time::sleep(away).await;
                containerd.restart().await;
            });
            restarting.await.unwrap();
            Then::Cut
        }
    }))
}
