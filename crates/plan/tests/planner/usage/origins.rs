//! Of images with the same layers, the one that the engine's digest proves.

use reclaim_model::{
    ContainerSource, Digest, Document, DocumentKind, IMAGE_DIGEST_LABEL, KeepReason, NamedImages,
    ResolvedRequest,
};

use super::docker::docker_container;
use crate::world::{ContainerExt, LeaseExt, Part, World, chain, dangling, digest, library};

const TOP: &str = "base+A.layer";

/// A container's ID as Docker makes it.
fn container_id() -> String {
    digest("container").hex()
}

/// `lab:1`, its predecessor with the same layers, which is dangling, and a stopped container on
/// these layers that a Docker Engine lists as created from `digest`.
fn rebuilt(of: Option<Digest>) -> World {
    let mut world = World::new();
    world.image(&dangling("A"), "A");
    world.rebuilt(&library("lab:1"), "A2", "A");
    docker_container(&mut world, &container_id(), TOP);
    let listed = world.listed(&container_id(), ContainerSource::Docker, "");
    listed.image_digest = of;
    world
}

/// What a prune of all unused images removes.
fn removed(world: &World) -> Vec<String> {
    let outcome = world.prune_all();
    outcome.removed().into_iter().map(str::to_owned).collect()
}

#[test]
fn dockers_digest_frees_the_image_with_the_same_layers() {
    let world = rebuilt(Some(digest("A2")));
    assert_eq!(world.prune().removed(), [dangling("A")]);
    assert_eq!(removed(&world), [dangling("A")]);
    let world = rebuilt(Some(digest("A")));
    assert_eq!(world.prune().removed(), [""; 0]);
    assert_eq!(removed(&world), [library("lab:1")]);
}

#[test]
fn an_image_with_the_same_layers_is_removed_by_name_too() {
    for state in [
        reclaim_model::ContainerState::Running,
        reclaim_model::ContainerState::Stopped,
    ] {
        let mut world = rebuilt(Some(digest("A2")));
        world.registered[0].state = state;
        let named = NamedImages {
            names: vec![digest("A").to_string()],
            force: false,
            prune_parents: true,
        };
        let namespace = World::NAMESPACE.parse().unwrap();
        let outcome = world.decide(&ResolvedRequest::new(namespace, named));
        assert_eq!(outcome.removed(), [dangling("A")], "{state:?}");
    }
}

#[test]
fn a_running_container_has_one_image_by_its_list_and_its_record() {
    let mut world = rebuilt(Some(digest("A2")));
    world.container(&container_id(), &library("lab:1"));
    assert_eq!(removed(&world), [dangling("A")]);
}

#[test]
fn an_engine_that_gives_no_digest_uses_every_image_with_the_layers() {
    assert_eq!(removed(&rebuilt(None)), [""; 0]);
    let mut world = rebuilt(None);
    // Names move.
    world.registered[0].image = "lab:1".to_owned();
    assert_eq!(removed(&world), [""; 0]);
}

#[test]
fn a_digest_that_proves_nothing_uses_every_image_with_the_layers() {
    // The image is gone, or is another one.
    for of in ["gone", "B"] {
        let mut world = rebuilt(Some(digest(of)));
        world.image(&library("b:1"), "B");
        let removed = removed(&world);
        assert!(!removed.contains(&dangling("A")), "{of}: {removed:?}");
        assert!(!removed.contains(&library("lab:1")), "{of}: {removed:?}");
    }
    // It cannot be read, or its configuration is absent.
    for spoil in [World::corrupt, World::tear, World::lose] {
        let mut world = rebuilt(Some(digest("A2")));
        spoil(&mut world, "A2.config");
        assert!(!removed(&world).contains(&dangling("A")));
    }
    // Its own document is absent here, though another namespace has it.
    let mut world = rebuilt(Some(digest("A2")));
    world.lose("A2").within("other").blob("A2", &[]);
    world.within(World::NAMESPACE);
    assert!(!removed(&world).contains(&dangling("A")));
}

#[test]
fn an_image_that_only_names_the_digest_proves_nothing() {
    // An index that lists the image of the container, which is gone, and has the layers itself.
    let mut world = rebuilt(Some(digest("gone")));
    world.manifest(
        "own",
        Part {
            layers: &["base", "A.layer"],
            ..Part::default()
        },
    );
    world.index("evil", &["gone", "own"]);
    world.record(&library("evil:1"), "evil");
    assert_eq!(removed(&world), [""; 0]);
    // It calls the container's digest a configuration.
    let mut world = rebuilt(Some(digest("gone")));
    let Some(Document::Manifest(children)) = world.documents.get_mut(&digest("A")) else {
        unreachable!("A is a manifest")
    };
    let mut named = children[0].clone();
    named.digest = digest("gone");
    named.kind = DocumentKind::Config;
    children.push(named);
    assert!(!removed(&world).contains(&library("lab:1")));
}

#[test]
fn an_index_is_its_own_image() {
    // The platform's manifest has a record of its own.
    let mut world = rebuilt(Some(digest("index")));
    world.index("index", &["A2"]);
    world.record(&library("multi:1"), "index");
    world.image(&library("c:1"), "C");
    assert_eq!(
        removed(&world),
        [library("c:1"), library("lab:1"), dangling("A")]
    );
}

