//! Parts of images that go while their records stay.

use std::sync::Arc;

use jiff::SignedDuration;
use reclaim_model::{
    Cut, CutTarget, Document, EXPIRE, Gap, ImageParts, KeepReason, NotRemoved, Part, Platform,
    PruneFilters, ResolvedRequest, SnapshotId, SnapshotKind,
};
use reclaim_plan::{InvalidPlan, check, no_longer_cut};

use crate::world::{
    self, ContainerExt, LeaseExt, OVERLAY, Outcome, RecordExt, World, ago, all, chain, content,
    digest, id, library,
};

/// Where the images of these worlds were pulled from.
const SOURCE: (&str, &str) = ("containerd.io/distribution.source.docker.io", "library/a");

pub(crate) fn parts(parts: &[Part]) -> ImageParts<PruneFilters> {
    ImageParts {
        parts: parts.iter().copied().collect(),
        names: Vec::new(),
        filters: all(),
        platforms: Vec::new(),
        docker_layers: false,
        mirrored_layers: false,
    }
}

pub(crate) fn slim(parts: ImageParts<PruneFilters>) -> ResolvedRequest {
    ResolvedRequest::new(World::NAMESPACE.parse().unwrap(), parts)
}

fn snapshots(world: &World) -> Outcome {
    world.decide(&slim(parts(&[Part::Snapshots])))
}

fn layers(world: &World) -> Outcome {
    world.decide(&slim(parts(&[Part::Layers])))
}

fn both(world: &World) -> Outcome {
    world.decide(&slim(parts(&[Part::Snapshots, Part::Layers])))
}

/// `a:1` of the layers `base` and `A.layer`, pulled and unpacked.
fn world() -> World {
    let mut world = World::new();
    world.image(&library("a:1"), "A");
    world.blob("A", &[SOURCE]);
    world
}

/// The same, in use by a container.
fn used() -> World {
    let mut world = world();
    world.active("web", &chain("base+A.layer"));
    world.container("web", "a:1").on("web");
    world
}

fn slimmed(outcome: &Outcome) -> Vec<(&str, Vec<Part>)> {
    let slimmed = outcome.plan.slimmed.iter();
    let slimmed = slimmed.map(|it| (it.name.as_str(), it.parts.keys().copied().collect()));
    slimmed.collect()
}

#[track_caller]
fn assert_stays(outcome: &Outcome, name: &str, reason: KeepReason) {
    assert_eq!(outcome.plan.cuts, []);
    assert_eq!(outcome.reason(&library(name)), reason);
    assert!(outcome.blobs().is_empty() && outcome.snapshots().is_empty());
}

/// As the store shows it when the cuts have been made.
pub(crate) fn cut(world: &World, cuts: &[Cut]) -> World {
    let mut world = world.clone();
    for blob in &mut world.within(World::NAMESPACE).here().blobs {
        let goes = |reference: &_| {
            let mut cuts = cuts.iter();
            cuts.any(|cut| cut.blob == blob.digest && cut.target.is_of(reference))
        };
        let refs = blob.gc.refs.iter().filter(|it| !goes(it));
        blob.gc.refs = refs.cloned().collect();
    }
    world
}

#[test]
fn what_was_unpacked_of_an_unused_image_goes() {
    let outcome = snapshots(&world());
    assert_eq!(outcome.snapshots(), ["base", "base+A.layer"]);
    assert_eq!(outcome.blobs(), Vec::<&str>::new());
    let name = library("a:1");
    assert_eq!(slimmed(&outcome), [(name.as_str(), vec![Part::Snapshots])]);
    let expected = Cut {
        part: Part::Snapshots,
        blob: digest("A.config"),
        target: CutTarget::Snapshot(SnapshotId::new(OVERLAY, chain("base+A.layer"))),
    };
    assert_eq!(outcome.plan.cuts, [expected]);
}

