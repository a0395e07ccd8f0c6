//! Which images a policy keeps because no registry is known to have them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;
use reclaim_model::{
    EXPIRE, ImageRecord, KeepReason, NamespaceInventory, Reference, RegistryAnswer, RegistryImage,
    RuleImages,
};

use super::{apart, evaluated, lenient};
use crate::random::{BLOBS, pick, scenes};
use crate::world::{OVERLAY, Outcome, RecordExt, World, dangling, digest, id, library};

const SOURCE: &str = "containerd.io/distribution.source.";

/// A policy that removes everything unused, apart from last copies.
fn sparing() -> RuleImages {
    let mut images = lenient();
    images.rule.last_copies = false;
    images
}

/// Names the sources of a blob: registries, and what each has.
fn pulled(world: &mut World, blob: &str, sources: &[(&str, &str)]) {
    let label = |(host, repositories): &(&str, &str)| {
        (format!("{SOURCE}{host}"), (*repositories).to_owned())
    };
    world.labelled_blob(blob, &sources.iter().map(label).collect::<Vec<_>>());
}

#[track_caller]
fn assert_removes(world: &World, expected: &[&str]) {
    let outcome = evaluated(world, &sparing());
    assert_eq!(outcome.removed(), expected);
    for kept in &outcome.plan.kept {
        assert_eq!(kept.reason, KeepReason::LastCopy, "{}", kept.name);
        assert_eq!(outcome.holders(&kept.name), ["rule policy.last_copies"]);
    }
}

#[test]
fn an_image_goes_only_if_its_own_repository_is_a_source() {
    let mut world = apart(&["built", "elsewhere", "pulled"]);
    pulled(
        &mut world,
        "PULLED",
        &[("docker.io", "team/other,library/pulled")],
    );
    let sources = [
        ("docker.io", "library/pulled"),
        ("registry.example", "library/elsewhere"),
    ];
    pulled(&mut world, "ELSEWHERE", &sources);
    assert_removes(&world, &[&library("pulled:1")]);
}

#[test]
fn another_name_of_the_same_image_has_no_source() {
    let mut world = apart(&["pulled"]);
    pulled(&mut world, "PULLED", &[("docker.io", "library/pulled")]);
    for name in ["registry.internal/preloaded:1", &library("preloaded:1")] {
        world.record(name, "PULLED");
    }
    assert_removes(&world, &[&library("pulled:1")]);
}

#[test]
fn a_registry_is_known_by_its_host_without_the_port() {
    let mut world = World::new();
    for registry in ["registry.example:5000", "[::1]:5000", "other.example:5000"] {
        world.record(&format!("{registry}/app:1"), "APP");
    }
    world.image("registry.example/app:2", "APP");
    pulled(&mut world, "APP", &[("registry.example", "app")]);
    assert_removes(
        &world,
        &["registry.example/app:2", "registry.example:5000/app:1"],
    );
    pulled(&mut world, "APP", &[("::1", "app")]);
    assert_removes(&world, &["[::1]:5000/app:1"]);
}

#[test]
fn the_sources_of_layers_and_platforms_say_nothing() {
    let mut world = World::new();
    world.image(&library("app:1"), "A");
    world.index("index", &["A"]);
    world.record(&library("app:2"), "index");
    for blob in ["base", "A.config"] {
        pulled(&mut world, blob, &[("docker.io", "library/app")]);
    }
    assert_removes(&world, &[]);
    pulled(&mut world, "A", &[("docker.io", "library/app")]);
    assert_removes(&world, &[&library("app:1")]);
    pulled(&mut world, "index", &[("docker.io", "library/app")]);
    assert_removes(&world, &[&library("app:1"), &library("app:2")]);
}

#[test]
fn an_image_without_its_target_cannot_be_lost() {
    let mut world = apart(&["app"]);
    world.lose("APP");
    assert_removes(&world, &[&library("app:1")]);
}

/// A record without a repository is no loss while another name stays or can be pulled again.
#[test]
fn records_without_a_repository_go_with_the_others_of_their_target() {
    let made_up = [
        dangling("APP"),
        format!("{OVERLAY}@{}", id("APP")),
        format!("import-2026-01-01@{}", id("APP")),
        id("APP.config"),
        id("APP"),
    ];
    for name in &made_up {
        for is_cri in [false, true] {
            let mut alone = World::new();
            let record = alone.image(name, "APP");
            if is_cri {
                record.cri();
            }
            assert_removes(&alone, &[]);
            let mut pulled_once = alone.clone();
            pulled(&mut pulled_once, "APP", &[("docker.io", "library/app")]);
            assert_removes(&pulled_once, &[name]);
        }
        let mut built = apart(&["app"]);
        built.record(name, "APP");
        assert_removes(&built, &[name]);
        let last = built.here().images.first_mut().unwrap();
        last.label(EXPIRE, "2026-02-01T00:00:00Z");
        assert!(!evaluated(&built, &sparing()).removed().contains(&&**name));
    }
}

