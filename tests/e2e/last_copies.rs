//! Policies without `last_copies` remove what its own repository has, and nothing else.

use std::collections::BTreeSet;
use std::fs;

use reclaim_testkit::{Containerd, Layer, image};
use serde_json::Value;

use crate::node::{Node, records};
use crate::rig::{entry, names};

const NAMESPACES: &str = "[containerd]\nnamespaces = [\"default\", \"k8s.io\"]\n";
const POLICY: &str = "[[policy]]\nname = \"p\"\nall = true\nmin_age = \"0s\"\n";

/// The labels are those that containerd writes when it pulls. Another name of the same content, as
/// of an image that was preloaded, has no source: it stays, and with it all records of a CRI image.
#[tokio::test]
async fn a_policy_removes_a_name_only_if_its_own_repository_has_the_image() {
    let node = Node::start_on(Containerd::builder(), |image| image).await;
    let pulled = node.pulled("team/pulled:1").await;
    let preloaded = node.pulled("team/preloaded:1").await;
    let other_name = "registry.internal/preloaded:1";
    preloaded
        .tag(&node.rig.namespace, other_name)
        .await
        .unwrap();

    // The same outside of Kubernetes, where each record goes or stays alone.
    let default = node.rig.containerd.namespace("default");
    let built = image("docker.io/library/built:1")
        .layers([Layer::named("base", 2000)])
        .build(&default)
        .await
        .unwrap();
    let two_names = image("docker.io/library/two:1")
        .layers([Layer::named("two", 2000)])
        .build(&default)
        .await
        .unwrap();
    two_names
        .tag(&default, "registry.internal/two:1")
        .await
        .unwrap();
    let labels = node.rig.namespace.blob_labels(&pulled.target.digest);
    let labels = labels.await.unwrap();
    let source = "containerd.io/distribution.source.127.0.0.1";
    assert_eq!(labels[source], "team/pulled");
    let source = ("containerd.io/distribution.source.docker.io", "library/two");
    default
        .set_blob_label(&two_names.target.digest, source.0, source.1)
        .await
        .unwrap();
    let layer = &built.manifests[0].layers[0].digest;
    default
        .set_blob_label(layer, source.0, "library/built")
        .await
        .unwrap();
    node.agrees().await;

    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("config.toml");
    let protect = format!("[protect]\nreferences = [{:?}]\n", node.pause.name());
    fs::write(&config, format!("{NAMESPACES}{protect}{POLICY}")).unwrap();
    let state = directory.path().join("state");
    let paths = [
        "--config",
        config.to_str().unwrap(),
        "--state",
        state.to_str().unwrap(),
    ];
    let output = node
        .rig
        .reclaim(&[&["maintain", "--once", "--format", "json"], &paths[..]].concat());
    let run = output.exits(0).json();
    let reports = run["runs"][0]["reports"].as_array().unwrap();
    let removed = |report: &Value| -> BTreeSet<String> {
        names(&report["removed"])
            .into_iter()
            .map(str::to_owned)
            .collect()
    };
    assert_eq!(
        removed(&reports[0]),
        ["docker.io/library/two:1".to_owned()].into()
    );
    assert_eq!(removed(&reports[1]), records(&pulled));
    for (report, name) in [
        (&reports[0], "docker.io/library/built:1"),
        (&reports[0], "registry.internal/two:1"),
        (&reports[1], other_name),
    ] {
        assert_eq!(entry(&report["kept"], name)["reason"], "last_copy");
    }
    let left = node.rig.names().await;
    assert!(records(&preloaded).is_subset(&left), "{left:?}");
    assert!(left.contains(other_name), "{left:?}");
}