#[test]
fn layers_of_an_unpacked_image_go_used_or_not() {
    let name = library("a:1");
    for world in [world(), used()] {
        let outcome = layers(&world);
        assert_eq!(outcome.blobs(), ["A.layer", "base"]);
        assert_eq!(outcome.snapshots(), Vec::<&str>::new());
        assert_eq!(slimmed(&outcome), [(name.as_str(), vec![Part::Layers])]);
    }
}

/// The snapshots of the unused image, and the layers of the one in use, except those that the unused
/// one now needs.
#[test]
fn of_both_parts_each_image_keeps_one() {
    let mut world = used();
    world.image(&library("b:1"), "B");
    world.blob(
        "B",
        &[("containerd.io/distribution.source.docker.io", "library/b")],
    );
    let outcome = both(&world);
    assert_eq!(outcome.snapshots(), ["base+B.layer"]);
    assert_eq!(outcome.blobs(), ["A.layer"]);
    let (a, b) = (library("a:1"), library("b:1"));
    let expected = [
        (a.as_str(), vec![Part::Layers]),
        (b.as_str(), vec![Part::Snapshots]),
    ];
    assert_eq!(slimmed(&outcome), expected);
}

#[test]
fn what_a_container_uses_stays_unpacked() {
    assert_stays(&snapshots(&used()), "a:1", KeepReason::InUse);
    let mut named = world();
    named.container("web", "a:1");
    assert_stays(&snapshots(&named), "a:1", KeepReason::InUse);
}

/// The configuration of both is one blob with one label.
#[test]
fn an_image_in_use_keeps_what_it_shares() {
    let mut world = used();
    world.recompressed(&library("z:1"), "Z", "A");
    let outcome = snapshots(&world);
    assert_eq!(outcome.plan.cuts, []);
    assert_eq!(outcome.reason(&library("a:1")), KeepReason::InUse);
    assert_ne!(outcome.reason(&library("z:1")), KeepReason::NothingToFree);
}

#[test]
fn an_image_that_is_pinned_protected_or_pulled_keeps_its_parts() {
    let mut pinned = world();
    let record = pinned.here().images.last_mut().unwrap();
    record.label("io.cri-containerd.pinned", "pinned");
    let mut pulled = world();
    let later = ago(SignedDuration::from_hours(-1)).to_string();
    pulled.lease("pull", &[content("A")]).label(EXPIRE, &later);
    let mut protected = world();
    protected.here().protection.whole = Some(World::NAMESPACE.parse().unwrap());
    for (world, reason) in [
        (pinned, KeepReason::Pinned),
        (pulled, KeepReason::InUse),
        (protected, KeepReason::Protected),
    ] {
        assert_stays(&snapshots(&world), "a:1", reason);
        assert_stays(&layers(&world), "a:1", reason);
    }
}

#[test]
fn a_copy_that_is_the_only_one_stays() {
    // Not pulled from anywhere.
    let mut built = World::new();
    built.image(&library("a:1"), "A");
    assert_stays(&layers(&built), "a:1", KeepReason::LastCopy);
    assert_eq!(snapshots(&built).snapshots(), ["base", "base+A.layer"]);

    let mut packed = World::new();
    packed.manifest(
        "A",
        world::Part {
            layers: &["base", "A.layer"],
            is_unpacked: false,
            ..world::Part::default()
        },
    );
    packed.record(&library("a:1"), "A");
    packed.blob("A", &[SOURCE]);
    assert_stays(&layers(&packed), "a:1", KeepReason::NotUnpacked);
    assert_stays(&snapshots(&packed), "a:1", KeepReason::NothingToFree);

    let mut unpacked = world();
    unpacked
        .here()
        .blobs
        .retain(|blob| blob.digest != digest("base"));
    assert_stays(&snapshots(&unpacked), "a:1", KeepReason::LayersMissing);
}

