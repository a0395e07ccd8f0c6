//! Removing by the digest of a configuration, which is the ID for the CRI plugin.

use reclaim_model::{KeepReason, NotRemoved, RemoveReason};

use super::{remove, said};
use crate::world::{Part, RecordExt, World, digest, id, library};

const IMPORT: &str = "import-2022-11-18";

/// What an import and a later pull leave behind: two manifests of one configuration.
fn twice() -> World {
    let mut world = World::new();
    world.image(&library("alpine:latest"), "M2").cri();
    world.image(&id("M2.config"), "M2").cri();
    let import = format!("{IMPORT}@{}", id("M1"));
    world.recompressed(&import, "M1", "M2").cri();
    world
}

fn import() -> String {
    format!("{IMPORT}@{}", id("M1"))
}

#[test]
fn every_manifest_of_the_configuration_goes() {
    let hex = digest("M2.config").hex();
    for text in [id("M2.config"), hex.clone(), hex[..13].to_owned()] {
        let outcome = remove(&twice(), &[&text], false);
        let all = [library("alpine:latest"), import(), id("M2.config")];
        assert_eq!(outcome.removed(), all, "{text}");
        let named = outcome.plan.named[0].outcome().unwrap();
        assert_eq!(named.records.len(), 3);
        assert_eq!(named.untagged.len() + named.deleted.len(), 5, "{named:?}");
        assert_eq!(
            outcome.blobs(),
            ["M1", "M1.layer", "M2", "M2.config", "M2.layer", "base"]
        );
    }
}

#[test]
fn it_is_found_without_a_record_of_that_name() {
    let mut world = World::new();
    world.image(&library("alpine:latest"), "M2");
    world.recompressed(&import(), "M1", "M2");
    world.image(&library("other:1"), "B");
    let outcome = remove(&world, &[&id("M2.config")[..19]], false);
    assert_eq!(outcome.removed(), [library("alpine:latest"), import()]);
    // Once they are gone, nothing has the ID.
    let twice = [&*id("M2.config"), &id("M2.config")];
    let outcome = remove(&world, &twice, false);
    let gone = NotRemoved::NoSuchImage(id("M2.config"));
    assert_eq!(outcome.plan.named[1].error, Some(gone));
}

#[test]
fn a_user_of_one_keeps_all_and_the_conflict_names_them() {
    let names = format!("alpine:latest, {}, {}", import(), id("M2.config"));
    let short = &digest("M2.config").hex()[..12];
    for (image, by) in [("alpine:latest", "M2"), (&*import(), "M1")] {
        let mut world = twice();
        world.container("web", image).image_digest = Some(digest(by));
        let outcome = remove(&world, &[&id("M2.config")], false);
        assert_eq!(outcome.removed(), [""; 0], "{image}");
        for name in [&library("alpine:latest"), &import(), &id("M2.config")] {
            assert_eq!(outcome.reason(name), KeepReason::InUse, "{name}");
            assert_eq!(outcome.holders(name), ["container web"]);
        }
        let words = format!(
            "conflict: unable to delete {short} ({names}) (cannot be forced) - image is being \
             used by running container web"
        );
        assert_eq!(said(&outcome.plan.named[0]), [words]);
    }
}

#[test]
fn names_in_several_repositories_must_be_forced_together() {
    let mut world = twice();
    world.record(&library("mirror:1"), "M1").cri();
    let outcome = remove(&world, &[&id("M2.config")], false);
    assert_eq!(outcome.removed(), [""; 0]);
    let words = said(&outcome.plan.named[0]).join("");
    for name in ["alpine:latest", "mirror:1", IMPORT] {
        assert!(words.contains(name), "{words}");
    }
    assert!(words.ends_with("image is referenced in multiple repositories"));
    let outcome = remove(&world, &[&id("M2.config")], true);
    assert_eq!(outcome.removed().len(), 4);
}

#[test]
fn a_pin_of_one_keeps_all() {
    let mut world = twice();
    let import = world.here().images.last_mut().unwrap();
    import.label("io.cri-containerd.pinned", "pinned");
    let outcome = remove(&world, &[&id("M2.config")], false);
    assert_eq!(outcome.removed(), [""; 0]);
    assert_eq!(remove(&world, &[&id("M2.config")], true).removed().len(), 3);
}

#[test]
fn forced_what_a_stopped_container_needs_stays_without_a_name() {
    let used = |target: &str| {
        let mut world = twice();
        let container = world.container("web", "");
        container.image_digest = Some(digest(target));
        container.state = reclaim_model::ContainerState::Stopped;
        remove(&world, &[&id("M2.config")], true)
    };
    let outcome = used("M2");
    let tag = library("alpine:latest");
    assert_eq!(outcome.removed().len(), 3);
    assert_eq!(outcome.removal(&tag), RemoveReason::Replaced);
    assert_eq!(outcome.removal(&import()), RemoveReason::Named);
    // The other one has no name to lose.
    let outcome = used("M1");
    assert_eq!(outcome.removed(), [""; 0]);
    let words = said(&outcome.plan.named[0]).join("");
    assert!(words.contains("(cannot be forced)"), "{words}");
}

/// Two platforms of an index, both there.
fn platforms(world: &mut World) {
    for part in ["amd64", "arm64"] {
        world.manifest(part, Part::default());
    }
    world.index("X", &["amd64", "arm64"]);
    world.record(&library("multi:1"), "X");
}

#[test]
fn one_of_several_platforms_is_an_id_only_if_the_cri_plugin_has_a_record_of_it() {
    let mut world = World::new();
    platforms(&mut world);
    for platform in ["amd64.config", "arm64.config"] {
        let outcome = remove(&world, &[&id(platform)], true);
        assert_eq!(outcome.removed(), [""; 0]);
        let missing = NotRemoved::NoSuchImage(id(platform));
        assert_eq!(outcome.plan.named[0].error, Some(missing));
    }
    // The record points at another index of the host's platform.
    world.index("Y", &["amd64"]);
    world.record(&id("amd64.config"), "Y").cri();
    let outcome = remove(&world, &[&id("amd64.config")], true);
    assert_eq!(outcome.removed(), [library("multi:1"), id("amd64.config")]);
    let outcome = remove(&world, &[&id("arm64.config")], true);
    assert_eq!(outcome.removed(), [""; 0]);
    // A platform that is not there is not in the way.
    world.lose("arm64").lose("arm64.config");
    world
        .here()
        .images
        .retain(|it| it.name != id("amd64.config"));
    let outcome = remove(&world, &[&id("amd64.config")], false);
    assert_eq!(outcome.removed(), [library("multi:1")]);
}

#[test]
fn an_attestation_has_no_id() {
    let mut world = World::new();
    for part in ["amd64", "attestation"] {
        world.manifest(part, Part::default());
    }
    world.index("X", &["amd64", "attestation"]);
    world.record(&library("app:1"), "X");
    let outcome = remove(&world, &[&id("attestation.config")], true);
    assert_eq!(outcome.removed(), [""; 0]);
    let outcome = remove(&world, &[&id("amd64.config")], false);
    assert_eq!(outcome.removed(), [library("app:1")]);
}
