//! Images that containerd's CRI plugin pulled for pods, as the kubelet sees them.

use std::time::Duration;

use reclaim_testkit::{Deletion, Labels, Layer, NewContainer, image};
use serde_json::{Value, json};

use crate::node::{Node, PRUNE, image_id, records};
use crate::rig::{entry, names};

/// All records of an unused image are removed together, and the plugin no longer lists it and can
/// pull it again. The image of a pod's container stays whole.
#[tokio::test]
async fn removes_all_records_of_an_image_and_the_plugin_notices() {
    let node = Node::start().await;
    let idle = node.pulled("team/idle:1").await;
    let used = node.pulled("team/used:1").await;
    let namespace = &node.rig.namespace;
    namespace.cri_sandbox("pod", &node.pause).await.unwrap();
    namespace.cri_container("web", "pod", &used).await.unwrap();
    let before = node.agrees().await;
    assert_eq!(before.len(), 9, "{before:#?}");

    let dry: Value = node
        .rig
        .reclaim(&[&PRUNE[..], &["--dry-run"]].concat())
        .exits(0)
        .json();
    let report = node.prune();
    let gone: Vec<String> = records(&idle).into_iter().collect();
    assert_eq!(names(&report["removed"]), gone);
    assert_eq!(report["reclaimed"], dry["estimate"]);
    let after = node.agrees().await;
    assert_eq!(after, &records(&used) | &records(&node.pause));
    assert_eq!(node.cri.image(idle.name()).await.unwrap(), None);
    let id = image_id(&idle);
    assert_eq!(node.cri.image(&id).await.unwrap(), None);
    let there = node.cri.image(used.name()).await.unwrap().unwrap();
    assert_eq!(there.records(), records(&used));
    for name in records(&used) {
        let reason = &entry(&report["kept"], &name)["reason"];
        assert!(*reason == "in_use" || *reason == "cri_group", "{reason}");
    }
    let blobs = namespace.blobs().await.unwrap();
    assert!(!blobs.contains_key(&idle.target.digest));
    assert!(used.blobs.keys().all(|digest| blobs.contains_key(digest)));

    // The plugin knows that content is missing, and pulls it again.
    node.cri.pull(idle.name()).await.unwrap();
    assert_eq!(node.agrees().await, before);
    let blobs = namespace.blobs().await.unwrap();
    assert!(idle.blobs.keys().all(|digest| blobs.contains_key(digest)));
}

/// The plugin's metadata of a container keeps its image where neither the name nor a snapshot
/// shows the use.
#[tokio::test]
async fn keeps_an_image_that_only_the_plugins_metadata_shows_in_use() {
    let node = Node::start().await;
    let app = node.pulled("team/app:1").await;
    let other = node.pulled("team/other:1").await;
    let id = image_id(&app);
    let metadata = json!({"Version": "v1", "Metadata": {"ID": "web", "ImageRef": id}});
    let container = NewContainer::new("web")
        .image("gone.example/app:1")
        .extension(
            "io.cri-containerd.container.metadata",
            "github.com/containerd/cri/pkg/store/container/Metadata",
            metadata.to_string().into_bytes(),
        );
    let namespace = &node.rig.namespace;
    namespace.create_container(container).await.unwrap();
    node.reclaim(&["pin", node.pause.name()]).exits(0);
    let report = node.prune();
    let gone: Vec<String> = records(&other).into_iter().collect();
    assert_eq!(names(&report["removed"]), gone);
    let holders = json!([{"kind": "container", "id": "web"}]);
    assert_eq!(entry(&report["kept"], app.name())["holders"], holders);
}