/// A lease keeps the chain for a while; the image's own label does not.
#[test]
fn what_only_a_lease_keeps_is_no_copy() {
    let mut world = world();
    let config = digest("A.config");
    for blob in &mut world.here().blobs {
        if blob.digest == config {
            blob.gc.refs = Box::default();
        }
    }
    world.lease("other", &[world::snapshot(&chain("base+A.layer"))]);
    assert_eq!(layers(&world).plan.cuts, []);

    // The blob is here, but the manifest has no label for it.
    let mut unheld = self::world();
    for blob in &mut unheld.here().blobs {
        if blob.digest == digest("A") {
            let base = digest("base").to_string();
            let refs = blob.gc.refs.iter();
            let refs = refs.filter(|it| !format!("{it:?}").contains(&base));
            blob.gc.refs = refs.cloned().collect();
        }
    }
    unheld.lease("other", &[content("base")]).flat();
    assert_eq!(snapshots(&unheld).plan.cuts, []);
}

/// Any of the snapshotters may be the one that an engine uses next.
#[test]
fn layers_stay_unless_every_snapshotter_has_the_image() {
    let mut world = world();
    let mut other = world.here().snapshots[OVERLAY][0].clone();
    other.key = "other".into();
    world.here().snapshots.insert("native".into(), vec![other]);
    assert_stays(&layers(&world), "a:1", KeepReason::NotUnpacked);

    let mut blind = self::world();
    blind.here().gaps.push(Gap::Snapshotter {
        name: "zfs".into(),
        is_configured: true,
        why: "no answer".to_owned(),
    });
    assert_eq!(layers(&blind).plan.cuts, []);
}

#[test]
fn a_chain_that_is_not_whole_is_not_unpacked() {
    let mut short = world();
    for snapshot in short.here().snapshots.get_mut(OVERLAY).unwrap() {
        snapshot.parent = None;
    }
    let mut active = world();
    for snapshot in active.here().snapshots.get_mut(OVERLAY).unwrap() {
        snapshot.kind = SnapshotKind::Active;
    }
    for world in [short, active] {
        assert_eq!(layers(&world).plan.cuts, []);
    }
}

#[test]
fn dockers_layers_need_permission() {
    let mut world = world();
    world.here().is_dockers = true;
    assert_stays(&layers(&world), "a:1", KeepReason::DockerLayers);
    let permitted = ImageParts {
        docker_layers: true,
        ..parts(&[Part::Layers])
    };
    assert_eq!(world.decide(&slim(permitted)).blobs(), ["A.layer", "base"]);
    assert_eq!(snapshots(&world).snapshots(), ["base", "base+A.layer"]);
}

#[test]
fn layers_that_a_mirror_serves_need_permission() {
    let mirror = |registry: &str| {
        let mut world = world();
        let mirrors = [(registry.to_owned(), "hosts.toml".to_owned())];
        world.here().mirrors = Arc::new(mirrors.into());
        world
    };
    let served = mirror("docker.io");
    let outcome = layers(&served);
    assert_stays(&outcome, "a:1", KeepReason::RegistryMirror);
    let kept = outcome.plan.kept.iter();
    let mut holders = kept.flat_map(|kept| &kept.holders);
    assert!(holders.any(|holder| holder.to_string() == "rule hosts.toml"));
    let permitted = ImageParts {
        mirrored_layers: true,
        ..parts(&[Part::Layers])
    };
    assert_eq!(served.decide(&slim(permitted)).blobs(), ["A.layer", "base"]);
    assert_eq!(snapshots(&served).snapshots(), ["base", "base+A.layer"]);
    let other = layers(&mirror("other.example"));
    assert_eq!(other.blobs(), ["A.layer", "base"]);
}

/// Cutting one of two images that share everything frees nothing, and is not done.
#[test]
fn a_part_that_others_keep_stays() {
    let mut world = world();
    let request = |name: &str| {
        let mut parts = parts(&[Part::Layers]);
        parts.names = vec![name.to_owned()];
        slim(parts)
    };
    world.manifest(
        "B",
        world::Part {
            layers: &["base"],
            ..world::Part::default()
        },
    );
    world.record(&library("b:1"), "B");
    world.blob(
        "B",
        &[("containerd.io/distribution.source.docker.io", "library/b")],
    );
    let outcome = world.decide(&request("b:1"));
    assert_stays(&outcome, "b:1", KeepReason::NothingToFree);
    assert_eq!(outcome.reason(&library("a:1")), KeepReason::NotNamed);
    assert_eq!(world.decide(&request("a:1")).blobs(), ["A.layer"]);
    assert_eq!(layers(&world).blobs(), ["A.layer", "base"]);
}

