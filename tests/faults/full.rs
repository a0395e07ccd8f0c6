//! The binary on a disk without room for a journal: every write of content is refused, and a
//! call beside is spoiled.

use reclaim_testkit::fault::{Act, Call, Fault, FaultProxy, Moment};
use tonic::Code;

use crate::check;
use crate::matrix::{Case, Complaints, cases, work_through};
use crate::run::{Ended, PRUNE_ALL, PRUNE_DANGLING, Victim, reclaim, spoiled};
use crate::stage::Stage;
use crate::state::State;

const WRITE: &str = "content.v1.Content/Write";
const LIST: &str = "snapshots.v1.Snapshots/List";

/// The labels in which a hold lists its records.
const JOURNAL: &str = "reclaim/journal.";

/// How many writes are refused: more than a run on the stage makes.
const WRITES: usize = 50;

fn no_room() -> impl Iterator<Item = Fault> {
    (0..WRITES).map(|nth| Fault {
        call: Call {
            method: WRITE.to_owned(),
            nth,
        },
        moment: Moment::Before,
        act: Act::Refuse(Code::ResourceExhausted),
    })
}

/// Sets a stage, and records the calls of a prune for which there is no room.
async fn full_stage() -> Stage {
    let mut stage = Stage::set().await;
    stage.restock().await.unwrap();
    let proxy = FaultProxy::start(&stage.socket, no_room());
    let ended = reclaim(proxy.address(), &PRUNE_ALL).await;
    let after = State::of(&stage.namespace).await;
    assert_eq!(after, stage.end, "{ended:#?}");
    let warnings = ended.report()["warnings"].to_string();
    assert!(warnings.contains("too full"), "{ended:#?}");
    let calls = proxy.calls().into_iter();
    // Up to the first write it is a run like any other.
    let calls = calls.skip_while(|call| call.method != WRITE);
    stage.calls = calls.filter(|call| call.method != WRITE).collect();
    stage
}

/// Killed at any call, a run on a full disk loses nothing: what it had removed and not freed
/// comes back with the next run, whole.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_killed_on_a_full_disk_loses_nothing() {
    let first = full_stage().await;
    let harms = [(Moment::Before, ()), (Moment::After, ())];
    let cases = cases(&first.calls, &harms);
    work_through("runs killed on a full disk", first, cases, loses_nothing).await;
}

async fn loses_nothing(stage: &Stage, case: &Case<()>) -> Complaints {
    let victim = Victim::default();
    let ended = spoil(stage, case, victim.kill(), &victim).await;
    let after = State::of(&stage.namespace).await;
    let mut complaints = check::soundness(stage, &after);
    if ended.code.is_some() {
        complaints.push(format!("is not killed: {ended:?}"));
    }
    complaints.extend(check::leaks(stage).await);
    complaints.extend(comes_back(stage).await);
    complaints.extend(check::following_run(stage).await);
    complaints
}

async fn spoil(stage: &Stage, case: &Case<()>, act: Act, victim: &Victim) -> Ended {
    let fault = Fault {
        call: case.call.clone(),
        moment: case.moment,
        act,
    };
    let faults = no_room().chain([fault]);
    spoiled(&stage.socket, &PRUNE_ALL, faults, victim).await
}

/// The next run has everything that is there still, and what a hold lists.
async fn comes_back(stage: &Stage) -> Complaints {
    let before = State::of(&stage.namespace).await;
    let journals = before.leases.values().flatten();
    let journals = journals.filter(|(key, _)| key.starts_with(JOURNAL));
    let listed: String = journals.map(|(_, part)| part.as_str()).collect();
    let ended = reclaim(stage.socket.to_str().unwrap(), &PRUNE_DANGLING).await;
    let after = State::of(&stage.namespace).await;
    let mut complaints = check::soundness(stage, &after);
    if ended.code != Some(0) {
        complaints.push(format!("the next run: {ended:?}"));
    }
    let all = stage.before.images.iter();
    let is_held = |target: &str| listed.contains(target) && before.blobs.contains_key(target);
    let expected = all.filter(|(name, target)| {
        before.images.contains_key(*name) || listed.contains(*name) && is_held(target)
    });
    let names = expected.map(|(name, _)| name);
    let names = names.filter(|name| !name.starts_with("moby-dangling"));
    let lost = names.filter(|name| !after.images.contains_key(*name));
    complaints.extend(lost.map(|name| format!("{name} is lost")));
    if !after.leases.is_empty() {
        complaints.push(format!("the next run leaves {:?}", after.leases));
    }
    complaints
}

/// An error at any call is in the report, which stays true.
#[tokio::test(flavor = "multi_thread")]
async fn an_error_on_a_full_disk_is_told() {
    let mut first = full_stage().await;
    // A snapshotter that cannot be listed is a gap, and that no error.
    first.calls.retain(|call| call.method != LIST);
    let harms = [(Moment::Before, ()), (Moment::After, ())];
    let cases = cases(&first.calls, &harms);
    work_through("errors on a full disk", first, cases, tells).await;
}

async fn tells(stage: &Stage, case: &Case<()>) -> Complaints {
    let refused = Act::Refuse(Code::Unknown);
    let ended = spoil(stage, case, refused, &Victim::default()).await;
    let after = State::of(&stage.namespace).await;
    let mut complaints = check::soundness(stage, &after);
    complaints.extend(check::truth_with_gaps(&ended, &stage.before, &after));
    complaints.extend(check::leaks(stage).await);
    complaints.extend(check::following_run(stage).await);
    complaints
}
