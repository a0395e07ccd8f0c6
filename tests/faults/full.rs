//! A disk without room for a journal: every write of content is refused, and one more call has a
//! fault.

use reclaim_testkit::fault::{Act, Call, Fault, FaultProxy, Moment};
use tonic::Code;

use crate::check;
use crate::fixture::Fixture;
use crate::matrix::{Case, Violations, cases, work_through};
use crate::run::{PRUNE_ALL, PRUNE_DANGLING, RunOutput, Victim, reclaim, run_with_faults};
use crate::state::State;

const WRITE: &str = "content.v1.Content/Write";
const LIST: &str = "snapshots.v1.Snapshots/List";

/// Prefix of the labels in which a hold lists its records.
const JOURNAL: &str = "reclaim/journal.";

/// Number of refused writes, more than a run makes.
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

/// Starts a fixture, and records the calls of a prune on the full disk.
async fn full_fixture() -> Fixture {
    let mut fixture = Fixture::start().await;
    fixture.refill().await.unwrap();
    let proxy = FaultProxy::start(&fixture.socket, no_room());
    let ended = reclaim(proxy.address(), &PRUNE_ALL).await;
    let after = State::of(&fixture.namespace).await;
    assert_eq!(after, fixture.end, "{ended:#?}");
    let warnings = ended.report()["warnings"].to_string();
    assert!(warnings.contains("too full"), "{ended:#?}");
    fixture.calls = proxy
        .calls()
        .into_iter()
        // Up to the first write, the run is the same as with room on the disk.
        .skip_while(|call| call.method != WRITE)
        .filter(|call| call.method != WRITE)
        .collect();
    fixture
}

/// The next run restores what the killed one had removed and not freed.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_killed_on_a_full_disk_loses_nothing() {
    let first = full_fixture().await;
    let harms = [(Moment::Before, ()), (Moment::After, ())];
    let cases = cases(&first.calls, &harms);
    work_through("runs killed on a full disk", first, cases, loses_nothing).await;
}

async fn loses_nothing(fixture: &Fixture, case: &Case<()>) -> Violations {
    let victim = Victim::default();
    let ended = run_full_with(fixture, case, victim.kill(), &victim).await;
    let after = State::of(&fixture.namespace).await;
    let mut violations = check::store(fixture, &after);
    if ended.code.is_some() {
        violations.push(format!("is not killed: {ended:?}"));
    }
    violations.extend(check::leaks(fixture).await);
    violations.extend(comes_back(fixture).await);
    violations.extend(check::following_run(fixture).await);
    violations
}

async fn run_full_with(fixture: &Fixture, case: &Case<()>, act: Act, victim: &Victim) -> RunOutput {
    let fault = Fault {
        call: case.call.clone(),
        moment: case.moment,
        act,
    };
    let faults = no_room().chain([fault]);
    run_with_faults(&fixture.socket, &PRUNE_ALL, faults, victim).await
}

/// After the next run, all images are there that were there before it or that a hold lists.
async fn comes_back(fixture: &Fixture) -> Violations {
    let before = State::of(&fixture.namespace).await;
    let journal: String = before
        .leases
        .values()
        .flatten()
        .filter(|(key, _)| key.starts_with(JOURNAL))
        .map(|(_, part)| part.as_str())
        .collect();
    let ended = reclaim(fixture.socket.to_str().unwrap(), &PRUNE_DANGLING).await;
    let after = State::of(&fixture.namespace).await;
    let mut violations = check::store(fixture, &after);
    if ended.code != Some(0) {
        violations.push(format!("the next run: {ended:?}"));
    }
    let is_held = |name: &str, target: &str| {
        journal.contains(name) && journal.contains(target) && before.blobs.contains_key(target)
    };
    let lost = fixture
        .before
        .images
        .iter()
        .filter(|(name, target)| before.images.contains_key(*name) || is_held(name, target))
        .map(|(name, _)| name)
        .filter(|name| !name.starts_with("moby-dangling"))
        .filter(|name| !after.images.contains_key(*name));
    violations.extend(lost.map(|name| format!("{name} is lost")));
    if !after.leases.is_empty() {
        violations.push(format!("the next run leaves {:?}", after.leases));
    }
    violations
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_an_error_on_a_full_disk() {
    let mut first = full_fixture().await;
    // A snapshotter that cannot be listed is a gap, and not an error.
    first.calls.retain(|call| call.method != LIST);
    let harms = [(Moment::Before, ()), (Moment::After, ())];
    let cases = cases(&first.calls, &harms);
    work_through("errors on a full disk", first, cases, is_reported).await;
}

async fn is_reported(fixture: &Fixture, case: &Case<()>) -> Violations {
    let refused = Act::Refuse(Code::Unknown);
    let ended = run_full_with(fixture, case, refused, &Victim::default()).await;
    let after = State::of(&fixture.namespace).await;
    let mut violations = check::store(fixture, &after);
    violations.extend(check::report_with_gaps(&ended, &fixture.before, &after));
    violations.extend(check::leaks(fixture).await);
    violations.extend(check::following_run(fixture).await);
    violations
}
