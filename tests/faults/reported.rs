//! Permanent errors: reported, and harmless.

use reclaim_testkit::fault::{Act, Call, Fault, Moment};
use tonic::Code;

use crate::check;
use crate::fixture::Fixture;
use crate::matrix::{Case, Violations, cases, work_through};
use crate::run::{PRUNE_ALL, Victim, run_with_faults};
use crate::state::State;

/// The error may come before or after containerd acts. It is in the exit status and in the report
/// if it matters, and the next run continues.
#[tokio::test(flavor = "multi_thread")]
async fn reports_a_permanent_error() {
    let first = Fixture::start().await;
    let harms = [
        (Moment::Before, Code::Unknown),
        (Moment::After, Code::Unknown),
        (Moment::Before, Code::Cancelled),
    ];
    let cases = cases(&first.calls, &harms);
    work_through("permanent errors", first, cases, is_reported).await;
}

/// A run whose collection fails exits with 3. What it removed stays held, and the next run
/// continues from there.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_cannot_collect_is_unfinished() {
    let fixture = Fixture::start().await;
    let is_release = |call: &&Call| call.method == "leases.v1.Leases/Delete";
    let release = fixture.calls.iter().find(is_release).unwrap().clone();
    for moment in [Moment::Before, Moment::After] {
        fixture.refill().await.unwrap();
        let fault = Fault {
            call: release.clone(),
            moment,
            act: Act::Refuse(Code::Unknown),
        };
        let ended = run_with_faults(&fixture.socket, &PRUNE_ALL, [fault], &Victim::default()).await;
        assert_eq!(ended.code, Some(3), "{moment:?}: {ended:?}");
        let warnings = ended.report()["warnings"].to_string();
        assert!(warnings.contains("delete lease"), "{moment:?}: {warnings}");
        let violations = check::following_run(&fixture).await;
        assert_eq!(violations, Violations::new(), "{moment:?}");
    }
}

async fn is_reported(fixture: &Fixture, case: &Case<Code>) -> Violations {
    let fault = Fault {
        call: case.call.clone(),
        moment: case.moment,
        act: Act::Refuse(case.harm),
    };
    let ended = run_with_faults(&fixture.socket, &PRUNE_ALL, [fault], &Victim::default()).await;
    let after = State::of(&fixture.namespace).await;
    let mut violations = check::store(fixture, &after);
    violations.extend(check::report(&ended, &fixture.before, &after));
    if !ended.struck {
        violations.push("the fault did not strike".to_owned());
    }
    if ended.code == Some(0) {
        // A guard that stays is harmless: the next run takes it over at once.
        let differences = after
            .differences(&fixture.end)
            .into_iter()
            .filter(|difference| difference != "has lease reclaim.prune");
        violations.extend(differences.map(|difference| format!("exits with 0 and {difference}")));
    }
    violations.extend(check::leaks(fixture).await);
    violations.extend(check::following_run(fixture).await);
    violations
}
