//! Faults that a retry makes up for.

use reclaim_testkit::fault::{Act, Fault, Moment};
use tonic::Code;

use crate::check;
use crate::fixture::Fixture;
use crate::matrix::{Case, Violations, cases, work_through};
use crate::run::{PRUNE_ALL, Victim, run_with_faults};
use crate::state::State;

/// What happens to a call if the server is busy or restarts.
#[derive(Debug, Clone, Copy)]
enum Trouble {
    Unavailable,
    Reset,
    Cut,
}

impl Trouble {
    fn act(self) -> Act {
        match self {
            Self::Unavailable => Act::Refuse(Code::Unavailable),
            Self::Reset => Act::Reset,
            Self::Cut => Act::Cut,
        }
    }
}

/// Report and store are the same as without the fault: every call is retried, and repeating it is
/// harmless if containerd has already acted on it.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_call_or_answer_changes_nothing() {
    let first = Fixture::start().await;
    let harms = [
        (Moment::Before, Trouble::Unavailable),
        (Moment::Before, Trouble::Cut),
        (Moment::After, Trouble::Unavailable),
        (Moment::After, Trouble::Reset),
        (Moment::After, Trouble::Cut),
    ];
    let cases = cases(&first.calls, &harms);
    work_through("lost calls and answers", first, cases, is_invisible).await;
}

async fn is_invisible(fixture: &Fixture, case: &Case<Trouble>) -> Violations {
    let fault = Fault {
        call: case.call.clone(),
        moment: case.moment,
        act: case.harm.act(),
    };
    let ended = run_with_faults(&fixture.socket, &PRUNE_ALL, [fault], &Victim::default()).await;
    let after = State::of(&fixture.namespace).await;
    let mut violations = after.differences(&fixture.end);
    violations.extend(check::report(&ended, &fixture.before, &after));
    if !ended.struck {
        violations.push("the fault did not strike".to_owned());
    }
    if ended.code == Some(0) {
        let mut report = ended.report();
        report["run"] = fixture.report["run"].clone();
        if report != fixture.report {
            violations.push(format!("prints another report: {report:#}"));
        }
    } else {
        violations.push(format!("exits with {:?}: {}", ended.code, ended.stderr));
    }
    violations
}