#[test]
fn the_manifest_counts_where_the_image_is_gone() {
    let mut world = rebuilt(Some(digest("gone")));
    world.registered[0].image_manifest = Some(digest("A2"));
    assert_eq!(removed(&world), [dangling("A")]);
    // The next index of the same platform is another image.
    let mut world = rebuilt(Some(digest("one")));
    world.registered[0].image_manifest = Some(digest("A2"));
    world.index("one", &["A2"]).index("other", &["A2"]);
    world.record(&library("one:1"), "one");
    world.record(&library("other:1"), "other");
    assert!(removed(&world).contains(&library("other:1")));
    assert!(!removed(&world).contains(&library("one:1")));
}

#[test]
fn only_the_snapshots_of_the_container_itself_are_of_its_image() {
    for spoil in [
        |world: &mut World| {
            world.active("volume", &chain(TOP));
            let lease = world.lease("volume", &[crate::world::snapshot("volume")]);
            assert!(lease.expires.is_none());
        },
        |world: &mut World| {
            // Another snapshot under the container's lease.
            world.active("volume", &chain(TOP));
            let volume = crate::world::snapshot("volume");
            world.here().leases[0].resources.push(volume);
        },
        |world: &mut World| {
            let id = container_id();
            world.lease("reader", &[crate::world::snapshot(&id)]);
        },
        |world: &mut World| {
            let id = container_id();
            let key = "containerd.io/gc.ref.snapshot.overlayfs";
            world.sandbox("pod", key, &id);
        },
        |world: &mut World| {
            // A container of another engine on the same snapshot.
            let id = container_id();
            world.container("web", "").on(&id);
        },
    ] {
        let mut world = rebuilt(Some(digest("A2")));
        spoil(&mut world);
        assert_eq!(removed(&world), [""; 0]);
    }
}

#[test]
fn engines_that_disagree_use_both_images() {
    let mut world = rebuilt(Some(digest("A2")));
    world.rebuilt(&library("lab:3"), "A3", "A");
    let again = world.listed(&container_id(), ContainerSource::Engine, "");
    again.image_digest = Some(digest("A3"));
    assert_eq!(removed(&world), [dangling("A")]);
    world.registered[1].image_digest = Some(digest("gone"));
    assert_eq!(removed(&world), [""; 0]);
}

#[test]
fn containers_with_a_snapshot_in_their_record_have_the_image_of_their_digest() {
    let world = |source: ContainerSource| {
        let mut world = World::new();
        world.image(&library("lab:1"), "A");
        world.rebuilt(&library("lab:2"), "A2", "A");
        world.active("web", &chain(TOP));
        // The tag has moved since.
        let container = world.container("web", &library("lab:3")).on("web").of("A2");
        container.source = source;
        world
    };
    // As the CRI plugin notes it, and as nerdctl does.
    for source in [ContainerSource::Engine, ContainerSource::Label] {
        assert_eq!(removed(&world(source)), [library("lab:1")], "{source:?}");
    }
    // As the CRI plugin noted it before containerd 2.4.
    let mut of_config = world(ContainerSource::Engine);
    of_config.here().containers[0].of("A2.config");
    assert_eq!(removed(&of_config), [library("lab:1")]);
}

#[test]
fn a_label_that_an_image_has_itself_proves_nothing() {
    // `lab:2` is the image of the container; its author claims that it is `lab:1`.
    let world = |key: &str| {
        let mut world = World::new();
        world.image(&library("lab:1"), "A");
        let part = Part {
            layers: &["base", "A.layer"],
            labels: &[(key, "x")],
            ..Part::default()
        };
        world.manifest("A2", part).record(&library("lab:2"), "A2");
        world.active("web", &chain(TOP));
        let container = world.container("web", "").on("web").of("A");
        container.source = ContainerSource::Label;
        world
    };
    assert_eq!(removed(&world("other")), [library("lab:2")]);
    assert_eq!(removed(&world(IMAGE_DIGEST_LABEL)), [""; 0]);
    // A configuration that has more labels than are kept may have it.
    let mut unknown = world("other");
    let Some(Document::Config(config)) = unknown.documents.get_mut(&digest("A2.config")) else {
        unreachable!("it is a configuration")
    };
    config.labels_left_out = 1;
    assert_eq!(removed(&unknown), [""; 0]);
    unknown.label_keys.insert(IMAGE_DIGEST_LABEL.to_owned());
    assert_eq!(removed(&unknown), [library("lab:2")]);
}

#[test]
fn a_label_does_not_explain_the_use_of_an_image_that_cannot_be_read() {
    let mut world = World::new();
    world.image(&library("lab:1"), "A");
    world.image(&library("torn:1"), "B");
    world.lose("B.config");
    world.active("web", &chain(TOP));
    world.container("web", "").on("web").of("A");
    assert_eq!(removed(&world), [library("torn:1")]);
    world.here().containers[0].source = ContainerSource::Label;
    let outcome = world.prune_all();
    assert_eq!(outcome.reason(&library("torn:1")), KeepReason::UsageUnknown);
}

#[test]
fn a_lease_that_expired_is_no_use() {
    let mut world = rebuilt(Some(digest("A2")));
    world.here().leases[0].expired();
    world.registered.clear();
    assert_eq!(removed(&world).len(), 2);
}
