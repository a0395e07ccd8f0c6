//! The run after a crash has faults, too.

use reclaim_testkit::fault::{Act, Call, Fault, FaultProxy, Moment};
use tonic::Code;

use crate::check;
use crate::fixture::Fixture;
use crate::killed::restores;
use crate::matrix::{Case, Violations, cases, work_through};
use crate::run::{PRUNE_ALL, Victim, reclaim, run_with_faults};
use crate::state::State;

/// What happens to a call of the recovering run.
#[derive(Debug, Clone, Copy)]
enum Harm {
    Killed,
    Cut,
    Error,
}

/// The run that restores what a killed run removed may be killed, lose a call or get an error: the
/// next run takes over from both.
#[tokio::test(flavor = "multi_thread")]
async fn the_next_run_takes_over_from_a_failed_recovery() {
    let mut first = Fixture::start().await;
    first.refill().await.unwrap();
    crash(&first).await;
    first.calls = recorded(&first).await;
    let harms = [
        (Moment::Before, Harm::Killed),
        (Moment::After, Harm::Killed),
        (Moment::After, Harm::Cut),
        (Moment::Before, Harm::Error),
    ];
    let cases = cases(&first.calls, &harms);
    work_through("failed recoveries", first, cases, recovers).await;
}

/// Kills a run that has removed everything and released nothing.
async fn crash(fixture: &Fixture) {
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
    let ended = run_with_faults(&fixture.socket, &PRUNE_ALL, [fault], &victim).await;
    assert_eq!(ended.code, None, "{ended:?}");
}

/// Returns the calls of an undisturbed recovery.
async fn recorded(fixture: &Fixture) -> Vec<Call> {
    let proxy = FaultProxy::start(&fixture.socket, []);
    let ended = reclaim(proxy.address(), &PRUNE_ALL).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    proxy.calls()
}

async fn recovers(fixture: &Fixture, case: &Case<Harm>) -> Violations {
    crash(fixture).await;
    let victim = Victim::default();
    let act = match case.harm {
        Harm::Killed => victim.kill(),
        Harm::Cut => Act::Cut,
        Harm::Error => Act::Refuse(Code::Unknown),
    };
    let fault = Fault {
        call: case.call.clone(),
        moment: case.moment,
        act,
    };
    let ended = run_with_faults(&fixture.socket, &PRUNE_ALL, [fault], &victim).await;
    let after = State::of(&fixture.namespace).await;
    let mut violations = check::store(fixture, &after);
    match case.harm {
        Harm::Killed => violations.extend(restores(fixture).await),
        Harm::Cut => violations.extend(after.differences(&fixture.end)),
        Harm::Error => {}
    }
    let is_as_expected = match case.harm {
        Harm::Killed => ended.code.is_none(),
        Harm::Cut => ended.code == Some(0),
        Harm::Error => ended.struck,
    };
    if !is_as_expected {
        violations.push(format!("{ended:?}"));
    }
    violations.extend(check::leaks(fixture).await);
    violations.extend(check::following_run(fixture).await);
    violations
}
