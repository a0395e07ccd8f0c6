//! The images of a namespace as engines list them.

use reclaim_model::{
    Config, Container, Document, DocumentKind, Holder, HolderKind, NotRemoved, SnapshotId,
    SnapshotKind, SnapshotSizes,
};
use reclaim_plan::{DetailedImages, ManifestDetails, detailed_images};

use crate::world::{
    ContainerExt, OVERLAY, Part, RecordExt, World, bytes, chain, dangling, digest, id, library,
    snapshot,
};

/// The label by which the classic builder says what it made an image from.
const PARENT: &str = "org.mobyproject.image.parent";

/// The images of the pruned namespace, when each of these snapshots occupies the bytes of its
/// key.
fn listed(world: &World, keys: &[&str]) -> DetailedImages {
    let measured: SnapshotSizes = keys
        .iter()
        .map(|key| (SnapshotId::new(OVERLAY, *key), bytes(key)))
        .collect();
    let namespace = World::NAMESPACE.parse().unwrap();
    detailed_images(&world.inventory(), &namespace, &world.registered, &measured)
}

/// The manifests of the one image there is.
fn manifests(world: &World, keys: &[&str]) -> Vec<ManifestDetails> {
    let mut images = listed(world, keys).images.into_iter();
    let manifests = images.next().unwrap().manifests;
    assert!(images.next().is_none());
    manifests
}

fn sum(names: &[&str]) -> u64 {
    names.iter().map(|name| bytes(name)).sum()
}

#[test]
fn an_index_lists_its_platforms_in_order_whether_they_are_there_or_not() {
    let mut world = World::new();
    let layers = &["base", "top"];
    world.manifest(
        "amd64",
        Part {
            layers,
            ..Part::default()
        },
    );
    let attestation = Part {
        layers: &["statement"],
        ..Part::default()
    };
    world.manifest("amd64 attestation", attestation);
    world.index("variants", &["arm64", "amd64"]);
    world.index("index", &["variants", "amd64", "amd64 attestation"]);
    // An index within an index, and a config next to the manifests, which is not one of them.
    let Some(Document::Index(children)) = world.documents.get_mut(&digest("index")) else {
        unreachable!("it was just written");
    };
    children[0].kind = DocumentKind::Index;
    let mut config = children[1].clone();
    config.kind = DocumentKind::Config;
    config.digest = digest("amd64.config");
    children.push(config);
    world.record(&library("app:1"), "index");
    let (base, top) = (chain("base"), chain("base+top"));
    let found = manifests(&world, &[&base, &top, &chain("statement")]);
    let which: Vec<_> = found
        .iter()
        .map(|it| {
            (
                it.digest.clone(),
                it.size,
                it.is_attestation,
                it.is_available,
            )
        })
        .collect();
    let reported = |name, is_attestation, is_available| {
        (digest(name), bytes(name), is_attestation, is_available)
    };
    assert_eq!(
        which,
        [
            reported("arm64", false, false),
            reported("amd64", false, true),
            reported("amd64 attestation", true, true),
        ]
    );
    let [absent, platform, attestation] = &found[..] else {
        unreachable!("there are three of them")
    };
    assert!(absent.is_image && platform.is_image && !attestation.is_image);
    assert_eq!(absent.listed_bytes, bytes("arm64"));
    assert_eq!(platform.listed_bytes, platform.content_bytes);
    assert!(absent.config.is_none());
    assert_eq!((absent.content_bytes, absent.unpacked_bytes), (0, 0));
    let config = platform.config.as_ref().unwrap();
    assert_eq!(config.digest, digest("amd64.config"));
    assert_eq!(config.size, bytes("amd64.config"));
    assert_eq!(config.config.chain_id, Some(top.parse().unwrap()));
    assert_eq!(
        platform.content_bytes,
        sum(&["amd64", "amd64.config", "base", "top"])
    );
    assert_eq!(platform.unpacked_bytes, bytes(&base) + bytes(&top));
    assert_eq!(platform.layer_bytes, [bytes(&base), bytes(&top)]);
    // No container runs an attestation, so what was unpacked of it does not belong to the image.
    assert_eq!(attestation.unpacked_bytes, 0);
    assert!(attestation.layer_bytes.is_empty());
    assert_eq!(
        attestation.content_bytes,
        sum(&["amd64 attestation", "amd64 attestation.config", "statement"])
    );
}

#[test]
fn a_manifest_that_lists_no_layer_of_an_image_or_cannot_be_read_is_not_an_image() {
    let mut world = World::new();
    world.image(&library("app:1"), "A");
    assert!(manifests(&world, &[])[0].is_image);
    let Some(Document::Manifest(children)) = world.documents.get_mut(&digest("A")) else {
        unreachable!("it was just written");
    };
    for child in &mut *children {
        child.is_layer = false;
    }
    assert!(!manifests(&world, &[])[0].is_image);
    let Some(Document::Manifest(children)) = world.documents.get_mut(&digest("A")) else {
        unreachable!("it was just written");
    };
    children.retain(|child| child.kind == DocumentKind::Config);
    assert!(manifests(&world, &[])[0].is_image);
    world.index("index", &["A"]);
    world.here().images.clear();
    world.record(&library("app:1"), "index");
    world.tear("A");
    assert!(!manifests(&world, &[])[0].is_image);
}

