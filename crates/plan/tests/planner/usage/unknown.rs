//! What cannot be seen keeps whatever it could be hiding.

use reclaim_model::{CollectorRules, Gap, GcRef, KeepReason, LeaseResource, List, SnapshotId};

use super::assert_used;
use crate::world::{ContainerExt, Part, World, chain, content, digest, id, library, snapshot};

#[test]
fn an_image_that_cannot_be_read_stays_and_says_so() {
    for part in ["index", "A", "A.config"] {
        let mut world = World::new();
        world.image("seed", "A");
        world.here().images.clear();
        world.index("index", &["A"]);
        world.record(&library("a:1"), "index");
        world.image(&library("b:1"), "B");
        world.corrupt(part);
        let outcome = world.prune_all();
        assert_eq!(
            outcome.reason(&library("a:1")),
            KeepReason::Unreadable,
            "{part}"
        );
        assert_eq!(outcome.removed(), [library("b:1")]);
        let expected = format!(
            "image `{0}` is kept: `{1}` cannot be read: input/output error; to remove it: reclaim \
             image rm {0}",
            library("a:1"),
            id(part)
        );
        assert_eq!(outcome.plan.warnings, [expected]);
    }
}

/// An image of an index, of which `lost` is not there, and a container on a chain that no
/// image is known to have.
fn with_unexplained_chain(lost: &[&str]) -> World {
    let mut world = World::new();
    world.image("seed", "A");
    world.here().images.clear();
    world.index("index", &["A", "absent"]);
    world.record(&library("a:1"), "index");
    world.unpack(&["unheard", "of"]);
    world.active("web", &chain("unheard+of"));
    world.container("web", "").on("web");
    for name in lost {
        world.lose(name);
    }
    world
}

#[test]
fn a_chain_of_no_known_image_may_be_of_one_that_is_not_all_there() {
    for lost in [&["index"][..], &["A"], &["A.config"], &["A", "A.config"]] {
        let outcome = with_unexplained_chain(lost).prune_all();
        assert_eq!(
            outcome.reason(&library("a:1")),
            KeepReason::UsageUnknown,
            "{lost:?}"
        );
        assert_eq!(outcome.holders(&library("a:1")), ["container web"]);
    }
}

#[test]
fn a_chain_of_no_known_image_says_nothing_of_one_that_is() {
    // Absent platforms are the rule, and layers are not needed to know a chain.
    for lost in [&[][..], &["A.layer", "base"]] {
        let outcome = with_unexplained_chain(lost).prune_all();
        assert_eq!(outcome.removed(), [library("a:1")], "{lost:?}");
    }
}

#[test]
fn an_image_that_is_not_all_there_goes_when_nothing_is_unexplained() {
    let mut world = with_unexplained_chain(&["A.config"]);
    world.here().containers.clear();
    assert_eq!(world.prune_all().removed(), [library("a:1")]);
}

#[test]
fn what_another_namespace_has_of_an_image_tells_its_chain() {
    let mut world = World::new();
    world.image(&library("a:1"), "A");
    world.active("web", &chain("base+A.layer"));
    world.container("web", "").on("web");
    world.lose("A").lose("A.config");
    let part = Part {
        layers: &["base", "A.layer"],
        ..Part::default()
    };
    world.within("other").manifest("A", part);
    assert_used(&world.prune_all(), &library("a:1"), &["container web"]);
}

/// Images that were unpacked on `nydus` (`a:1`, `b:1`) and one that was not, `c:1`.
fn unpacked_on_nydus() -> World {
    let mut world = World::new();
    for (name, target) in [("a:1", "A"), ("b:1", "B"), ("c:1", "C")] {
        world.image(&library(name), target);
    }
    let label = "containerd.io/gc.ref.snapshot.nydus";
    for target in ["A", "B"] {
        let chain = chain(&format!("base+{target}.layer"));
        world.blob(&format!("{target}.config"), &[(label, &chain)]);
    }
    world
}

/// The same, where the snapshots of `nydus` cannot be listed.
fn blind(is_configured: bool) -> World {
    let mut world = unpacked_on_nydus();
    world.here().gaps.push(Gap::Snapshotter {
        name: "nydus".into(),
        is_configured,
        why: "no answer".to_owned(),
    });
    world
}

fn hidden(key: &str) -> SnapshotId {
    SnapshotId::new("nydus", key)
}

