//! Calls that are never answered, while the connection stays open.
//!
//! One that is only slow changes nothing. One alone costs time: it is made again, or is a gap that
//! keeps what it may hide. If none is answered from it on, the run ends with an error that names
//! containerd; whatever it had removed is held, and the next run goes on from there.

use std::time::Duration;

use reclaim_testkit::fault::{Act, Fault, Moment};

use crate::check::{following_run, leaks, soundness, truth, truth_with_gaps};
use crate::matrix::{Case, Complaints, cases, work_through_on};
use crate::run::{PRUNE_ALL, Victim, spoiled};
use crate::stage::Stage;
use crate::state::State;

/// How many containerds are kept waiting: a case takes as long as the deadlines, and next to no
/// work.
const STAGES: usize = 8;

/// How often a case is tried at most whose fault does not strike.
const TRIES: usize = 3;

#[derive(Debug, Clone, Copy)]
enum Harm {
    /// That call is never answered.
    One,
    /// Neither is any after it.
    All,
    /// It is answered late, and in time.
    Slow,
}

/// How late an answer is that is only slow: a tenth of the shortest deadline.
const LATE: Duration = Duration::from_secs(1);

/// Every call of a run, before and after its effect.
const HARMS: [(Moment, Harm); 5] = [
    (Moment::Before, Harm::One),
    (Moment::After, Harm::One),
    (Moment::Before, Harm::All),
    (Moment::After, Harm::All),
    (Moment::After, Harm::Slow),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_never_answered_ends_no_run_in_the_middle() {
    let stage = Stage::set().await;
    let cases = cases(&stage.calls, &HARMS);
    work_through_on(STAGES, "silence", stage, cases, check).await;
}

async fn check(stage: &Stage, case: &Case<Harm>) -> Complaints {
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
        let ended = spoiled(&stage.socket, &PRUNE_ALL, fault, &Victim::default()).await;
        tries.next();
        if ended.struck || tries.is_empty() {
            break ended;
        }
        // The machine was so busy that another call had no answer in time.
        let mut complaints = following_run(stage).await;
        complaints.extend(stage.restock().await.err());
        if !complaints.is_empty() {
            return complaints;
        }
    };
    let after = State::of(&stage.namespace).await;
    let mut complaints = soundness(stage, &after);
    if !ended.struck {
        complaints.push(format!("the fault did not strike: {ended:?}"));
    }
    match case.harm {
        Harm::Slow => {
            complaints.extend(after.differences(&stage.end));
            complaints.extend(truth(&ended, &stage.before, &after));
        }
        Harm::One => complaints.extend(truth_with_gaps(&ended, &stage.before, &after)),
        Harm::All => {
            let is_told = [&ended.stdout, &ended.stderr]
                .iter()
                .any(|text| text.contains("no answer from containerd"));
            // Of the events nothing depends on an answer.
            let is_needed = case.call.method != "events.v1.Events/Subscribe";
            // Nothing is left to go wrong but the measuring after the end.
            if !matches!(ended.code, Some(0 | 1 | 3)) || is_needed && !is_told {
                complaints.push(format!("does not say what is wrong: {ended:?}"));
            }
        }
    }
    complaints.extend(following_run(stage).await);
    complaints.extend(leaks(stage).await);
    complaints
}
