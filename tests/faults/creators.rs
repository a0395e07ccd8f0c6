//! A container is created while a prune is under way, between any two of its calls.
//!
//! # What is guaranteed
//!
//! Who creates a container resolves the name, prepares a snapshot, records the container, as
//! containerd's own client does. The run's second look lists the snapshots last. So:
//!
//! - Whoever has resolved the name, and has prepared the snapshot before the second look asks
//!   for the list of snapshots, has the image: record, content and snapshots.
//! - Whoever resolves after the removal is told that there is no such image.
//! - Whoever has resolved before the removal, and prepares only after that list, may lose the
//!   record. That is what the grace is for. The container's filesystem is whole all the same:
//!   the snapshot is prepared on what is held, or not at all.

use std::sync::Arc;
use std::time::Duration;

use reclaim_testkit::fault::{Act, Call, Fault, Hook, Moment, Then};
use reclaim_testkit::{BuiltImage, Deletion, NamespaceClient, Status};
use tokio::sync::SetOnce;
use tonic::Code;

use crate::check;
use crate::matrix::{Case, Complaints, cases, work_through};
use crate::run::{PRUNE_ALL, Victim, spoiled};
use crate::stage::{PLATFORMS, Stage, TWO, UNUSED};
use crate::state::State;

const CONTAINER: &str = "late";
const DELETE: &str = "images.v1.Images/Delete";
const USAGE: &str = "snapshots.v1.Snapshots/Usage";
const GET: &str = "images.v1.Images/Get";
const LIST: &str = "snapshots.v1.Snapshots/List";

/// An image alone, one that has another name, and one of which only a part is unpacked.
const IMAGES: [(Moment, &str); 3] = [
    (Moment::Before, UNUSED),
    (Moment::Before, TWO),
    (Moment::Before, PLATFORMS),
];

/// What came of a creation.
type Created = Arc<SetOnce<Result<(), Status>>>;

/// Created in one go between any two calls, a container has its image, or is told that there is
/// none; there is nothing in between.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_resolves_the_name_has_the_image() {
    let first = Stage::set().await;
    let cases = cases(&first.calls, &IMAGES);
    work_through("containers created", first, cases, creates_at_once).await;
}

/// Resolved before the run, and prepared before the second look's list of snapshots, an image
/// stays; prepared later, the container's filesystem is whole, or there is no container.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_prepares_before_the_second_look_has_the_image() {
    let first = Stage::set().await;
    let cases = cases(&first.calls, &IMAGES);
    work_through("containers prepared", first, cases, prepares).await;
}

/// Prepared after that list, but before the run releases anything, an image stays all the same if
/// containerd tells of it in time: the run hears of the snapshot, and looks once more.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_heard_after_the_second_look_has_the_image() {
    let first = Stage::set().await;
    let lists = second_look(&first).iter().filter(|it| it.method == LIST);
    let lists: Vec<Call> = lists.cloned().collect();
    let images = [UNUSED, TWO, PLATFORMS].map(|image| (Moment::After, image));
    let cases = cases(&lists, &images);
    work_through("containers heard of", first, cases, is_heard).await;
}

/// A removal that was made and reported as failed is looked at again as well: what it removed
/// comes back for whoever has begun to use it.
#[tokio::test(flavor = "multi_thread")]
async fn a_removal_that_seems_to_fail_is_looked_at_again() {
    let first = Stage::set().await;
    let cases = [UNUSED, TWO, PLATFORMS].into_iter();
    let cases = cases.flat_map(|image| [(image, false), (image, true)]);
    work_through("removals in doubt", first, cases.collect(), doubts).await;
}

/// A restoration that is lost, fails, or is cut off by a kill, is made up for: by a retry, or by
/// the next run. Until then what it needs is held.
#[tokio::test(flavor = "multi_thread")]
async fn a_restoration_may_fail() {
    let first = Stage::set().await;
    let create = call("images.v1.Images/Create", 0);
    let all = IMAGES.iter().flat_map(|&(_, image)| {
        let mishaps = [Mishap::Lost, Mishap::Error, Mishap::Killed];
        mishaps.map(|mishap| (image, mishap))
    });
    let harms: Vec<_> = all
        .flat_map(|harm| [(Moment::Before, harm), (Moment::After, harm)])
        .collect();
    let cases = cases(&[create], &harms);
    work_through("spoiled restorations", first, cases, restores).await;
}