#[test]
fn what_a_registry_answered_replaces_a_source() {
    let mut world = apart(&["built", "moved", "pushed"]);
    world.record("registry.internal/pushed:1", "PUSHED");
    let image = |name: &str, target: &str| {
        let name = Reference::parse_normalized(name).unwrap();
        RegistryImage::new(&name, &digest(target))
    };
    let mut images = sparing();
    images.registries = Arc::new(BTreeMap::from([
        (image("pushed", "PUSHED"), RegistryAnswer::Has),
        (image("moved", "OTHER"), RegistryAnswer::Has),
        (
            image("built", "BUILT"),
            RegistryAnswer::Unknown("docker.io answered 404 Not Found".to_owned()),
        ),
    ]));
    let outcome = evaluated(&world, &images);
    assert_eq!(outcome.removed(), [library("pushed:1")]);
    assert_eq!(
        outcome.holders(&library("built:1")),
        ["rule policy.last_copies: docker.io answered 404 Not Found"]
    );
    for name in [&library("moved:1"), "registry.internal/pushed:1"] {
        assert_eq!(outcome.reason(name), KeepReason::LastCopy);
        assert_eq!(outcome.holders(name), ["rule policy.last_copies"]);
    }
}

#[test]
fn records_of_one_cri_image_stay_together() {
    let mut world = World::new();
    for name in [
        "registry.example/app:1",
        &format!("registry.example/app@{}", id("APP")),
        &id("APP.config"),
    ] {
        world.image(name, "APP").cri();
    }
    assert_removes_none_of_the_group(&world, 2);
    pulled(&mut world, "APP", &[("registry.example", "app")]);
    assert_eq!(evaluated(&world, &sparing()).removed().len(), 3);
    // A tag of another registry keeps all names that the kubelet knows.
    world.record("registry.internal/app:1", "APP").cri();
    assert_removes_none_of_the_group(&world, 1);
}

#[track_caller]
fn assert_removes_none_of_the_group(world: &World, last_copies: usize) {
    let outcome = evaluated(world, &sparing());
    assert_eq!(outcome.removed(), Vec::<&str>::new());
    let kept = outcome.plan.kept.iter();
    let last = kept.filter(|kept| kept.reason == KeepReason::LastCopy);
    assert_eq!(last.count(), last_copies);
}

/// The repository of a record, worked out from the text of its name alone. A name that Docker or a
/// tool makes up has the digest of its own target; with another digest a user gave it.
fn repository(image: &ImageRecord) -> Option<String> {
    let name = &*image.name;
    let own = |prefix: &str| name == format!("{prefix}@{}", image.target.digest);
    if own("moby-dangling") || own(OVERLAY) || name.starts_with("sha256:") {
        return None;
    }
    let (repository, _) = name.split_once('@').unwrap_or((name, ""));
    let last_slash = repository.rfind('/').map_or(0, |at| at + 1);
    let colon = repository[last_slash..].find(':');
    let repository = &repository[..colon.map_or(repository.len(), |at| last_slash + at)];
    Some(match repository {
        "raw" | "moby-dangling" => format!("docker.io/library/{repository}"),
        full => full.replace(":5000/", "/"),
    })
}

/// The repositories that the labels of a namespace's blobs name, by the blob's name.
type Labels = Vec<(usize, usize)>;

const REPOSITORIES: [&str; 5] = [
    "docker.io/library/a",
    "docker.io/library/b",
    "docker.io/library/raw",
    "registry.example/a",
    "registry.example/library/a",
];

/// Whether a record is the last copy, by the definition alone.
fn is_last_copy(namespace: &NamespaceInventory, labels: &Labels, image: &ImageRecord) -> bool {
    let target = &image.target.digest;
    let is_here = namespace.blobs.iter().any(|blob| blob.digest == *target);
    let of_target = labels
        .iter()
        .filter(|(blob, _)| digest(pick(&BLOBS, *blob)) == *target);
    let sources: BTreeSet<&str> = of_target
        .map(|(_, repository)| pick(&REPOSITORIES, *repository))
        .collect();
    let others = namespace.images.iter();
    let mut others = others.filter(|other| other.target.digest == *target);
    let can_be_pulled = if let Some(repository) = repository(image) {
        sources.contains(&*repository)
    } else {
        !sources.is_empty()
            || others.any(|other| repository(other).is_some() && other.expires.is_none())
    };
    is_here && !can_be_pulled
}

