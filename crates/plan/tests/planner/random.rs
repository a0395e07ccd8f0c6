//! Random worlds: a few things, everything about them possible.
//!
//! Names come from small pools, so that things refer to each other, share what they are made
//! of and fall short of each other often.

use proptest::prelude::*;
use reclaim_model::{
    CollectorRules, Container, ContainerSource, EXPIRE, GcLabels, LeaseResource, RUN_LABEL,
    SnapshotId, SnapshotKind,
};

use crate::world::{
    LeaseExt, OVERLAY, Part, RecordExt, World, ago, chain, dangling, digest, id, library, snapshot,
};

/// One thing to write into a world.
#[derive(Debug, Clone)]
pub(crate) enum Thing {
    /// An image with documents, layers and snapshots; a record of it.
    Image(usize, usize),
    /// A record, whatever it points at, as old as it is many days.
    Record(usize, usize, u8, Labels),
    Blob(usize, Labels),
    Snapshot(usize, Option<usize>, SnapshotKind, Labels),
    Container(Created, Labels),
    /// A container as Docker leaves it, and whether and how an engine lists it.
    Docker(usize, usize, Option<Listed>),
    Lease(Leased),
    Sandbox(Labels),
    Lost(usize),
    Unreadable(usize),
    Torn(usize),
}

type Labels = Vec<(usize, usize)>;

/// What a container was created from: image, digest, snapshot.
#[derive(Debug, Clone)]
pub(crate) struct Created(usize, Option<usize>, Option<usize>);

/// How an engine lists a container: as created from which name, target and manifest.
#[derive(Debug, Clone)]
pub(crate) struct Listed(ContainerSource, usize, Option<usize>, Option<usize>);

#[derive(Debug, Clone)]
pub(crate) struct Leased {
    id: u8,
    resources: Vec<(u8, usize)>,
    is_flat: bool,
    expiry: Option<&'static str>,
    is_ours: bool,
}

/// `A2` has the layers of `A`.
const TARGETS: [&str; 5] = ["A", "A2", "B", "C", "D"];
pub(crate) const BLOBS: [&str; 14] = [
    "A",
    "A.config",
    "A.layer",
    "A2",
    "A2.config",
    "B",
    "B.config",
    "C",
    "D",
    "D.config",
    "base",
    "x",
    "y",
    "z",
];

fn names() -> Vec<String> {
    vec![
        library("a:1"),
        library("a:2"),
        library("b:latest"),
        format!("{}@{}", library("a"), id("A")),
        dangling("A"),
        dangling("B"),
        id("A.config"),
        "raw".to_owned(),
    ]
}

/// How containers may be said to have been created.
fn spellings() -> Vec<String> {
    let mut spellings = names();
    spellings.extend(["", "a:1", "b", "FOO", "raw"].map(str::to_owned));
    spellings.push(format!("a:1@{}", id("B")));
    spellings.push(digest("B.config").hex()[..12].to_owned());
    spellings
}

/// A text that may be given as the name of an image.
pub(crate) fn given() -> impl Strategy<Value = String> {
    let mut given = spellings();
    given.extend(TARGETS.map(id));
    given.extend(TARGETS.map(|target| digest(target).hex()[..8].to_owned()));
    given.push(format!("a@{}", id("A")));
    prop::sample::select(given)
}

/// The layers of a target.
fn stack(target: &str) -> String {
    let [base, own] = layers(target);
    format!("{base}+{own}")
}

fn layers(target: &str) -> [String; 2] {
    let own = target.strip_suffix('2').unwrap_or(target);
    ["base".to_owned(), format!("{own}.layer")]
}

fn keys() -> Vec<String> {
    let stacks = TARGETS.map(stack).map(|stack| chain(&stack));
    let mut keys = stacks.to_vec();
    keys.push(chain("base"));
    keys.extend(["s0", "s1", "s2", "l0-init", "l0"].map(str::to_owned));
    keys
}

/// A label by its kind and what it refers to.
fn label(kind: usize, value: usize) -> (String, String) {
    let (key, value) = match kind % 10 {
        0 => ("root", String::new()),
        1 => ("root.x", String::new()),
        2 | 3 => ("ref.content.x", id(pick(&BLOBS, value))),
        4 => ("ref.snapshot.overlayfs", pick(&keys(), value).to_owned()),
        5 => ("ref.image", pick(&names(), value).to_owned()),
        6 => ("bref.content.x", id(pick(&BLOBS, value))),
        7 => ("bref.snapshot.overlayfs", pick(&keys(), value).to_owned()),
        8 => ("bref.image", pick(&names(), value).to_owned()),
        _ => ("bref.container", format!("c{}", value % 4)),
    };
    (format!("containerd.io/gc.{key}"), value)
}