/// What happens to a restoration.
#[derive(Debug, Clone, Copy)]
enum Mishap {
    Lost,
    Error,
    Killed,
}

async fn creates_at_once(stage: &Stage, case: &Case<&'static str>) -> Complaints {
    let image = stage.image(case.harm);
    let namespace = stage.namespace.clone();
    let (created, act) = creation(image, namespace, true);
    let mut complaints = run_with(stage, [at(&case.call, act)]).await;
    match created.get() {
        None => complaints.push("nothing was created".to_owned()),
        Some(Ok(())) => complaints.extend(has_its_image(stage, image).await),
        Some(Err(status)) if status.code() == Code::NotFound => {
            let after = State::of(&stage.namespace).await;
            complaints.extend(after.differences(&stage.end));
        }
        Some(Err(status)) => complaints.push(format!("creation fails: {status}")),
    }
    complaints.extend(tidy(stage).await);
    complaints
}

async fn prepares(stage: &Stage, case: &Case<&'static str>) -> Complaints {
    let image = stage.image(case.harm);
    let (created, act) = creation(image, stage.namespace.clone(), false);
    let mut complaints = run_with(stage, [at(&case.call, act)]).await;
    let is_guaranteed = precedes_last_list(stage, &case.call);
    match created.get() {
        None => complaints.push("nothing was created".to_owned()),
        Some(Ok(())) if is_guaranteed => complaints.extend(has_its_image(stage, image).await),
        Some(Ok(())) => complaints.extend(has_its_filesystem(stage, image).await),
        Some(Err(status)) if status.code() == Code::NotFound && !is_guaranteed => {}
        Some(Err(status)) => complaints.push(format!("creation fails: {status}")),
    }
    complaints.extend(tidy(stage).await);
    complaints
}

async fn is_heard(stage: &Stage, case: &Case<&'static str>) -> Complaints {
    let image = stage.image(case.harm);
    // Events travel beside the calls: this one is given ample time.
    let ample = Duration::from_secs(2);
    let (created, act) = creation_before(image, stage.namespace.clone(), false, ample);
    let fault = Fault {
        call: case.call.clone(),
        moment: case.moment,
        act,
    };
    let mut complaints = run_with(stage, [fault]).await;
    match created.get() {
        Some(Ok(())) => complaints.extend(has_its_image(stage, image).await),
        other => complaints.push(format!("creation: {other:?}")),
    }
    complaints.extend(tidy(stage).await);
    complaints
}