/// Writes the labels of sources, and a few records more.
fn with_sources(mut world: World, labels: &Labels, names: &[(usize, usize)]) -> World {
    world.within(World::NAMESPACE);
    for (number, target) in names {
        let target = pick(&BLOBS, *target);
        let name = match number % 3 {
            0 => format!("registry.example:5000/a:{number}"),
            1 => format!("registry.example/library/a:{number}"),
            _ => format!("{OVERLAY}@{}", id(target)),
        };
        if !world.here().images.iter().any(|image| image.name == name) {
            world.record(&name, target);
        }
    }
    let here: BTreeSet<&str> = labels.iter().map(|(blob, _)| pick(&BLOBS, *blob)).collect();
    for blob in here {
        let of_blob = labels.iter().filter(|label| pick(&BLOBS, label.0) == blob);
        let mut hosts: Vec<(String, String)> = Vec::new();
        for (host, path) in of_blob.map(|label| {
            let repository = pick(&REPOSITORIES, label.1);
            repository.split_once('/').unwrap()
        }) {
            let key = format!("{SOURCE}{host}");
            match hosts.iter_mut().find(|(other, _)| *other == key) {
                Some((_, paths)) => *paths = format!("{paths},{path}"),
                None => hosts.push((key, path.to_owned())),
            }
        }
        world.labelled_blob(blob, &hosts);
    }
    world
}

fn sources() -> impl Strategy<Value = Labels> {
    prop::collection::vec((0..100_usize, 0..100_usize), 0..8)
}

/// Targets of which no record is left.
fn lost(outcome: &Outcome) -> BTreeSet<String> {
    let kept: BTreeSet<_> = outcome.plan.kept.iter().map(|kept| &kept.target).collect();
    let steps = outcome.plan.steps.iter();
    let targets = steps.map(|step| &step.image.target.digest);
    let lost = targets.filter(|target| !kept.contains(target));
    lost.map(ToString::to_string).collect()
}

proptest! {
    #[test]
    fn exactly_the_last_copies_stay(
        scene in scenes(),
        labels in sources(),
        names in prop::collection::vec((0..9_usize, 0..100_usize), 0..4),
    ) {
        let mut world = with_sources(scene.world(), &labels, &names);
        let namespace = world.here().clone();
        let every = evaluated(&world, &lenient());
        let spared = evaluated(&world, &sparing());
        let candidates: BTreeSet<&str> = every.removed().into_iter().collect();
        let removed: BTreeSet<&str> = spared.removed().into_iter().collect();
        prop_assert!(removed.is_subset(&candidates));
        for image in &namespace.images {
            let name = &*image.name;
            if candidates.contains(name) {
                let is_last = is_last_copy(&namespace, &labels, image);
                let reason = (!removed.contains(name)).then(|| spared.reason(name));
                match reason {
                    None => prop_assert!(!is_last, "{name} goes"),
                    // The image that it is kept for is a last copy.
                    Some(KeepReason::CriGroup | KeepReason::DependentStays) => {}
                    Some(reason) => {
                        prop_assert_eq!(reason, KeepReason::LastCopy);
                        prop_assert!(is_last, "{name} stays");
                    }
                }
            }
        }
    }

    #[test]
    fn content_that_no_source_has_is_never_lost(
        scene in scenes(),
        labels in sources(),
        names in prop::collection::vec((0..9_usize, 0..100_usize), 0..4),
        more in (0..9_usize, 0..100_usize),
    ) {
        let mut world = with_sources(scene.world(), &labels, &names);
        let before = lost(&evaluated(&world, &sparing()));
        let targets = world.here().images.iter().map(|image| image.target.digest.to_string());
        let targets: BTreeSet<String> = targets.collect();
        let blobs = world.here().blobs.clone();
        let may_be_lost = |target: &String| {
            let is_here = blobs.iter().any(|blob| blob.digest.to_string() == *target);
            let mut sources = labels.iter().map(|label| id(pick(&BLOBS, label.0)));
            !is_here || sources.any(|source| source == *target)
        };
        prop_assert!(before.iter().all(may_be_lost));
        let another = with_sources(world, &labels, &[more]);
        let outcome = evaluated(&another, &sparing());
        let mut lost = lost(&outcome);
        lost.retain(|target| targets.contains(target));
        prop_assert!(lost.iter().all(may_be_lost));
        // The image that a user itself names explains its use: then no other is needed for it.
        let added = id(pick(&BLOBS, more.1));
        let mut kept = outcome.plan.kept.iter();
        let is_used = kept.any(|kept| {
            kept.target.to_string() == added && !kept.holders.is_empty()
        });
        prop_assert!(is_used || lost.is_subset(&before));
    }
}