fn gc(labels: &Labels) -> GcLabels {
    let labels: Vec<_> = labels
        .iter()
        .map(|(kind, value)| label(*kind, *value))
        .collect();
    GcLabels::parse(labels.iter().map(|(key, value)| (&**key, &**value)))
}

pub(crate) fn pick(list: &[impl AsRef<str>], index: usize) -> &str {
    list[index % list.len()].as_ref()
}

/// What is written into a world with two namespaces; prints shorter than the world.
#[derive(Debug, Clone)]
pub(crate) struct Scene {
    rules: CollectorRules,
    /// With whether a container is registered only.
    here: Vec<(bool, Thing)>,
    there: Vec<Thing>,
}

impl Scene {
    pub(crate) fn world(&self) -> World {
        let mut world = World::new().with_rules(self.rules);
        world.within("other");
        for thing in &self.there {
            write(&mut world, thing);
        }
        world.within(World::NAMESPACE);
        for (is_registered, thing) in &self.here {
            write(&mut world, thing);
            if *is_registered && matches!(thing, Thing::Container(..)) {
                let container = world.here().containers.pop();
                world.registered.extend(container);
            }
        }
        world
    }
}

pub(crate) fn scenes() -> impl Strategy<Value = Scene> {
    let rules = prop_oneof![
        Just(CollectorRules::V1),
        Just(CollectorRules::V2_0),
        Just(CollectorRules::V2_2),
    ];
    let here = prop::collection::vec((any::<bool>(), things()), 0..24);
    let there = prop::collection::vec(things(), 0..6);
    (rules, here, there).prop_map(|(rules, here, there)| Scene { rules, here, there })
}

fn things() -> impl Strategy<Value = Thing> {
    let number = || 0..100_usize;
    let labels = || prop::collection::vec((number(), number()), 0..3);
    let kind = prop_oneof![
        Just(SnapshotKind::Committed),
        Just(SnapshotKind::Active),
        Just(SnapshotKind::View),
    ];
    prop_oneof![
        4 => (number(), number()).prop_map(|(name, target)| Thing::Image(name, target)),
        2 => (number(), number(), 0..20_u8, labels())
            .prop_map(|(name, target, age, labels)| Thing::Record(name, target, age, labels)),
        2 => (number(), labels()).prop_map(|(blob, labels)| Thing::Blob(blob, labels)),
        3 => (number(), prop::option::of(number()), kind, labels())
            .prop_map(|(key, parent, kind, labels)| Thing::Snapshot(key, parent, kind, labels)),
        2 => users(),
        2 => dockers(),
        1 => labels().prop_map(Thing::Sandbox),
        1 => number().prop_map(Thing::Lost),
        1 => number().prop_map(Thing::Unreadable),
        1 => number().prop_map(Thing::Torn),
    ]
}

/// Containers as Docker leaves them.
fn dockers() -> impl Strategy<Value = Thing> {
    let number = || 0..100_usize;
    let source = prop_oneof![Just(ContainerSource::Docker), Just(ContainerSource::Engine)];
    let digest = || prop::option::of(number());
    let listed = (source, number(), digest(), digest());
    let listed = listed
        .prop_map(|(source, image, target, manifest)| Listed(source, image, target, manifest));
    (number(), number(), prop::option::of(listed))
        .prop_map(|(id, stack, listed)| Thing::Docker(id, stack, listed))
}

/// Containers and leases.
pub(crate) fn users() -> impl Strategy<Value = Thing> {
    let number = || 0..100_usize;
    let labels = prop::collection::vec((number(), number()), 0..2);
    let created = (
        number(),
        prop::option::of(number()),
        prop::option::of(number()),
    )
        .prop_map(|(image, digest, snapshot)| Created(image, digest, snapshot));
    let expiry = prop_oneof![
        3 => Just(None),
        1 => Just(Some("2026-01-10T11:59:59Z")),
        1 => Just(Some("2026-01-10T12:00:00Z")),
        1 => Just(Some("some day")),
    ];
    let resources = prop::collection::vec((0..4_u8, number()), 0..4);
    let leased = (
        0..4_u8,
        resources,
        any::<bool>(),
        expiry,
        prop::bool::weighted(0.2),
    );
    prop_oneof![
        (created, labels).prop_map(|(created, labels)| Thing::Container(created, labels)),
        leased.prop_map(
            |(id, resources, is_flat, expiry, is_ours)| Thing::Lease(Leased {
                id,
                resources,
                is_flat,
                expiry,
                is_ours,
            })
        ),
    ]
}

