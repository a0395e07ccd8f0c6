//! What holds a thing, and the path from there.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use reclaim_model::ThingKind::{Config, Content, Image, Index, Manifest, Snapshot};
use reclaim_model::{
    Answer, CollectorRules, Container, GcRef, ImageVerdict, Outlook, ReferenceKind, SnapshotKind,
    ThingKind,
};
use reclaim_plan::{NotFound, Question, why};

use crate::disk_usage::registered;
use crate::naive;
use crate::random::scenes;
use crate::world::{
    ContainerExt, LeaseExt, OVERLAY, Part, RecordExt, World, begin_alike, chain, content, id,
    library, snapshot,
};

fn ask(world: &World, text: &str) -> Result<Vec<Answer>, NotFound> {
    why(&Question {
        inventory: &world.inventory(),
        registered: &registered(world),
        namespace: &World::NAMESPACE.parse().unwrap(),
        text,
    })
}

#[track_caller]
pub(crate) fn answer(world: &World, text: &str) -> Answer {
    let mut answers = ask(world, text).unwrap();
    assert_eq!(answers.len(), 1);
    answers.remove(0)
}

/// The holders, each with the kinds of the things on its path.
fn paths(answer: &Answer) -> Vec<(String, Vec<ThingKind>)> {
    let held = answer.holders.iter().map(|held| {
        let kinds = held.chain.iter().map(|link| link.thing.kind);
        (held.holder.to_string(), kinds.collect())
    });
    held.collect()
}

#[test]
fn a_container_leads_to_its_image_by_snapshot_or_else_by_name() {
    let mut world = World::new();
    world.manifest("M", Part::default());
    world.index("I", &["M"]);
    world.record(&library("web:1"), "I");
    world.active("rootfs", &chain("base"));
    world.container("web", "web:1").on("rootfs");
    world.container("named", "web:1");
    let answer = answer(&world, "web:1");
    assert_eq!(
        paths(&answer),
        [
            ("container named".to_owned(), vec![Image]),
            (
                "container web".to_owned(),
                vec![Snapshot, Snapshot, Config, Manifest, Index, Image]
            ),
        ]
    );
    assert_eq!(answer.outlook, Outlook::Held);
}

/// How each link of the path from a holder is kept.
#[track_caller]
fn references(answer: &Answer, holder: &str) -> Vec<ReferenceKind> {
    let mut holders = answer.holders.iter();
    let found = holders.find(|it| it.holder.to_string() == holder);
    let found = found.unwrap_or_else(|| panic!("no {holder} in {answer:#?}"));
    found.chain.iter().map(|link| link.by).collect()
}

#[test]
fn each_link_says_what_keeps_it() {
    use ReferenceKind::{BackLabel, Label, Lease, Name, Parent, PartOf, Root, Target};
    let mut world = World::new().with_rules(CollectorRules::V2_2);
    world.image(&library("a:1"), "A");
    world.active("rootfs", &chain("base+A.layer"));
    world.container("web", "a:1").on("rootfs");
    world.container("named", "a:1");
    world.lease("build", &[content("A")]);
    let image = format!("image {}", library("a:1"));

    let layer = answer(&world, &id("A.layer"));
    assert_eq!(references(&layer, &image), [Target, Label]);
    assert_eq!(references(&layer, "lease build"), [Lease, Label]);
    let base = answer(&world, &format!("{OVERLAY}/{}", chain("base")));
    let by_config = [Target, Label, Label, Parent];
    assert_eq!(references(&base, &image), by_config);
    let by_container = [ReferenceKind::Container, Parent, Parent];
    assert_eq!(references(&base, "container web"), by_container);

    let used = answer(&world, "a:1");
    let up = [ReferenceKind::Container, Parent, PartOf, PartOf, PartOf];
    assert_eq!(references(&used, "container web"), up);
    assert_eq!(references(&used, "container named"), [Name]);

    world.blob("root", &[("containerd.io/gc.root", "x")]);
    let attached = ("containerd.io/gc.bref.content.x", &*id("root"));
    world.blob("attached", &[attached]);
    let root = format!("content {}", id("root"));
    let attached = answer(&world, &id("attached"));
    assert_eq!(references(&attached, &root), [Root, BackLabel]);
}

#[test]
fn a_flat_lease_leads_down_to_parents_and_no_further() {
    let mut world = World::new();
    world.image(&library("a:1"), "A");
    world.snapshot("own", Some(&chain("base")), SnapshotKind::Committed);
    world.lease("flat", &[snapshot("own"), content("A")]).flat();
    let base = chain("base");
    let answer = answer(&world, &base);
    let ways = paths(&answer);
    assert_eq!(
        ways[0],
        ("build cache flat".to_owned(), vec![Snapshot, Snapshot])
    );
    assert_eq!(ways[1].0, format!("image {}", library("a:1")));
    let config = id("A.config");
    assert_eq!(
        self::paths(&self::answer(&world, &config)).len(),
        1,
        "not by the flat lease"
    );
}

