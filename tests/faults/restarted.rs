//! containerd is killed in the middle of a run, and comes back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use reclaim_testkit::Containerd;
use reclaim_testkit::fault::{Act, Call, Fault, Hook, Moment, Then};
use tokio::sync::Mutex;

use crate::check;
use crate::matrix::{Case, Complaints, cases, work_through};
use crate::run::{PRUNE_ALL, Victim, spoiled};
use crate::stage::Stage;
use crate::state::State;

/// How long containerd is away, apart from what it takes to start.
const AWAY: Duration = Duration::from_millis(200);

/// Whichever call meets a containerd that dies, before or after acting on it: the run goes on
/// when it is back, or reports that it could not.
#[tokio::test(flavor = "multi_thread")]
async fn containerd_may_be_killed_and_come_back() {
    let first = Stage::set().await;
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

async fn survives(stage: &Stage, case: &Case<()>) -> Complaints {
    let fault = Fault {
        call: case.call.clone(),
        moment: case.moment,
        act: kill_and_restart(&stage.containerd, AWAY),
    };
    let ended = spoiled(&stage.socket, &PRUNE_ALL, [fault], &Victim::default()).await;
    // Whatever the run came to, containerd has to be back before the store is looked at.
    drop(stage.containerd.lock().await);
    let after = State::of(&stage.namespace).await;
    let mut complaints = check::soundness(stage, &after);
    complaints.extend(check::truth(&ended, &stage.before, &after));
    if ended.code == Some(0) {
        complaints.extend(after.differences(&stage.end));
    }
    if !ended.struck {
        complaints.push("the fault did not strike".to_owned());
    }
    complaints.extend(check::leaks(stage).await);
    complaints.extend(check::following_run(stage).await);
    complaints
}

/// Kills containerd during the call, and has it started again that much later.
pub(crate) fn kill_and_restart(containerd: &Arc<Mutex<Containerd>>, away: Duration) -> Act {
    let containerd = Arc::clone(containerd);
    Act::Run(Hook::new(move || {
        let containerd = Arc::clone(&containerd);
        async move {
            // Taken along, so that who waits for the lock waits for the restart. A task of its
            // own, because this one ends with its connection, and that with containerd.
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