#[test]
fn what_cannot_be_listed_is_reported() {
    let mut world = blind(true);
    world.within("other").here().gaps.push(Gap::Content {
        digest: "blake3:00".to_owned(),
        bytes: 7,
        refs: Box::default(),
    });
    let expected = [
        "namespace `default`: snapshots of `nydus` cannot be listed; images unpacked there are \
         kept: no answer",
        "namespace `other`: content `blake3:00` is of an unknown algorithm",
    ];
    assert_eq!(world.prune_all().plan.warnings, expected);
}

#[test]
fn a_snapshotter_that_does_not_list_keeps_what_is_unpacked_there_and_nothing_else() {
    let outcome = blind(true).prune_all();
    for name in ["a:1", "b:1"] {
        let name = library(name);
        assert_eq!(outcome.reason(&name), KeepReason::UsageUnknown);
        assert_eq!(outcome.holders(&name), ["snapshotter nydus"]);
    }
    assert_eq!(outcome.removed(), [library("c:1")]);
    // Where it is unpacked cannot be seen of an image that is not all there.
    let mut world = blind(true);
    world.lose("C.config");
    assert_eq!(world.prune_all().removed(), Vec::<&str>::new());
}

#[test]
fn what_it_keeps_does_not_depend_on_what_a_container_names() {
    for image in ["", "a:1", "elsewhere:1", &id("A")] {
        let mut world = blind(true);
        world.container("web", image).snapshot = Some(hidden("web"));
        let outcome = world.prune_all();
        assert_eq!(outcome.reason(&library("b:1")), KeepReason::UsageUnknown);
        assert_eq!(outcome.removed(), [library("c:1")], "{image}");
    }
}

#[test]
fn a_snapshotter_that_is_not_configured_keeps_nothing_without_a_user() {
    assert_eq!(blind(false).prune_all().removed().len(), 3);
}

#[test]
fn a_container_on_a_snapshotter_that_is_not_configured_is_traced_by_its_image() {
    let spellings = [
        "a:1".to_owned(),
        id("A"),
        format!("a@{}", id("A")),
        digest("A").hex()[..12].to_owned(),
    ];
    for image in &spellings {
        let mut world = blind(false);
        world.container("web", image).snapshot = Some(hidden("web"));
        let removed = [library("b:1"), library("c:1")];
        assert_eq!(world.prune_all().removed(), removed, "{image}");
    }
    // A digest of no image here is no reason to keep an image that is known to have another.
    let absent = id("elsewhere");
    let hex = digest("elsewhere").hex();
    let spellings = [
        ("", Some("elsewhere")),
        (&*absent, None),
        (&hex, None),
        (&format!("elsewhere@{absent}"), None),
        (&format!("elsewhere:1@{absent}"), None),
    ];
    for (image, of) in spellings {
        let mut world = blind(false);
        let container = world.container("web", image);
        container.snapshot = Some(hidden("web"));
        if let Some(target) = of {
            container.of(target);
        }
        let outcome = world.prune_all();
        assert_eq!(outcome.removed().len(), 3, "{image}");
        world.lose("C.config");
        let outcome = world.prune_all();
        let name = library("c:1");
        assert_eq!(outcome.reason(&name), KeepReason::UsageUnknown, "{image}");
        assert_eq!(outcome.holders(&name), ["container web"], "{image}");
    }
}

#[test]
fn one_that_names_no_image_may_use_any_that_is_unpacked_there() {
    for image in ["", "elsewhere:1"] {
        let mut world = blind(false);
        world.container("web", image).snapshot = Some(hidden("web"));
        let outcome = world.prune_all();
        assert_eq!(outcome.holders(&library("a:1")), ["container web"]);
        assert_eq!(outcome.holders(&library("b:1")), ["container web"]);
        assert_eq!(outcome.removed(), [library("c:1")], "{image}");
    }
}

#[test]
fn what_is_used_for_certain_is_not_called_unknown() {
    let mut world = blind(true);
    world.container("web", "a:1").snapshot = Some(hidden("web"));
    world.container("job", "").of("B");
    let outcome = world.prune_all();
    assert_used(&outcome, &library("a:1"), &["container web"]);
    assert_used(&outcome, &library("b:1"), &["container job"]);
}