#[test]
fn images_are_named_by_tag_digest_and_configuration() {
    let mut world = world();
    world.image(&library("b:1"), "B");
    for name in [
        "a:1",
        "a",
        &id("A"),
        &id("A.config"),
        &digest("A").hex()[..12],
    ] {
        let mut parts = parts(&[Part::Snapshots]);
        parts.names = vec![name.to_owned()];
        let outcome = world.decide(&slim(parts));
        if name == "a" {
            let error = outcome.plan.named[0].error.clone();
            assert!(
                matches!(error, Some(NotRemoved::NoSuchImage(_))),
                "{error:?}"
            );
            assert_eq!(outcome.plan.cuts, []);
        } else {
            assert_eq!(outcome.snapshots(), ["base+A.layer"], "{name}");
            assert_eq!(outcome.reason(&library("b:1")), KeepReason::NotNamed);
        }
    }
}

#[test]
fn filters_spare_images() {
    let mut parts = parts(&[Part::Snapshots]);
    parts.filters.until = Some(ago(SignedDuration::from_hours(24 * 30)));
    assert_stays(&world().decide(&slim(parts)), "a:1", KeepReason::TooRecent);
}

/// Content of which another namespace has a copy stays on disk, and is no longer this one's.
#[test]
fn what_another_namespace_keeps_is_not_freed() {
    let mut world = world();
    world.within("other").image(&library("a:1"), "A");
    let outcome = layers(world.within(World::NAMESPACE));
    assert_eq!(outcome.blobs(), Vec::<&str>::new());
    assert_eq!(outcome.plan.cuts.len(), 2);
    assert_eq!(outcome.plan.not_counted.kept_elsewhere.blobs.len(), 2);
}

#[test]
fn labels_come_back_for_a_new_user() {
    let world = world();
    let plan = snapshots(&world).plan;
    let mut after = cut(&world, &plan.cuts);
    let request = slim(parts(&[Part::Snapshots]));
    assert_eq!(
        no_longer_cut(after.inventory(), &[], &request, &plan.cuts),
        []
    );
    after.active("web", &chain("base+A.layer"));
    after.container("web", "").on("web");
    let needed = no_longer_cut(after.inventory(), &[], &request, &plan.cuts);
    assert_eq!(needed, plan.cuts);
}

#[test]
fn the_linter_finds_the_loss_of_both_copies() {
    let world = world();
    let mut plan = both(&world).plan;
    plan.cuts = [snapshots(&world).plan.cuts, layers(&world).plan.cuts].concat();
    let request = slim(parts(&[Part::Snapshots, Part::Layers]));
    let found = check(&plan, &world.inventory(), &[], &request);
    let expected = InvalidPlan::LosesLayers {
        image: library("a:1"),
        manifest: digest("A"),
    };
    assert_eq!(found, Err(expected));
}

/// An index of the host's platform, a foreign one, and one of unknown platform, all unpacked.
pub(crate) fn several() -> World {
    let mut world = World::new();
    for (name, platform) in [
        ("H", Some(Platform::host())),
        ("F", Some(foreign())),
        ("U", None),
    ] {
        world.manifest(
            name,
            world::Part {
                layers: &["base", &format!("{name}.layer")],
                ..world::Part::default()
            },
        );
        let config = world.documents.get_mut(&digest(&format!("{name}.config")));
        let Some(Document::Config(config)) = config else {
            panic!("a configuration");
        };
        config.platform = platform.map(Box::new);
    }
    world.index("I", &["H", "F", "U", "absent"]);
    world.record(&library("a:1"), "I");
    world.blob("I", &[SOURCE]);
    world
}

fn foreign() -> Platform {
    Platform {
        os: "windows".to_owned(),
        architecture: "riscv64".to_owned(),
        variant: String::new(),
    }
}

