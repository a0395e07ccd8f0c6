//! What cannot be seen keeps whatever it could be hiding.

use reclaim_model::{Gap, KeepReason, LeaseResource, SnapshotId};

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
            "image `{}` is kept: `{}` cannot be read: not JSON",
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

/// Two images and a snapshotter that does not answer.
fn blind() -> World {
    let mut world = World::new();
    world.image(&library("a:1"), "A");
    world.image(&library("b:1"), "B");
    world.here().gaps.push(Gap::Snapshotter {
        name: "nydus".into(),
        why: "not loaded".to_owned(),
    });
    world
}

fn hidden(key: &str) -> SnapshotId {
    SnapshotId::new("nydus", key)
}

#[test]
fn a_snapshotter_that_does_not_answer_is_reported() {
    let mut world = blind();
    world.within("other").here().gaps.push(Gap::Content {
        digest: "sha384:00".to_owned(),
        bytes: 7,
        refs: Box::default(),
    });
    let outcome = world.prune_all();
    let expected = [
        "namespace `default`: snapshots of `nydus` cannot be seen: not loaded",
        "namespace `other`: content `sha384:00` is of an unknown algorithm",
    ];
    assert_eq!(outcome.plan.warnings, expected);
    // Nobody is known to have anything there.
    assert_eq!(outcome.removed().len(), 2);
}

#[test]
fn a_container_that_cannot_be_traced_may_use_any_image() {
    for image in ["", "a:1", "elsewhere:1"] {
        let mut world = blind();
        world.container("web", image).snapshot = Some(hidden("web"));
        let outcome = world.prune_all();
        assert_eq!(
            outcome.reason(&library("b:1")),
            KeepReason::UsageUnknown,
            "{image}"
        );
        assert_eq!(outcome.holders(&library("b:1")), ["container web"]);
    }
}

#[test]
fn what_is_used_for_certain_is_not_called_unknown() {
    let mut world = blind();
    world.container("web", "a:1").snapshot = Some(hidden("web"));
    world.container("job", "").of("B");
    let outcome = world.prune_all();
    assert_used(&outcome, &library("a:1"), &["container web"]);
    assert_used(&outcome, &library("b:1"), &["container job"]);
}

#[test]
fn a_container_whose_digest_is_known_need_not_be_traced() {
    let spellings = [
        id("A"),
        format!("a@{}", id("A")),
        digest("A").hex()[..12].to_owned(),
    ];
    for image in &spellings {
        let mut world = blind();
        world.container("web", image).snapshot = Some(hidden("web"));
        assert_eq!(world.prune_all().removed(), [library("b:1")], "{image}");
    }
    let mut world = blind();
    world.container("web", "").of("A").snapshot = Some(hidden("web"));
    assert_eq!(world.prune_all().removed(), [library("b:1")]);
}

#[test]
fn a_lease_or_label_on_a_hidden_snapshot_may_use_any_image() {
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
        let mut world = blind();
        add(&mut world);
        let outcome = world.prune_all();
        assert_eq!(
            outcome.reason(&library("a:1")),
            KeepReason::UsageUnknown,
            "{holder}"
        );
        assert_eq!(outcome.holders(&library("a:1")), [holder]);
    }
}

#[test]
fn a_snapshot_that_is_gone_from_a_snapshotter_that_answers_hides_nothing() {
    let mut world = blind();
    world.container("web", "").on("gone");
    world.lease("late", &[snapshot("gone"), content("gone")]);
    assert_eq!(world.prune_all().removed().len(), 2);
}