/// `pin` also pins for the kubelet, and `unpin` leaves the plugin's own pins alone.
#[tokio::test]
async fn the_kubelet_sees_pins() {
    let node = Node::start().await;
    let app = node.pulled("team/app:1").await;
    node.agrees().await;
    let is_pinned = async |wanted: bool| {
        for _ in 0..1500 {
            let found = node.cri.image(app.name()).await.unwrap().unwrap();
            if found.pinned == (wanted && node.knows_pins()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the plugin does not report pinned: {wanted}");
    };
    let id = image_id(&app);
    let output = node.reclaim(&["pin", &id]);
    assert_eq!(output.exits(0).stdout.lines().count(), 3);
    is_pinned(true).await;
    let report = node.prune();
    let kept = names(&report["kept"]);
    assert!(
        records(&app)
            .iter()
            .all(|name| kept.contains(&name.as_str()))
    );
    assert_eq!(entry(&report["kept"], app.name())["reason"], "pinned");
    is_pinned(true).await;

    // Pulling again may drop the pin of the tag, but not of the image's other records.
    node.cri.pull(app.name()).await.unwrap();
    let report = node.prune();
    assert_eq!(names(&report["removed"]).len(), 0);

    node.reclaim(&["unpin", app.name()]).exits(0);
    is_pinned(false).await;
    let pause = node.pause.name();
    if node.knows_pins() {
        let output = node.reclaim(&["unpin", pause]).exits(1);
        assert!(
            output.stderr.contains("not pinned by reclaim"),
            "{output:?}"
        );
        let found = node.cri.image(pause).await.unwrap().unwrap();
        assert!(found.pinned);
        let report = node.prune();
        assert_eq!(names(&report["removed"]).len(), 3);
        assert_eq!(node.agrees().await, records(&node.pause));
    }
}

/// The plugin lists restored images again, also after a restart of containerd.
#[tokio::test]
async fn the_plugin_notices_an_undo() {
    let mut node = Node::start().await;
    let app = node.pulled("team/app:1").await;
    node.reclaim(&["pin", node.pause.name()]).exits(0);
    let before = node.agrees().await;
    let held = [&PRUNE[..], &["--undo-window", "1h"]].concat();
    node.rig.reclaim(&held).exits(0);
    assert_eq!(node.agrees().await, records(&node.pause));
    node.reclaim(&["undo"]).exits(0);
    assert_eq!(node.agrees().await, before);
    let found = node.cri.image(app.name()).await.unwrap().unwrap();
    assert_eq!(found.records(), records(&app));
    node.rig.containerd.restart().await;
    node.cri = node.rig.containerd.cri().await;
    assert_eq!(node.agrees().await, before);
    node.prune();
    assert_eq!(node.agrees().await, records(&node.pause));
}

#[tokio::test]
async fn an_image_that_the_kubelet_removed_is_no_failure() {
    let node = Node::start().await;
    let app = node.pulled("team/app:1").await;
    node.reclaim(&["pin", node.pause.name()]).exits(0);
    node.agrees().await;
    node.cri.remove(app.name()).await.unwrap();
    let report = node.prune();
    assert_eq!(names(&report["removed"]).len(), 0);
    assert_eq!(report["failed"], json!([]));
    assert_eq!(node.agrees().await, records(&node.pause));
}

/// Waits until the plugin manages a record.
async fn until_managed(node: &Node, name: &str) {
    for _ in 0..1500 {
        let record = node.rig.namespace.image_record(name).await.unwrap();
        if record.labels.contains_key("io.cri-containerd.image") {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the plugin does not manage {name}");
}

// The plugin lists records with a name that is not canonical, such as `import-…@sha256:…`, until
// it restarts, even after they are removed. These tests therefore compare with containerd's list.

/// `image rm` of an image ID also removes another manifest of the same configuration, which an
/// import created, and `undo` restores both. In use, both stay and the conflict names them.
#[tokio::test]
async fn an_image_id_includes_what_an_import_created() {
    let node = Node::start().await;
    let name = "team/alpine:1";
    let app = node.pulled(name).await;
    let namespace = &node.rig.namespace;
    let twin = image("docker.io/library/twin:1")
        .docker_schema2()
        .layers([Layer::named("base", 2000), Layer::named(name, 500)])
        .unpack("native")
        .build(namespace)
        .await
        .unwrap();
    let id = image_id(&app);
    assert_eq!(image_id(&twin), id);
    assert_ne!(twin.target.digest, app.target.digest);
    let import = format!("import-2022-11-18@{}", twin.target.digest);
    let (target, labels) = (&twin.target, Labels::new());
    namespace
        .create_image(&import, target, &labels)
        .await
        .unwrap();
    until_managed(&node, &import).await;
    let deletion = namespace.delete_image(twin.name(), Deletion::Async);
    deletion.await.unwrap();
    node.reclaim(&["pin", node.pause.name()]).exits(0);
    let before = node.rig.names().await;
    assert!(
        before.contains(&import) && before.contains(&id),
        "{before:#?}"
    );

    let short = &id["sha256:".len()..][..13];
    let hold = ["image", "rm", "--undo-window", "1h", short];
    let output = node.reclaim(&hold).exits(0);
    for image in [&app, &twin] {
        let deleted = format!("Deleted: {}", image.target.digest);
        assert!(output.stdout.contains(&deleted), "{output:?}");
    }
    assert_eq!(node.rig.names().await, records(&node.pause));
    node.reclaim(&["image", "rm", short]).exits(1);
    node.reclaim(&["undo"]).exits(0);
    assert_eq!(node.rig.names().await, before);

    namespace.cri_sandbox("pod", &node.pause).await.unwrap();
    namespace.cri_container("web", "pod", &app).await.unwrap();
    let output = node.reclaim(&["image", "rm", short]).exits(1);
    for name in [&*import, app.name(), &id] {
        assert!(output.stderr.contains(name), "{name}: {output:?}");
    }
    assert_eq!(node.rig.names().await, before);
}

/// An import creates a record without a name, and the plugin adds one by ID.
#[tokio::test]
async fn an_import_without_a_name_is_dangling() {
    let node = Node::start().await;
    let namespace = &node.rig.namespace;
    let old = image("docker.io/library/old:1")
        .layers([Layer::named("old", 500)])
        .unpack("native")
        .build(namespace)
        .await
        .unwrap();
    let import = format!("import-2022-11-18@{}", old.target.digest);
    let (target, labels) = (&old.target, Labels::new());
    namespace
        .create_image(&import, target, &labels)
        .await
        .unwrap();
    until_managed(&node, &import).await;
    // The image still has a name.
    let prune = ["image", "prune", "-f", "--format", "json"];
    let report = node.reclaim(&prune).exits(0).json();
    assert_eq!(names(&report["removed"]).len(), 0);
    let deletion = namespace.delete_image(old.name(), Deletion::Async);
    deletion.await.unwrap();
    let report = node.reclaim(&prune).exits(0).json();
    assert_eq!(names(&report["removed"]), [&*import, &image_id(&old)]);
    assert_eq!(report["removed"][0]["reason"], "dangling");
    assert_eq!(node.rig.names().await, records(&node.pause));
    let blobs = namespace.blobs().await.unwrap();
    assert!(!blobs.contains_key(&old.target.digest));
}
