//! Faults that are only a matter of trying again.

use reclaim_testkit::fault::{Act, Fault, Moment};
use tonic::Code;

use crate::check;
use crate::matrix::{Case, Complaints, cases, work_through};
use crate::run::{PRUNE_ALL, Victim, spoiled};
use crate::stage::Stage;
use crate::state::State;

/// What a server that is busy or restarting does to a call, or the way to it.
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

/// One lost call or answer, whichever it is, changes neither the report nor the end: each call
/// is tried again, and none does harm when containerd has acted on it already.
#[tokio::test(flavor = "multi_thread")]
async fn one_lost_call_or_answer_changes_nothing() {
    let first = Stage::set().await;
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

async fn is_invisible(stage: &Stage, case: &Case<Trouble>) -> Complaints {
    let fault = Fault {
        call: case.call.clone(),
        moment: case.moment,
        act: case.harm.act(),
    };
    let ended = spoiled(&stage.socket, &PRUNE_ALL, [fault], &Victim::default()).await;
    let after = State::of(&stage.namespace).await;
    let mut complaints = after.differences(&stage.end);
    complaints.extend(check::truth(&ended, &stage.before, &after));
    if !ended.struck {
        complaints.push("the fault did not strike".to_owned());
    }
    if ended.code == Some(0) {
        let mut report = ended.report();
        report["run"] = stage.report["run"].clone();
        if report != stage.report {
            complaints.push(format!("reports otherwise: {report:#}"));
        }
    } else {
        complaints.push(format!("ends with {:?}: {}", ended.code, ended.stderr));
    }
    complaints
}