fn platforms(world: &World, named: &[Platform]) -> Outcome {
    let parts = ImageParts {
        platforms: named.to_vec(),
        ..parts(&[Part::Platforms])
    };
    world.decide(&slim(parts))
}

#[test]
fn platforms_that_the_host_does_not_run_go_whole() {
    let outcome = platforms(&several(), &[]);
    assert_eq!(outcome.blobs(), ["F", "F.config", "F.layer"]);
    assert_eq!(outcome.snapshots(), ["base+F.layer"]);
    let name = library("a:1");
    assert_eq!(slimmed(&outcome), [(name.as_str(), vec![Part::Platforms])]);
    let host = platforms(&several(), &[Platform::host()]);
    assert_eq!(host.blobs(), ["H", "H.config", "H.layer"]);
}

#[test]
fn a_platform_that_is_used_or_the_last_stays() {
    let mut started = several();
    started.active("web", &chain("base+F.layer"));
    started.container("web", "").on("web");
    assert_eq!(platforms(&started, &[]).plan.cuts, []);
    let mut listed = several();
    listed.container("web", "a:1").image_manifest = Some(digest("F"));
    assert_eq!(platforms(&listed, &[]).plan.cuts, []);

    let mut only = several();
    only.here()
        .blobs
        .retain(|blob| ![digest("H"), digest("U")].contains(&blob.digest));
    assert_stays(&platforms(&only, &[]), "a:1", KeepReason::LastPlatform);
    let mut built = several();
    for blob in &mut built.here().blobs {
        blob.sources = reclaim_model::Sources::default();
    }
    assert_stays(&platforms(&built, &[]), "a:1", KeepReason::LastCopy);
}

/// An error names what the image has instead.
#[test]
fn a_named_image_without_the_platform_is_reported() {
    let mut world = several();
    world.image(&library("b:1"), "B");
    let arm: Platform = "linux/arm/v6".parse().unwrap();
    let error = |name: &str, platforms: &[&Platform]| {
        let parts = ImageParts {
            names: vec![name.to_owned()],
            platforms: platforms.iter().map(|it| (*it).clone()).collect(),
            ..parts(&[Part::Platforms])
        };
        let mut named = world.decide(&slim(parts)).plan.named;
        named.remove(0).error
    };
    let missing = NotRemoved::NoSuchPlatform {
        image: "a:1".to_owned(),
        wanted: vec![arm.clone()],
        present: vec![Platform::host(), foreign()],
    };
    assert_eq!(error("a:1", &[&arm]), Some(missing.clone()));
    let host = Platform::host();
    let expected =
        format!("a:1 does not have linux/arm/v6; its platforms here are {host}, windows/riscv64");
    assert_eq!(missing.to_string(), expected);
    assert_eq!(error("a:1", &[&arm, &foreign()]), None);
    let unknown = error("b:1", &[&arm]).unwrap().to_string();
    assert!(
        unknown.ends_with("its platforms here are unknown"),
        "{unknown}"
    );
    assert!(matches!(
        error("c:1", &[&arm]),
        Some(NotRemoved::NoSuchImage(_))
    ));
}

/// A platform that another image has, too, stays, and so does its reference.
#[test]
fn a_platform_that_another_image_has_stays() {
    let mut world = several();
    world.record(&library("f:1"), "F");
    let outcome = platforms(&world, &[]);
    assert_stays(&outcome, "a:1", KeepReason::NothingToFree);
}

/// Such as a record of the CRI plugin by its ID, next to a name that no registry has.
#[test]
fn a_record_without_a_name_gives_an_image_no_source() {
    let mut world = World::new();
    world.image(&library("a:1"), "A");
    let by_id = digest("A.config").to_string();
    world.record(&by_id, "A");
    let outcome = layers(&world);
    assert_stays(&outcome, "a:1", KeepReason::LastCopy);
    assert_eq!(outcome.reason(&by_id), KeepReason::LastCopy);
    world.blob("A", &[SOURCE]);
    assert_eq!(layers(&world).blobs(), ["A.layer", "base"]);
}