#[test]
fn ones_own_namespace_comes_first_and_an_image_with_what_a_prune_would_do() {
    let mut world = World::new();
    world.image(&library("z:1"), "A");
    world.image(&library("used:1"), "B");
    world.container("web", "used:1");
    world.within("another").image(&library("a:1"), "A");
    world.within(World::NAMESPACE);
    let layer = answer(&world, &id("A.layer"));
    let namespaces: Vec<_> = layer
        .holders
        .iter()
        .map(|it| it.namespace.as_str())
        .collect();
    assert_eq!(namespaces, [World::NAMESPACE, "another"]);
    let goes = layer.holders[0].prune_all.as_ref();
    assert!(
        matches!(goes, Some(ImageVerdict::Remove { .. })),
        "{goes:?}"
    );
    let used = answer(&world, &id("B.layer"));
    let held = used.holders.iter().find(|it| it.prune_all.is_some());
    let verdict = held.and_then(|it| it.prune_all.as_ref());
    assert!(
        matches!(verdict, Some(ImageVerdict::Keep { .. })),
        "{verdict:?}"
    );
}

#[test]
fn a_registered_container_leads_to_its_image_by_what_it_stands_on() {
    let mut world = World::new();
    world.image(&library("a:1"), "A");
    // Of the same ID, as Docker has them.
    world.active("web", &chain("base+A.layer"));
    let mut registered = |id: &str, key: &str| {
        world.registered.push(Container {
            id: id.to_owned(),
            image: "a:1".to_owned(),
            snapshot: Some(reclaim_model::SnapshotId::new(OVERLAY, key)),
            ..Container::default()
        });
    };
    registered("web", "web");
    registered("named", "gone");
    let answer = answer(&world, "a:1");
    let on_snapshots = vec![Snapshot, Snapshot, Config, Manifest, Image];
    let expected = [
        ("container named".to_owned(), vec![Image]),
        ("container web".to_owned(), on_snapshots),
    ];
    assert_eq!(
        paths(&answer).into_iter().collect::<BTreeMap<_, _>>(),
        expected.into()
    );
}

#[test]
fn an_image_of_its_containers_name_is_on_the_way() {
    let mut world = World::new();
    world.image("web", "A");
    world.container("web", "web");
    let expected = [("container web".to_owned(), vec![Image])];
    assert_eq!(paths(&answer(&world, "web")), expected);
}

#[test]
fn an_image_expires_from_2_0_on() {
    for rules in [CollectorRules::V1, CollectorRules::V2_0] {
        let mut world = World::new().with_rules(rules);
        let record = world.image(&library("a:1"), "A");
        record.label("containerd.io/gc.expire", "2026-02-01T00:00:00Z");
        let held = &answer(&world, &id("A.layer")).holders;
        assert_eq!(held.len(), 1);
        assert_eq!(held[0].until.is_some(), rules == CollectorRules::V2_0);
    }
}

#[test]
fn a_label_leads_to_an_image_from_2_0_on() {
    for rules in [CollectorRules::V1, CollectorRules::V2_0] {
        let mut world = World::new().with_rules(rules);
        world.image(&library("a:1"), "A");
        let label = ("containerd.io/gc.ref.image", &*library("a:1"));
        world.blob("anchor", &[("containerd.io/gc.root", ""), label]);
        let answer = answer(&world, &id("A.config"));
        let holders = paths(&answer).into_iter().map(|(holder, _)| holder);
        let is_by_label = holders.collect::<Vec<_>>().len() > 1;
        assert_eq!(is_by_label, rules == CollectorRules::V2_0, "{answer:#?}");
    }
}

#[test]
fn what_expires_says_when_and_by_whom() {
    let mut world = World::new().with_rules(CollectorRules::V2_0);
    world.blob("x", &[]);
    world
        .lease("first", &[content("x")])
        .label("containerd.io/gc.expire", "2026-01-11T00:00:00Z");
    world
        .lease("last", &[content("x")])
        .label("containerd.io/gc.expire", "2026-01-12T00:00:00Z");
    let Outlook::Expires { at, holder } = answer(&world, &id("x")).outlook else {
        panic!("it expires");
    };
    assert_eq!(at.to_string(), "2026-01-12T00:00:00Z");
    assert_eq!(holder.id, "last");
    world.lease("never", &[content("x")]);
    assert_eq!(answer(&world, &id("x")).outlook, Outlook::Held);
}