/// Engines other than Docker's do not report which platform a container uses.
#[test]
fn containers_use_the_reported_platform_or_else_the_only_one() {
    let mut world = World::new();
    for name in ["amd64", "arm64"] {
        world.manifest(name, Part::default());
    }
    world.index("both", &["amd64", "arm64"]);
    world.index("one", &["amd64", "absent"]);
    world.record(&library("both:1"), "both");
    world.record(&library("one:1"), "one");
    world
        .container("reported", &library("both:1"))
        .image_manifest = Some(digest("arm64"));
    for id in ["newest", "a"] {
        world.registered.push(Container {
            id: id.to_owned(),
            image_manifest: Some(digest("amd64")),
            ..Container::default()
        });
    }
    world.container("unreported", &library("both:1"));
    world.container("single", &library("one:1"));
    let images = listed(&world, &[]);
    let containers = |name: &str| -> Vec<Vec<String>> {
        let manifests = &images.find(name).unwrap().manifests;
        let of = |manifest: &ManifestDetails| manifest.containers.clone();
        manifests.iter().map(of).collect()
    };
    let ids = |ids: &[&str]| -> Vec<String> { ids.iter().map(|id| (*id).to_owned()).collect() };
    assert_eq!(
        containers("both:1"),
        [ids(&["newest", "a"]), ids(&["reported"])]
    );
    assert_eq!(
        containers("one:1"),
        [ids(&["newest", "a", "single"]), vec![]]
    );
}

#[test]
fn a_text_means_the_record_of_that_name_or_else_the_first() {
    let mut world = World::new();
    world.image(&library("b:1"), "A");
    world.record(&library("a:1"), "A");
    let images = listed(&world, &[]);
    let named = |text: &str| images.find_record(text).unwrap().1.name.clone();
    assert_eq!(named("b:1"), library("b:1"));
    assert_eq!(named(&id("A")), library("a:1"));
}

#[test]
fn a_layer_that_is_listed_twice_counts_once_and_a_lost_one_is_reported() {
    let mut world = World::new();
    let part = Part {
        layers: &["same", "same", "lost"],
        ..Part::default()
    };
    world.manifest(
        "A",
        Part {
            is_unpacked: false,
            ..part
        },
    );
    world.record(&library("app:1"), "A");
    let whole = manifests(&world, &[]);
    assert!(whole[0].is_available);
    assert_eq!(
        whole[0].content_bytes,
        sum(&["A", "A.config", "same", "lost"])
    );
    world.lose("lost");
    let cut = manifests(&world, &[]);
    assert!(!cut[0].is_available);
    assert_eq!(cut[0].content_bytes, sum(&["A", "A.config", "same"]));
    // The manifest was read through another namespace, where it still is.
    world
        .within("other")
        .blob("A", &[])
        .within(World::NAMESPACE);
    world.lose("A");
    let cut = manifests(&world, &[]);
    assert!(!cut[0].is_available);
    assert_eq!(cut[0].content_bytes, sum(&["A.config", "same"]));
}

#[test]
fn what_cannot_be_read_is_a_manifest_only_below_an_index() {
    let mut world = World::new();
    world.image(&library("target:1"), "A");
    world.corrupt("A");
    assert!(manifests(&world, &[]).is_empty());
    let mut world = World::new();
    world.manifest("A", Part::default());
    world.index("index", &["A"]);
    world.record(&library("index:1"), "index");
    world.corrupt("A");
    let found = manifests(&world, &[]);
    assert_eq!(found.len(), 1);
    assert!(found[0].is_available && found[0].config.is_none());
    assert_eq!(found[0].content_bytes, bytes("A"));
    // A blob that is not a config says nothing.
    let mut world = World::new();
    world.image(&library("app:1"), "A");
    world.corrupt("A.config");
    let found = manifests(&world, &[]);
    assert!(found[0].config.is_none());
    assert_eq!(found[0].unpacked_bytes, 0);
}

#[test]
fn a_committed_snapshot_below_the_layers_occupies_bytes_but_is_not_a_layer() {
    let mut world = World::new();
    world.image(&library("app:1"), "A");
    let (base, top) = (chain("base"), chain("base+A.layer"));
    world.snapshot("committed", None, SnapshotKind::Committed);
    world.snapshot(&base, None, SnapshotKind::Committed).parent = Some("committed".into());
    let found = manifests(&world, &[&base, &top, "committed"]);
    assert_eq!(found[0].layer_bytes, [bytes(&base), bytes(&top)]);
    let all = bytes(&base) + bytes(&top) + bytes("committed");
    assert_eq!(found[0].unpacked_bytes, all);
    // One that had gone by the time it was measured occupies nothing.
    let found = manifests(&world, &[&top]);
    assert_eq!(found[0].layer_bytes, [0, bytes(&top)]);
}