/// Writes a thing, unless there is one of its name already.
pub(crate) fn write(world: &mut World, thing: &Thing) {
    match thing {
        Thing::Image(name, target) => {
            let target = pick(&TARGETS, *target);
            let [base, own] = layers(target);
            let part = Part {
                layers: &[&base, &own],
                labels: &[("target", target)],
                ..Part::default()
            };
            if !world
                .here()
                .blobs
                .iter()
                .any(|it| it.digest == digest(target))
            {
                world.manifest(target, part);
            }
            record(world, pick(&names(), *name), target);
        }
        Thing::Record(name, target, age, labels) => {
            let names = names();
            let name = pick(&names, *name);
            if record(world, name, pick(&BLOBS, *target)) {
                let image = world.here().images.last_mut().unwrap();
                for (key, value) in labels.iter().map(|(kind, value)| label(*kind, *value)) {
                    image.label(&key, &value);
                }
                match age % 5 {
                    0 => drop(image.label(EXPIRE, "2026-01-09T00:00:00Z")),
                    1 => drop(image.label(EXPIRE, "2026-02-01T00:00:00Z")),
                    2 => drop(image.cri()),
                    _ => {}
                }
                image.created(ago(jiff::SignedDuration::from_hours(24 * i64::from(*age))));
            }
        }
        Thing::Blob(blob, labels) => {
            let labels: Vec<_> = labels.iter().map(|it| label(it.0, it.1)).collect();
            let labels: Vec<_> = labels
                .iter()
                .map(|(key, value)| (&**key, &**value))
                .collect();
            world.blob(pick(&BLOBS, *blob), &labels);
        }
        Thing::Snapshot(key, parent, kind, labels) => {
            let keys = keys();
            let parent = parent.map(|parent| pick(&keys, parent));
            let snapshot = world.snapshot(pick(&keys, *key), parent, *kind);
            snapshot.gc = gc(labels);
        }
        Thing::Container(created, labels) => container(world, created, labels),
        Thing::Docker(id, stack, listed) => docker(world, *id, *stack, listed.as_ref()),
        Thing::Lease(leased) => lease(world, leased),
        Thing::Sandbox(labels) => {
            for (kind, value) in labels {
                let (key, value) = label(*kind, *value);
                world.sandbox("pod", &key, &value);
            }
        }
        Thing::Lost(blob) => drop(world.lose(pick(&BLOBS, *blob))),
        Thing::Unreadable(blob) => drop(world.corrupt(pick(&BLOBS, *blob))),
        Thing::Torn(blob) => drop(world.tear(pick(&BLOBS, *blob))),
    }
}

/// Whether there was no record of that name yet.
fn record(world: &mut World, name: &str, target: &str) -> bool {
    let is_new = !world.here().images.iter().any(|image| image.name == name);
    if is_new {
        world.record(name, target);
    }
    is_new
}

fn container(world: &mut World, created: &Created, labels: &Labels) {
    let Created(image, target, snapshot) = created;
    let id = format!(
        "c{}",
        world.here().containers.len() + world.registered.len()
    );
    world.here().containers.push(Container {
        id,
        image: pick(&spellings(), *image).to_owned(),
        image_digest: target.map(|target| digest(pick(&BLOBS, target))),
        snapshot: snapshot.map(|key| SnapshotId::new(OVERLAY, pick(&keys(), key))),
        gc: gc(labels),
        ..Container::default()
    });
}

fn docker(world: &mut World, number: usize, target: usize, listed: Option<&Listed>) {
    let id = format!("d{}", number % 3);
    if world.here().leases.iter().any(|lease| lease.id == id) {
        return;
    }
    let init = format!("{id}-init");
    let top = chain(&stack(pick(&TARGETS, target)));
    world.snapshot(&init, Some(&top), SnapshotKind::Committed);
    world.active(&id, &init);
    world.lease(&id, &[snapshot(&init), snapshot(&id)]);
    let spellings = spellings();
    if number.is_multiple_of(2) {
        world.container(&id, pick(&spellings, number));
    }
    if let Some(Listed(source, image, target, manifest)) = listed {
        let listed = world.listed(&id, *source, pick(&spellings, *image));
        listed.image_digest = target.map(|target| digest(pick(&BLOBS, target)));
        listed.image_manifest = manifest.map(|manifest| digest(pick(&BLOBS, manifest)));
    }
}

fn lease(world: &mut World, leased: &Leased) {
    let id = format!("l{}", leased.id);
    if world.here().leases.iter().any(|lease| lease.id == id) {
        return;
    }
    let resources = leased.resources.iter().map(|(kind, value)| match kind {
        0 => LeaseResource::Content(digest(pick(&BLOBS, *value))),
        1 => LeaseResource::Image(pick(&names(), *value).to_owned()),
        _ => LeaseResource::Snapshot(SnapshotId::new(OVERLAY, pick(&keys(), *value))),
    });
    let lease = world.lease(&id, &resources.collect::<Vec<_>>());
    if leased.is_flat {
        lease.flat();
    }
    if let Some(expiry) = leased.expiry {
        lease.label(EXPIRE, expiry);
    }
    if leased.is_ours {
        lease.label(RUN_LABEL, "1");
    }
}