async fn doubts(stage: &Stage, case: &(&'static str, bool)) -> Complaints {
    let (name, is_blind) = *case;
    let image = stage.image(name);
    let count = |method: &str| stage.calls.iter().filter(|it| it.method == method).count();
    let unknown = |method: &str, nth, moment| Fault {
        call: call(method, nth),
        moment,
        act: Act::Refuse(Code::Unknown),
    };
    let deletes = count(DELETE);
    let mut faults: Vec<Fault> = (0..deletes)
        .map(|nth| unknown(DELETE, nth, Moment::After))
        .collect();
    if is_blind {
        let asked = count(GET);
        let again = asked..asked + deletes;
        faults.extend(again.map(|nth| unknown(GET, nth, Moment::Before)));
    }
    let (created, act) = creation(image, stage.namespace.clone(), false);
    faults.push(at(&second_look(stage)[0], act));
    let mut complaints = run_with(stage, faults).await;
    match created.get() {
        Some(Ok(())) => complaints.extend(has_its_image(stage, image).await),
        other => complaints.push(format!("creation: {other:?}")),
    }
    complaints.extend(tidy(stage).await);
    complaints
}

async fn restores(stage: &Stage, case: &Case<(&'static str, Mishap)>) -> Complaints {
    let (name, mishap) = case.harm;
    let image = stage.image(name);
    let victim = Victim::default();
    let (act, code) = match mishap {
        Mishap::Lost => (Act::Refuse(Code::Unavailable), Some(0)),
        Mishap::Error => (Act::Refuse(Code::Unknown), Some(3)),
        Mishap::Killed => (victim.kill(), None),
    };
    let fault = Fault {
        call: case.call.clone(),
        moment: case.moment,
        act,
    };
    let (created, creating) = creation(image, stage.namespace.clone(), false);
    let faults = [at(&second_look(stage)[0], creating), fault];
    let ended = spoiled(&stage.socket, &PRUNE_ALL, faults, &victim).await;
    let after = State::of(&stage.namespace).await;
    let mut complaints = check::soundness(stage, &after);
    if ended.code != code || !matches!(created.get(), Some(Ok(()))) {
        complaints.push(format!("{created:?}, {ended:?}"));
    }
    if ended.code.is_some() {
        complaints.extend(check::truth(&ended, &stage.before, &after));
    }
    if ended.code != Some(0) {
        complaints.extend(check::leaks(stage).await);
        let next = spoiled(&stage.socket, &PRUNE_ALL, [], &Victim::default()).await;
        if next.code != Some(0) {
            complaints.push(format!("the next run: {next:?}"));
        }
    }
    complaints.extend(has_its_image(stage, image).await);
    complaints.extend(tidy(stage).await);
    complaints
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

/// Creates a container of an image as nerdctl does, beginning with its name or, if that was
/// `resolved` long ago, with the snapshot.
fn creation(image: &BuiltImage, namespace: NamespaceClient, resolves: bool) -> (Created, Act) {
    creation_before(image, namespace, resolves, Duration::ZERO)
}

/// As [`creation`], and the run goes on only a while after it.
fn creation_before(
    image: &BuiltImage,
    namespace: NamespaceClient,
    resolves: bool,
    pause: Duration,
) -> (Created, Act) {
    let created = Created::default();
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

/// Takes back the lease of a creation that failed, as a client does that is told so.
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

/// Runs a prune with faults, and looks at what always has to hold.
async fn run_with(stage: &Stage, faults: impl IntoIterator<Item = Fault>) -> Complaints {
    let ended = spoiled(&stage.socket, &PRUNE_ALL, faults, &Victim::default()).await;
    let after = State::of(&stage.namespace).await;
    let mut complaints = check::soundness(stage, &after);
    complaints.extend(check::truth(&ended, &stage.before, &after));
    if !matches!(ended.code, Some(0 | 3)) || !ended.struck {
        complaints.push(format!("{ended:?}"));
    }
    complaints
}

/// The calls of the second look, first to last.
fn second_look(stage: &Stage) -> &[Call] {
    let is = |method: &'static str| move |call: &Call| call.method == method;
    // Removed and measured is side by side.
    let before = |call: &Call| is(DELETE)(call) || is(USAGE)(call);
    let begin = stage.calls.iter().rposition(before).unwrap() + 1;
    let release = is("leases.v1.Leases/Delete");
    let end = stage.calls.iter().position(release).unwrap();
    &stage.calls[begin..end]
}

/// Whether a call comes before the second look asks for any list of snapshots.
fn precedes_last_list(stage: &Stage, call: &Call) -> bool {
    let is_list = |call: &&Call| call.method == LIST;
    let list = second_look(stage).iter().find(is_list).unwrap();
    let position = |call: &Call| stage.calls.iter().position(|it| it == call).unwrap();
    position(call) < position(list)
}

/// The record, all content, all snapshots, and the container on them.
async fn has_its_image(stage: &Stage, image: &BuiltImage) -> Complaints {
    let after = State::of(&stage.namespace).await;
    let mut complaints = has_its_filesystem(stage, image).await;
    // A record that is there is whole: soundness has looked.
    if !after.images.contains_key(image.name()) {
        complaints.push(format!("{} is lost under its container", image.name()));
    }
    complaints
}

/// The container with its snapshot, down to the lowest layer.
async fn has_its_filesystem(stage: &Stage, image: &BuiltImage) -> Complaints {
    let after = State::of(&stage.namespace).await;
    let (snapshotter, _) = image.unpacked();
    let unpacked = image
        .manifests
        .iter()
        .find(|it| it.unpacked().is_some())
        .unwrap();
    let chain = unpacked.chain_ids.iter().map(ToString::to_string);
    let mut keys: Vec<String> = chain.chain([CONTAINER.to_owned()]).collect();
    keys.retain(|key| !after.snapshots.contains(&format!("{snapshotter}/{key}")));
    let mut complaints: Complaints = keys
        .iter()
        .map(|it| format!("lacks snapshot {it}"))
        .collect();
    if !after.containers.contains(CONTAINER) {
        complaints.push("the container is lost".to_owned());
    }
    complaints
}

/// Removes the container, and sees that nothing else is left of all this.
async fn tidy(stage: &Stage) -> Complaints {
    let namespace = &stage.namespace;
    let deleted = namespace.delete_container(CONTAINER).await;
    drop(deleted);
    namespace.collect().await.unwrap();
    check::following_run(stage).await
}