#[test]
fn a_lease_or_label_on_a_hidden_snapshot_may_use_any_image_there() {
    type Mention<'a> = &'a dyn Fn(&mut World);
    let key = "containerd.io/gc.ref.snapshot.nydus";
    let cases: [(Mention<'_>, &str); 3] = [
        (
            &|world| {
                world.lease("mount", &[LeaseResource::Snapshot(hidden("mount"))]);
            },
            "lease mount",
        ),
        (
            &|world| {
                world.sandbox("pod", key, "volume");
            },
            "sandbox pod",
        ),
        (
            &|world| {
                world.container("web", "").label(key, "volume");
            },
            "container web",
        ),
    ];
    for (add, holder) in cases {
        let mut world = blind(false);
        add(&mut world);
        let outcome = world.prune_all();
        let name = library("a:1");
        assert_eq!(outcome.reason(&name), KeepReason::UsageUnknown, "{holder}");
        assert_eq!(outcome.holders(&name), [holder]);
        assert_eq!(outcome.removed(), [library("c:1")]);
    }
}

#[test]
fn sandboxes_that_cannot_be_listed_may_use_any_image_where_sandboxes_hold() {
    let gap = || Gap::List {
        list: List::Sandboxes,
        why: "too large".to_owned(),
    };
    let with = |rules, namespace| {
        let mut world = unpacked_on_nydus().with_rules(rules);
        world.within(namespace).here().gaps.push(gap());
        world.prune_all()
    };
    let outcome = with(CollectorRules::V2_0, World::NAMESPACE);
    assert_eq!(outcome.removed(), Vec::<&str>::new());
    assert_eq!(outcome.holders(&library("a:1")), ["sandbox *"]);
    assert_eq!(
        with(CollectorRules::V1, World::NAMESPACE).removed().len(),
        3
    );
    assert_eq!(with(CollectorRules::V2_0, "other").removed().len(), 3);
}

#[test]
fn what_is_only_shown_may_be_used_by_what_is_not_listed() {
    for (list, holder) in [
        (List::Containers, "container *"),
        (List::Leases, "lease *"),
        (List::Content, "content *"),
    ] {
        let mut world = unpacked_on_nydus();
        let why = "no answer".to_owned();
        world.here().gaps.push(Gap::List { list, why });
        let outcome = world.prune_all();
        assert_eq!(outcome.removed(), Vec::<&str>::new());
        assert_eq!(outcome.holders(&library("c:1")), [holder]);
    }
}

#[test]
fn a_record_of_an_unknown_algorithm_holds_what_its_labels_refer_to() {
    let mut world = unpacked_on_nydus();
    world.here().gaps.push(Gap::Image {
        name: "odd:1".to_owned(),
        target: "blake3:00".to_owned(),
        refs: Box::new([GcRef::Content(digest("A"))]),
    });
    let plan = world.prune_all().plan;
    assert_eq!(plan.steps.len(), 3);
    let doubtful = plan.not_counted.doubtful.blobs.iter();
    let doubtful: Vec<_> = doubtful.map(|it| it.digest.clone()).collect();
    assert!(doubtful.contains(&digest("A")) && !doubtful.contains(&digest("B")));
}

#[test]
fn what_another_namespace_does_not_list_may_hold_what_it_has() {
    let with = |list, is_shared: bool| {
        let mut world = unpacked_on_nydus();
        world.within("other");
        if is_shared {
            world.blob("A", &[]);
        }
        let why = "no answer".to_owned();
        world.here().gaps.push(Gap::List { list, why });
        let plan = world.prune_all().plan;
        assert_eq!(plan.steps.len(), 3);
        plan.not_counted.doubtful.blobs.len()
    };
    for list in [
        List::Images,
        List::Leases,
        List::Containers,
        List::Sandboxes,
    ] {
        assert_eq!(with(list, true), 1, "{list}");
        assert_eq!(with(list, false), 0, "{list}");
    }
    assert_eq!(with(List::Ingests, true), 0);
    // What it has is not known.
    assert_eq!(with(List::Content, false), 10);
}

#[test]
fn a_snapshot_that_is_gone_from_a_snapshotter_that_answers_hides_nothing() {
    let mut world = blind(false);
    world.container("web", "").on("gone");
    world.lease("late", &[snapshot("gone"), content("gone")]);
    assert_eq!(world.prune_all().removed().len(), 3);
}
