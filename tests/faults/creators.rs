//! A container is created during a prune, between any two of its calls.
//!
//! # Guarantees
//!
//! Like containerd's own client, a creator resolves the name, prepares a snapshot, and creates the
//! container. The run's second look lists the snapshots last. Therefore:
//!
//! - A creator that has resolved the name, and prepares the snapshot before the second look lists
//!   the snapshots, keeps the image: record, content and snapshots.
//! - A creator that resolves the name after the removal gets "not found".
//! - A creator that resolves the name before the removal, and prepares the snapshot after that
//!   list, may lose the record; the grace period makes this unlikely. The container's filesystem is
//!   whole: the snapshot is prepared on what the run holds, or not at all.

use std::sync::Arc;
use std::time::Duration;

use reclaim_testkit::fault::{Act, Call, Fault, Hook, Moment, Then};
use reclaim_testkit::{BuiltImage, Deletion, NamespaceClient, Status};
use tokio::sync::SetOnce;
use tonic::Code;

use crate::check;
use crate::fixture::{Fixture, PLATFORMS, TWO, UNUSED};
use crate::matrix::{Case, Violations, cases, work_through};
use crate::run::{PRUNE_ALL, Victim, run_with_faults};
use crate::state::State;

const CONTAINER: &str = "late";
const DELETE: &str = "images.v1.Images/Delete";
const USAGE: &str = "snapshots.v1.Snapshots/Usage";
const GET: &str = "images.v1.Images/Get";
const LIST: &str = "snapshots.v1.Snapshots/List";

/// An image with one name, one with two names, and one of which only one platform is unpacked.
const IMAGES: [(Moment, &str); 3] = [
    (Moment::Before, UNUSED),
    (Moment::Before, TWO),
    (Moment::Before, PLATFORMS),
];

/// The result of a creation.
type Creation = Arc<SetOnce<Result<(), Status>>>;

/// A container that is created between any two calls has its image, or creating it fails with "not
/// found".
#[tokio::test(flavor = "multi_thread")]
async fn a_container_whose_image_name_is_resolved_has_the_image() {
    let first = Fixture::start().await;
    let cases = cases(&first.calls, &IMAGES);
    work_through("containers created", first, cases, creates_at_once).await;
}

/// The name is resolved before the run. If the snapshot is prepared after the second look, the
/// container's filesystem is whole, or there is no container.
#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_prepared_before_the_second_look_keeps_the_image() {
    let first = Fixture::start().await;
    let cases = cases(&first.calls, &IMAGES);
    work_through("containers prepared", first, cases, prepares).await;
}

/// A snapshot prepared after that list, and before the run releases anything, keeps the image if
/// containerd's event arrives in time: the run then looks again.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_a_snapshot_after_the_second_look_keeps_the_image() {
    let first = Fixture::start().await;
    let lists: Vec<Call> = second_look(&first)
        .iter()
        .filter(|call| call.method == LIST)
        .cloned()
        .collect();
    let images = [UNUSED, TWO, PLATFORMS].map(|image| (Moment::After, image));
    let cases = cases(&lists, &images);
    work_through("containers observed by event", first, cases, is_observed).await;
}

/// A delete that took effect and returned an error is part of the second look: the image comes back
/// for a container that has begun to use it.
#[tokio::test(flavor = "multi_thread")]
async fn the_second_look_includes_removals_that_seem_to_fail() {
    let first = Fixture::start().await;
    let cases = [UNUSED, TWO, PLATFORMS]
        .into_iter()
        .flat_map(|image| [(image, false), (image, true)])
        .collect();
    work_through("uncertain removals", first, cases, is_uncertain).await;
}

/// A retry or the next run repeats a restoration that failed. Until then the run's lease holds what
/// it needs.
#[tokio::test(flavor = "multi_thread")]
async fn a_failed_restoration_is_repeated() {
    let first = Fixture::start().await;
    let create = call("images.v1.Images/Create", 0);
    let harms: Vec<_> = IMAGES
        .iter()
        .flat_map(|&(_, image)| Harm::ALL.map(|harm| (image, harm)))
        .flat_map(|harm| [(Moment::Before, harm), (Moment::After, harm)])
        .collect();
    let cases = cases(&[create], &harms);
    work_through("failed restorations", first, cases, restores).await;
}

/// What happens to a restoration.
#[derive(Debug, Clone, Copy)]
enum Harm {
    Lost,
    Error,
    Killed,
}

impl Harm {
    const ALL: [Self; 3] = [Self::Lost, Self::Error, Self::Killed];
}

async fn creates_at_once(fixture: &Fixture, case: &Case<&'static str>) -> Violations {
    let image = fixture.image(case.harm);
    let namespace = fixture.namespace.clone();
    let (created, act) = creation(image, namespace, true);
    let mut violations = prune_with(fixture, [at(&case.call, act)]).await;
    match created.get() {
        None => violations.push("the hook did not run".to_owned()),
        Some(Ok(())) => violations.extend(has_its_image(fixture, image).await),
        Some(Err(status)) if status.code() == Code::NotFound => {
            let after = State::of(&fixture.namespace).await;
            violations.extend(after.differences(&fixture.end));
        }
        Some(Err(status)) => violations.push(format!("creation fails: {status}")),
    }
    violations.extend(clean_up(fixture).await);
    violations
}

