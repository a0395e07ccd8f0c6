//! Calls that are never answered, while the connection stays open.
//!
//! A slow answer changes nothing. One missing answer costs time: the call is repeated, or is a gap
//! that keeps the images it may affect. If no call is answered from then on, the run ends with an
//! error that names containerd; what it had removed stays held, and the next run continues.

use std::time::Duration;

use reclaim_testkit::fault::{Act, Fault, Moment};

use crate::check;
use crate::fixture::Fixture;
use crate::matrix::{Case, Violations, cases, work_through_on};
use crate::run::{PRUNE_ALL, Victim, run_with_faults};
use crate::state::State;

/// Number of containerds. A case takes as long as the deadlines, and hardly any work.
const N_CONTAINERDS: usize = 8;

/// How often a case is tried if its fault does not take effect.
const TRIES: usize = 3;

#[derive(Debug, Clone, Copy)]
enum Harm {
    /// The call is never answered.
    One,
    /// The call and all after it are never answered.
    All,
    /// The call is answered late, within the deadline.
    Slow,
}

/// The delay of a slow answer: a tenth of the shortest deadline.
const LATE: Duration = Duration::from_secs(1);

const HARMS: [(Moment, Harm); 5] = [
    (Moment::Before, Harm::One),
    (Moment::After, Harm::One),
    (Moment::Before, Harm::All),
    (Moment::After, Harm::All),
    (Moment::After, Harm::Slow),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_never_answered_loses_nothing() {
    let fixture = Fixture::start().await;
    let cases = cases(&fixture.calls, &HARMS);
    work_through_on(N_CONTAINERDS, "silence", fixture, cases, loses_nothing).await;
}

async fn loses_nothing(fixture: &Fixture, case: &Case<Harm>) -> Violations {
    let fault = Fault {
        call: case.call.clone(),
        moment: case.moment,
        act: match case.harm {
            Harm::One => Act::Hang,
            Harm::All => Act::Silence,
            Harm::Slow => Act::Delay(LATE),
        },
    };
    let mut tries = 0..TRIES;
    let ended = loop {
        let fault = [fault.clone()];
        let ended = run_with_faults(&fixture.socket, &PRUNE_ALL, fault, &Victim::default()).await;
        tries.next();
        if ended.struck || tries.is_empty() {
            break ended;
        }
        // The machine was so busy that another call missed its deadline.
        let mut violations = check::following_run(fixture).await;
        violations.extend(fixture.refill().await.err());
        if !violations.is_empty() {
            return violations;
        }
    };
    let after = State::of(&fixture.namespace).await;
    let mut violations = check::store(fixture, &after);
    if !ended.struck {
        violations.push(format!("the fault did not strike: {ended:?}"));
    }
    match case.harm {
        Harm::Slow => {
            violations.extend(after.differences(&fixture.end));
            violations.extend(check::report(&ended, &fixture.before, &after));
        }
        Harm::One => violations.extend(check::report_with_gaps(&ended, &fixture.before, &after)),
        Harm::All => {
            let names_containerd = [&ended.stdout, &ended.stderr]
                .iter()
                .any(|text| text.contains("no answer from containerd"));
            // A run does not need the answer to its event subscription.
            let is_needed = case.call.method != "events.v1.Events/Subscribe";
            // 0, because the calls that measure after the end may fail.
            if !matches!(ended.code, Some(0 | 1 | 3)) || is_needed && !names_containerd {
                violations.push(format!("does not say what is wrong: {ended:?}"));
            }
        }
    }
    violations.extend(check::following_run(fixture).await);
    violations.extend(check::leaks(fixture).await);
    violations
}