#[test]
fn an_image_is_one_target_with_all_its_names_and_users() {
    let mut world = World::new();
    world.image(&library("app:2"), "A");
    world.image(&library("app:1"), "A");
    world
        .image(&library("child:1"), "B")
        .label(PARENT, &id("A"));
    world.image(&dangling("C"), "C");
    world.container("web", &library("app:2"));
    world.container("worker", "").of("A");
    world.container("shell", "").of("A");
    world.active("build", &chain("base+C.layer"));
    world.lease("building", &[snapshot("build")]);
    let stacks = ["base", "base+A.layer", "base+B.layer", "base+C.layer"].map(chain);
    let found = listed(&world, &stacks.each_ref().map(String::as_str));
    let of = |target: &str| {
        let target = digest(target);
        let image = found.images.iter().find(|it| it.target.digest == target);
        image.unwrap()
    };
    let digests: Vec<_> = found.images.iter().map(|it| &it.target.digest).collect();
    assert!(digests.is_sorted());
    assert_eq!(digests.len(), 3);
    let names: Vec<_> = of("A").records.iter().map(|it| &*it.name).collect();
    assert_eq!(names, [library("app:1"), library("app:2")]);
    let containers = ["shell", "web", "worker"];
    let containers = containers.map(|it| Holder::new(HolderKind::Container, it));
    assert_eq!(of("A").holders, containers);
    assert_eq!(of("A").containers(), 3);
    assert_eq!(of("B").containers(), 0);
    assert_eq!(of("C").containers(), 0);
    assert_eq!(of("C").holders.len(), 1, "the lease on what stands on it");
    assert!(of("C").is_dangling());
    assert!(!of("A").is_dangling());
    assert!(of("A").has_child);
    assert!(!of("B").has_child);
    assert_eq!(of("A").size.shared_bytes, bytes("base") + bytes(&stacks[0]));
    let blobs =
        ["A", "B", "C"].map(|it| sum(&[it, &format!("{it}.config"), &format!("{it}.layer")]));
    let snapshots: u64 = stacks.iter().map(|it| bytes(it)).sum();
    let all = blobs.iter().sum::<u64>() + bytes("base") + snapshots;
    assert_eq!(found.total_bytes, all);
    // By each way of naming it.
    let hex = id("A")["sha256:".len()..][..12].to_owned();
    for text in ["app:1", "app:2", &id("A"), &hex] {
        assert_eq!(found.find(text).unwrap().target.digest, digest("A"));
    }
    assert_eq!(found.find("child:1").unwrap().target.digest, digest("B"));
    let missing = found.find("app:3").unwrap_err();
    assert_eq!(missing, NotRemoved::NoSuchImage("app:3".to_owned()));
}

#[test]
fn a_name_beside_a_dangling_one_makes_an_image_that_has_a_name() {
    let mut world = World::new();
    world.image(&dangling("A"), "A");
    world.image(&library("app:1"), "A");
    assert!(!listed(&world, &[]).images[0].is_dangling());
}

#[test]
fn an_image_with_a_made_up_name_only_is_listed_as_dangling() {
    let mut world = World::new();
    let made_up = format!("overlayfs@{}", id("A"));
    world.image(&made_up, "A");
    let found = listed(&world, &[]);
    let image = &found.images[0];
    assert!(image.is_dangling() && image.is_dangling_record(&image.records[0]));
    world.image(&library("app:1"), "A");
    let found = listed(&world, &[]);
    let image = &found.images[0];
    assert!(image.records.iter().all(|it| !image.is_dangling_record(it)));
    assert!(!image.is_dangling());
    // By its configuration it is found as well.
    let image = found.find(&id("A.config")).unwrap();
    assert_eq!(image.target.digest, digest("A"));
}

#[test]
fn a_namespace_that_does_not_exist_has_no_images() {
    let mut world = World::new();
    world.image(&library("app:1"), "A");
    let inventory = world.inventory();
    let elsewhere = "elsewhere".parse().unwrap();
    let found = detailed_images(&inventory, &elsewhere, &[], &SnapshotSizes::default());
    assert!(found.images.is_empty());
    assert_eq!(found.total_bytes, 0);
    // Not a document of the wrong kind, either: what has a config for its target has no manifests.
    let mut world = World::new();
    world.record(&library("app:1"), "A");
    world.blob("A", &[]);
    let config = Document::Config(Config::default());
    world.documents.insert(digest("A"), config);
    assert!(manifests(&world, &[]).is_empty());
}
