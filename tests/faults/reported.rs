//! Errors for good: reported, and never followed by harm.

use reclaim_testkit::fault::{Act, Call, Fault, Moment};
use tonic::Code;

use crate::check;
use crate::matrix::{Case, Complaints, cases, work_through};
use crate::run::{PRUNE_ALL, Victim, spoiled};
use crate::stage::Stage;
use crate::state::State;

/// An error that promises nothing, before or after containerd has acted, is in the status and
/// the report where it matters. What is there afterwards is sound, and the next run goes on.
#[tokio::test(flavor = "multi_thread")]
async fn an_error_for_good_is_reported() {
    let first = Stage::set().await;
    let harms = [
        (Moment::Before, Code::Unknown),
        (Moment::After, Code::Unknown),
        (Moment::Before, Code::Cancelled),
    ];
    let cases = cases(&first.calls, &harms);
    work_through("errors for good", first, cases, is_reported).await;
}

/// A run whose collection fails says so, and does not call it an end: what it removed is held, and
/// the next run goes on from there.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_cannot_collect_is_unfinished() {
    let stage = Stage::set().await;
    let is_release = |call: &&Call| call.method == "leases.v1.Leases/Delete";
    let release = stage.calls.iter().find(is_release).unwrap().clone();
    for moment in [Moment::Before, Moment::After] {
        stage.restock().await.unwrap();
        let fault = Fault {
            call: release.clone(),
            moment,
            act: Act::Refuse(Code::Unknown),
        };
        let ended = spoiled(&stage.socket, &PRUNE_ALL, [fault], &Victim::default()).await;
        assert_eq!(ended.code, Some(3), "{moment:?}: {ended:?}");
        let warnings = ended.report()["warnings"].to_string();
        assert!(warnings.contains("delete lease"), "{moment:?}: {warnings}");
        let complaints = check::following_run(&stage).await;
        assert_eq!(complaints, Complaints::new(), "{moment:?}");
    }
}

async fn is_reported(stage: &Stage, case: &Case<Code>) -> Complaints {
    let fault = Fault {
        call: case.call.clone(),
        moment: case.moment,
        act: Act::Refuse(case.harm),
    };
    let ended = spoiled(&stage.socket, &PRUNE_ALL, [fault], &Victim::default()).await;
    let after = State::of(&stage.namespace).await;
    let mut complaints = check::soundness(stage, &after);
    complaints.extend(check::truth(&ended, &stage.before, &after));
    if !ended.struck {
        complaints.push("the fault did not strike".to_owned());
    }
    if ended.code == Some(0) {
        // The next run takes the guard over at once.
        let differences = after.differences(&stage.end).into_iter();
        let differences = differences.filter(|it| it != "has lease reclaim.prune");
        complaints.extend(differences.map(|it| format!("is content and {it}")));
    }
    complaints.extend(check::leaks(stage).await);
    complaints.extend(check::following_run(stage).await);
    complaints
}
