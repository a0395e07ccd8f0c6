//! Use by name, in all the ways in which engines write one.

use reclaim_model::{EXPIRE, KeepReason, RemoveReason};

use super::assert_used;
use crate::world::{ContainerExt, RecordExt, World, begin_alike, digest, id, library};

/// A world with a record of A under this name and a container of this image.
fn world(record: &str, image: &str) -> World {
    let mut world = World::new();
    world.image(record, "A");
    world.container("web", image);
    world
}

#[test]
fn a_name_is_understood_in_every_spelling() {
    for (record, image) in [
        ("docker.io/library/app:latest", "app"),
        ("docker.io/library/app:latest", "app:latest"),
        ("docker.io/library/app:latest", "library/app"),
        ("docker.io/library/app:latest", "docker.io/app"),
        (
            "docker.io/library/app:latest",
            "index.docker.io/library/app:latest",
        ),
        ("docker.io/team/app:1", "team/app:1"),
        ("registry.example:5000/app:1", "registry.example:5000/app:1"),
        ("localhost/app:latest", "localhost/app"),
        // As it stands, whatever it means to Docker.
        ("app", "app"),
        ("app:1", "app:1"),
        ("Weird Name", "Weird Name"),
        // A text like an ID is a name where there is a record of it.
        ("docker.io/library/cafe:latest", "cafe"),
    ] {
        let outcome = world(record, image).prune_all();
        assert_used(&outcome, record, &["container web"]);
    }
}

#[test]
fn a_name_is_not_stretched_to_others() {
    for (record, image) in [
        ("docker.io/library/app:1", "app"),
        ("docker.io/library/app:latest", "quay.io/app"),
        ("docker.io/library/app:latest", "other/app"),
        ("docker.io/library/app:latest", ""),
        ("docker.io/library/app:latest", "APP"),
    ] {
        let outcome = world(record, image).prune_all();
        assert_eq!(outcome.removed(), [record], "{image}");
    }
}

#[test]
fn a_tag_with_a_digest_names_the_tag_and_the_digest() {
    let mut world = World::new();
    world.image(&library("app:1"), "new");
    world.image(&library("kept:1"), "old");
    world.image(&format!("{}@{}", library("app"), id("gone")), "other");
    world.image(&library("app:2"), "free");
    world.container("web", &format!("app:1@{}", id("old")));
    let outcome = world.prune_all();
    assert_used(&outcome, &library("app:1"), &["container web"]);
    assert_used(&outcome, &library("kept:1"), &["container web"]);
    assert_eq!(outcome.removed().len(), 2);
}

#[test]
fn an_id_may_be_that_of_target_manifest_or_config() {
    for part in ["index", "A", "A.config"] {
        let hex = digest(part).hex();
        for image in [
            id(part),
            hex.clone(),
            hex[..12].to_owned(),
            hex[..4].to_owned(),
        ] {
            let mut world = World::new();
            world.image("seed", "A");
            world.here().images.clear();
            world.index("index", &["A"]);
            world.record(&library("a:1"), "index");
            world.container("web", &image);
            assert_used(&world.prune_all(), &library("a:1"), &["container web"]);
        }
    }
}

#[test]
fn less_than_four_characters_are_no_id() {
    let hex = digest("A").hex();
    let outcome = world(&library("a:1"), &hex[..3]).prune_all();
    assert_eq!(outcome.removed(), [library("a:1")]);
}

#[test]
fn a_short_id_uses_every_image_that_it_could_mean() {
    // Which of them is meant is unknown.
    let (one, other) = begin_alike();
    let short = &digest(&one).hex()[..4];
    let mut world = World::new();
    world.image(&library("one:1"), &one);
    world.image(&library("other:1"), &other);
    world.container("web", short);
    let outcome = world.prune_all();
    assert_used(&outcome, &library("one:1"), &["container web"]);
    assert_used(&outcome, &library("other:1"), &["container web"]);
}

#[test]
fn a_name_wins_over_an_id_that_begins_like_it() {
    let short = digest("A").hex()[..12].to_owned();
    for record in [short.clone(), library(&format!("{short}:latest"))] {
        let mut world = World::new();
        world.image(&library("a:1"), "A");
        world.image(&record, "B");
        world.container("web", &short);
        let outcome = world.prune_all();
        assert_used(&outcome, &record, &["container web"]);
        assert_eq!(outcome.removed(), [library("a:1")]);
    }
}

#[test]
fn a_whole_id_is_more_than_a_name() {
    // The CRI plugin's third record has the config's digest for a name.
    let mut world = world(&id("A.config"), &id("A.config"));
    world.record(&library("a:1"), "A");
    let outcome = world.prune_all();
    assert_used(&outcome, &id("A.config"), &["container web"]);
    // It reads like a tag of the repository `sha256` and is not what people call the image.
    assert_used(&outcome, &library("a:1"), &["container web"]);
}

#[test]
fn a_tag_survives_in_preference_to_other_names() {
    let digested = format!("{}@{}", library("zz"), id("A"));
    for other in [&id("A.config"), &digested, "zz:1", "zz", ":", "<none>@x"] {
        let mut world = World::new();
        world.image(other, "A");
        world.record(&library("aa:1"), "A");
        world.container("web", "").of("A");
        let outcome = world.prune_all();
        assert_eq!(outcome.removed(), [other], "{other}");
        assert_eq!(outcome.removal(other), RemoveReason::Duplicate);
    }
}

#[test]
fn of_records_that_are_to_expire_the_last_one_to_go_is_kept() {
    let (late, early) = ("2026-01-11T00:00:00Z", "2026-01-09T00:00:00Z");
    for (first, last, kept) in [(late, early, "a:1"), (early, late, "z:1")] {
        let mut world = World::new();
        world.image(&library("a:1"), "A").label(EXPIRE, first);
        world.record(&library("z:1"), "A").label(EXPIRE, last);
        world.container("web", &id("A"));
        let outcome = world.prune_all();
        assert_eq!(outcome.reason(&library(kept)), KeepReason::InUse, "{first}");
    }
}

#[test]
fn a_record_that_is_to_expire_does_not_serve_to_keep_the_image() {
    for expiry in ["2026-01-10T11:00:00Z", "2026-01-10T13:00:00Z"] {
        let mut world = World::new();
        let record = world.image(&library("z:1"), "A");
        record.label(EXPIRE, expiry);
        world.record(&library("a:1"), "A");
        world.container("web", "z:1").of("A");
        let outcome = world.prune_all();
        // It is named, and so it stays for as long as it may; the other stays for good.
        assert_eq!(
            outcome.reason(&library("z:1")),
            KeepReason::InUse,
            "{expiry}"
        );
        assert_eq!(
            outcome.reason(&library("a:1")),
            KeepReason::InUse,
            "{expiry}"
        );
    }
}
