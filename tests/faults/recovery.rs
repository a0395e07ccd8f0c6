//! The run after a crash is spoiled as well.

use reclaim_testkit::fault::{Act, Call, Fault, FaultProxy, Moment};
use tonic::Code;

use crate::check;
use crate::killed::restores;
use crate::matrix::{Case, Complaints, cases, work_through};
use crate::run::{PRUNE_ALL, Victim, reclaim, spoiled};
use crate::stage::Stage;
use crate::state::State;

/// What happens to the run that recovers.
#[derive(Debug, Clone, Copy)]
enum Mishap {
    Killed,
    Cut,
    Error,
}

/// A run that takes over from a killed one, and restores what that had removed, may be killed
/// over it, lose a call or meet an error, and the next one takes over from both.
#[tokio::test(flavor = "multi_thread")]
async fn a_recovery_may_fail_too() {
    let mut first = Stage::set().await;
    first.restock().await.unwrap();
    crash(&first).await;
    first.calls = recorded(&first).await;
    let harms = [
        (Moment::Before, Mishap::Killed),
        (Moment::After, Mishap::Killed),
        (Moment::After, Mishap::Cut),
        (Moment::Before, Mishap::Error),
    ];
    let cases = cases(&first.calls, &harms);
    work_through("spoiled recoveries", first, cases, recovers).await;
}

/// A run that is killed when it has removed everything and released nothing.
async fn crash(stage: &Stage) {
    let release = Call {
        method: "leases.v1.Leases/Delete".to_owned(),
        nth: 0,
    };
    let victim = Victim::default();
    let fault = Fault {
        call: release,
        moment: Moment::Before,
        act: victim.kill(),
    };
    let ended = spoiled(&stage.socket, &PRUNE_ALL, [fault], &victim).await;
    assert_eq!(ended.code, None, "{ended:?}");
}

/// The calls of a recovery that nothing disturbs.
async fn recorded(stage: &Stage) -> Vec<Call> {
    let proxy = FaultProxy::start(&stage.socket, []);
    let ended = reclaim(proxy.address(), &PRUNE_ALL).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    proxy.calls()
}

async fn recovers(stage: &Stage, case: &Case<Mishap>) -> Complaints {
    crash(stage).await;
    let victim = Victim::default();
    let act = match case.harm {
        Mishap::Killed => victim.kill(),
        Mishap::Cut => Act::Cut,
        Mishap::Error => Act::Refuse(Code::Unknown),
    };
    let fault = Fault {
        call: case.call.clone(),
        moment: case.moment,
        act,
    };
    let ended = spoiled(&stage.socket, &PRUNE_ALL, [fault], &victim).await;
    let after = State::of(&stage.namespace).await;
    let mut complaints = check::soundness(stage, &after);
    match case.harm {
        Mishap::Killed => complaints.extend(restores(stage).await),
        Mishap::Cut => complaints.extend(after.differences(&stage.end)),
        Mishap::Error => {}
    }
    let is_as_expected = match case.harm {
        Mishap::Killed => ended.code.is_none(),
        Mishap::Cut => ended.code == Some(0),
        Mishap::Error => ended.struck,
    };
    if !is_as_expected {
        complaints.push(format!("{ended:?}"));
    }
    complaints.extend(check::leaks(stage).await);
    complaints.extend(check::following_run(stage).await);
    complaints
}