async fn prepares(fixture: &Fixture, case: &Case<&'static str>) -> Violations {
    let image = fixture.image(case.harm);
    let (created, act) = creation(image, fixture.namespace.clone(), false);
    let mut violations = prune_with(fixture, [at(&case.call, act)]).await;
    let is_guaranteed = precedes_last_list(fixture, &case.call);
    match created.get() {
        None => violations.push("the hook did not run".to_owned()),
        Some(Ok(())) if is_guaranteed => violations.extend(has_its_image(fixture, image).await),
        Some(Ok(())) => violations.extend(has_its_filesystem(fixture, image).await),
        Some(Err(status)) if status.code() == Code::NotFound && !is_guaranteed => {}
        Some(Err(status)) => violations.push(format!("creation fails: {status}")),
    }
    violations.extend(clean_up(fixture).await);
    violations
}

async fn is_observed(fixture: &Fixture, case: &Case<&'static str>) -> Violations {
    let image = fixture.image(case.harm);
    // The pause gives the event time to arrive.
    let pause = Duration::from_secs(2);
    let (created, act) = creation_before(image, fixture.namespace.clone(), false, pause);
    let fault = Fault {
        call: case.call.clone(),
        moment: case.moment,
        act,
    };
    let mut violations = prune_with(fixture, [fault]).await;
    match created.get() {
        Some(Ok(())) => violations.extend(has_its_image(fixture, image).await),
        other => violations.push(format!("creation: {other:?}")),
    }
    violations.extend(clean_up(fixture).await);
    violations
}