#[test]
fn what_has_no_holder_goes_with_the_next_collection() {
    let mut world = World::new();
    world.blob("x", &[]);
    world.lease("over", &[content("x")]).expired();
    assert_eq!(answer(&world, &id("x")).outlook, Outlook::NextCollection);
    // An image is not collected: it stays until it is removed.
    world.image(&library("a:1"), "A");
    let of_image = answer(&world, "a:1");
    assert_eq!(of_image.outlook, Outlook::Unused);
    let of_all = of_image.verdicts.unwrap().prune_all;
    assert!(matches!(of_all, ImageVerdict::Remove { .. }), "{of_all:?}");
    world
        .record(&library("b:1"), "A")
        .label("containerd.io/gc.expire", "2020-01-01T00:00:00Z");
    assert_eq!(answer(&world, "b:1").outlook, Outlook::NextCollection);
}

#[test]
fn finds_things_by_all_their_names() {
    let mut world = World::new();
    world.image(&library("a:1"), "A");
    world.image("cafe", "B");
    let kind = |text: &str| answer(&world, text).thing.kind;
    for name in ["a:1", "library/a:1", &library("a:1"), "cafe"] {
        assert_eq!(kind(name), Image, "{name}");
    }
    assert_eq!(kind(&id("A")), Manifest);
    assert_eq!(kind(&id("A")[..20]), Manifest);
    assert_eq!(kind(&id("A")[7..20]), Manifest);
    assert_eq!(kind(&id("base")), Content);
    assert_eq!(kind(&chain("base")), Snapshot);
    assert_eq!(kind(&format!("overlayfs/{}", chain("base"))), Snapshot);
}

#[test]
fn an_ambiguous_prefix_is_reported_with_all_its_digests() {
    let (one, other) = begin_alike();
    let mut world = World::new();
    world.blob(&one, &[]);
    let short = &id(&one)[..11];
    assert_eq!(answer(&world, short).thing.id, id(&one));
    world.within("other").blob(&other, &[]);
    let Err(NotFound::Ambiguous { found, .. }) = ask(&world, short) else {
        panic!("it could be either");
    };
    let found: BTreeSet<String> = found.iter().map(ToString::to_string).collect();
    assert_eq!(found, BTreeSet::from([id(&one), id(&other)]));
}

#[test]
fn says_what_is_near_to_an_unknown_thing() {
    let mut world = World::new();
    world.image(&library("nginx:1"), "A");
    world.within("other").image(&library("redis:1"), "B");
    let near = |text: &str| match ask(&world, text) {
        Err(NotFound::Unknown { near, .. }) => near,
        other => panic!("{other:?}"),
    };
    assert_eq!(near("nginx:2"), ["nginx:1"]);
    assert_eq!(near("quay.io/x/nginx-unprivileged"), ["nginx:1"]);
    assert_eq!(near("redis:1"), ["redis:1 in namespace other"]);
    assert_eq!(near("zzz"), Vec::<String>::new());
    assert_eq!(near("ng"), ["nginx:1"]);
    assert_eq!(near("n"), Vec::<String>::new(), "a letter is in everything");
    assert_eq!(
        near("abc"),
        Vec::<String>::new(),
        "three digits are no digest"
    );
}

proptest! {
    #[test]
    fn content_is_held_if_the_collector_keeps_it(scene in scenes()) {
        let world = scene.world();
        let inventory = world.inventory();
        let namespaces = inventory.namespaces.values();
        let kept = namespaces.map(|it| (it, naive::kept(it, inventory.rules)));
        let kept: Vec<_> = kept.collect();
        for blob in inventory.namespaces.values().flat_map(|it| &it.blobs) {
            let answers = ask(&world, &blob.digest.to_string()).unwrap();
            let thing = GcRef::Content(blob.digest.clone());
            let is_kept = kept.iter().any(|(namespace, kept)| {
                namespace.blobs.iter().any(|it| it.digest == blob.digest) && kept.contains(&thing)
            });
            // An image of that name comes first, snapshots of that key last.
            let is_other = |it: &&Answer| !matches!(it.thing.kind, Image | Snapshot);
            let answer = answers.iter().find(is_other).unwrap();
            prop_assert_eq!(!answer.holders.is_empty(), is_kept, "{}", &blob.digest);
            for held in &answer.holders {
                let last = held.chain.last().map(|link| &link.thing);
                prop_assert_eq!(last, Some(&answer.thing));
            }
        }
    }
}