/// Lets every delete return an error after its effect, and with `true` also the calls that read the
/// records afterwards.
async fn is_uncertain(fixture: &Fixture, case: &(&'static str, bool)) -> Violations {
    let (name, reads_fail) = *case;
    let image = fixture.image(name);
    let count = |method: &str| {
        fixture
            .calls
            .iter()
            .filter(|call| call.method == method)
            .count()
    };
    let fails = |method: &str, nth, moment| Fault {
        call: call(method, nth),
        moment,
        act: Act::Refuse(Code::Unknown),
    };
    let n_deletes = count(DELETE);
    let mut faults: Vec<Fault> = (0..n_deletes)
        .map(|nth| fails(DELETE, nth, Moment::After))
        .collect();
    if reads_fail {
        let n_reads = count(GET);
        let more_reads = n_reads..n_reads + n_deletes;
        faults.extend(more_reads.map(|nth| fails(GET, nth, Moment::Before)));
    }
    let (created, act) = creation(image, fixture.namespace.clone(), false);
    faults.push(at(&second_look(fixture)[0], act));
    let mut violations = prune_with(fixture, faults).await;
    match created.get() {
        Some(Ok(())) => violations.extend(has_its_image(fixture, image).await),
        other => violations.push(format!("creation: {other:?}")),
    }
    violations.extend(clean_up(fixture).await);
    violations
}

async fn restores(fixture: &Fixture, case: &Case<(&'static str, Harm)>) -> Violations {
    let (name, harm) = case.harm;
    let image = fixture.image(name);
    let victim = Victim::default();
    let (act, code) = match harm {
        Harm::Lost => (Act::Refuse(Code::Unavailable), Some(0)),
        Harm::Error => (Act::Refuse(Code::Unknown), Some(3)),
        Harm::Killed => (victim.kill(), None),
    };
    let fault = Fault {
        call: case.call.clone(),
        moment: case.moment,
        act,
    };
    let (created, creating) = creation(image, fixture.namespace.clone(), false);
    let faults = [at(&second_look(fixture)[0], creating), fault];
    let ended = run_with_faults(&fixture.socket, &PRUNE_ALL, faults, &victim).await;
    let after = State::of(&fixture.namespace).await;
    let mut violations = check::store(fixture, &after);
    if ended.code != code || !matches!(created.get(), Some(Ok(()))) {
        violations.push(format!("{created:?}, {ended:?}"));
    }
    if ended.code.is_some() {
        violations.extend(check::report(&ended, &fixture.before, &after));
    }
    if ended.code != Some(0) {
        violations.extend(check::leaks(fixture).await);
        let next = run_with_faults(&fixture.socket, &PRUNE_ALL, [], &Victim::default()).await;
        if next.code != Some(0) {
            violations.push(format!("the next run: {next:?}"));
        }
    }
    violations.extend(has_its_image(fixture, image).await);
    violations.extend(clean_up(fixture).await);
    violations
}

fn call(method: &str, nth: usize) -> Call {
    Call {
        method: method.to_owned(),
        nth,
    }
}

fn at(call: &Call, act: Act) -> Fault {
    Fault {
        call: call.clone(),
        moment: Moment::Before,
        act,
    }
}

/// Returns an act that creates a container of an image as nerdctl does, and its result. Without
/// `resolves` it does not look up the image's name.
fn creation(image: &BuiltImage, namespace: NamespaceClient, resolves: bool) -> (Creation, Act) {
    creation_before(image, namespace, resolves, Duration::ZERO)
}

/// Like [`creation`]; the run continues after a pause.
fn creation_before(
    image: &BuiltImage,
    namespace: NamespaceClient,
    resolves: bool,
    pause: Duration,
) -> (Creation, Act) {
    let created = Creation::default();
    let (slot, image) = (Arc::clone(&created), image.clone());
    let hook = Hook::new(move || {
        let (slot, image, namespace) = (Arc::clone(&slot), image.clone(), namespace.clone());
        async move {
            let creating = async {
                if resolves {
                    namespace.image_record(image.name()).await?;
                }
                namespace.nerdctl_container(CONTAINER, &image).await
            };
            let done = creating.await;
            if done.is_err() {
                give_up(&namespace).await;
            }
            slot.set(done).expect("a fault strikes once");
            tokio::time::sleep(pause).await;
            Then::Continue
        }
    });
    (created, Act::Run(hook))
}

/// Deletes the lease of a failed creation, as its client does.
async fn give_up(namespace: &NamespaceClient) {
    for lease in namespace.leases().await.unwrap().into_keys() {
        if !lease.starts_with("reclaim.") {
            namespace
                .delete_lease(&lease, Deletion::Async)
                .await
                .unwrap();
        }
    }
}

/// Runs a prune with faults, and checks the invariants.
async fn prune_with(fixture: &Fixture, faults: impl IntoIterator<Item = Fault>) -> Violations {
    let ended = run_with_faults(&fixture.socket, &PRUNE_ALL, faults, &Victim::default()).await;
    let after = State::of(&fixture.namespace).await;
    let mut violations = check::store(fixture, &after);
    violations.extend(check::report(&ended, &fixture.before, &after));
    if !matches!(ended.code, Some(0 | 3)) || !ended.struck {
        violations.push(format!("{ended:?}"));
    }
    violations
}

/// Returns the calls of the second look, in order.
fn second_look(fixture: &Fixture) -> &[Call] {
    let is = |method: &'static str| move |call: &Call| call.method == method;
    // Images are removed and snapshots measured at the same time.
    let before = |call: &Call| is(DELETE)(call) || is(USAGE)(call);
    let begin = fixture.calls.iter().rposition(before).unwrap() + 1;
    let release = is("leases.v1.Leases/Delete");
    let end = fixture.calls.iter().position(release).unwrap();
    &fixture.calls[begin..end]
}

/// Whether a call comes before the second look's first list of snapshots.
fn precedes_last_list(fixture: &Fixture, call: &Call) -> bool {
    let is_list = |call: &&Call| call.method == LIST;
    let list = second_look(fixture).iter().find(is_list).unwrap();
    let position = |call: &Call| {
        fixture
            .calls
            .iter()
            .position(|other| other == call)
            .unwrap()
    };
    position(call) < position(list)
}

/// The record, all content, all snapshots and the container are there.
async fn has_its_image(fixture: &Fixture, image: &BuiltImage) -> Violations {
    let after = State::of(&fixture.namespace).await;
    let mut violations = has_its_filesystem(fixture, image).await;
    // If the record is there, its image is whole: `check::store` has checked that.
    if !after.images.contains_key(image.name()) {
        violations.push(format!("lost {}, which a container uses", image.name()));
    }
    violations
}

/// The container and its snapshots are there, down to the lowest layer.
async fn has_its_filesystem(fixture: &Fixture, image: &BuiltImage) -> Violations {
    let after = State::of(&fixture.namespace).await;
    let (snapshotter, _) = image.unpacked();
    let unpacked = image
        .manifests
        .iter()
        .find(|manifest| manifest.unpacked().is_some())
        .unwrap();
    let chain = unpacked.chain_ids.iter().map(ToString::to_string);
    let mut violations: Violations = chain
        .chain([CONTAINER.to_owned()])
        .map(|key| format!("{snapshotter}/{key}"))
        .filter(|snapshot| !after.snapshots.contains(snapshot))
        .map(|snapshot| format!("lacks snapshot {snapshot}"))
        .collect();
    if !after.containers.contains(CONTAINER) {
        violations.push("the container is lost".to_owned());
    }
    violations
}

/// Removes the container, and checks that a run leaves nothing of it.
async fn clean_up(fixture: &Fixture) -> Violations {
    let namespace = &fixture.namespace;
    // In some cases there is no container.
    drop(namespace.delete_container(CONTAINER).await);
    namespace.collect().await.unwrap();
    check::following_run(fixture).await
}
