//! `why`: the reference path from each holder, and what happens to content without a holder.

use jiff::{SignedDuration, Timestamp};
use reclaim_testkit::{
    Deletion, Labels, Layer, LeaseResource, Manifest, NewLease, image, index, labels,
};
use serde_json::Value;

use crate::output::assert_output_snapshot;
use crate::rig::Rig;

fn why(rig: &Rig, thing: &str) -> Value {
    let output = rig
        .reclaim(&["why", thing, "--format", "json"])
        .exits(0)
        .json();
    let answers = output["answers"].as_array().unwrap();
    assert_eq!(answers.len(), 1, "{output:#}");
    answers[0].clone()
}

/// Returns the kinds of what is on the reference path from a holder.
fn path(answer: &Value, kind: &str, id: &str) -> Vec<String> {
    let holder = answer["holders"]
        .as_array()
        .unwrap()
        .iter()
        .find(|holder| holder["holder"]["kind"] == kind && holder["holder"]["id"] == id)
        .unwrap_or_else(|| panic!("no {kind} {id} in {answer:#}"));
    holder["chain"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| step["kind"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn a_container_holds_its_image_through_its_snapshot() {
    let rig = Rig::quiet().await;
    let platform =
        Manifest::new("linux/amd64").layers([Layer::random(1, 900), Layer::random(2, 800)]);
    let web = index("docker.io/library/web:1")
        .manifest(platform.unpack("overlayfs"))
        .build(&rig.namespace)
        .await
        .unwrap();
    rig.namespace.nerdctl_container("c1", &web).await.unwrap();
    let answer = why(&rig, "web:1");
    let expected = [
        "snapshot", "snapshot", "config", "manifest", "index", "image",
    ];
    assert_eq!(path(&answer, "container", "c1"), expected);
    assert_eq!(answer["fate"]["fate"], "held");
    assert_eq!(answer["verdicts"]["prune"]["reason"], "not_dangling");
    assert_eq!(answer["verdicts"]["prune_all"]["reason"], "in_use");
    assert_eq!(answer["verdicts"]["prune_all"]["holders"][0]["id"], "c1");

    // The image holds its layers, and the answer says that the image stays.
    let layer = &web.manifests[0].layers[0].digest;
    let answer = why(&rig, &layer.hex()[..12]);
    let held_by = path(&answer, "image", "docker.io/library/web:1");
    assert_eq!(held_by, ["index", "manifest", "content"]);
    assert_eq!(answer["holders"][0]["prune_all"]["reason"], "in_use");
    assert_eq!(
        why(&rig, &layer.hex()[..12]),
        answer,
        "a short digest means the same"
    );

    // The container and the image hold the top snapshot.
    let chain = web.manifests[0].chain_ids.last().unwrap().to_string();
    let answer = why(&rig, &format!("overlayfs/{chain}"));
    assert_eq!(path(&answer, "container", "c1"), ["snapshot", "snapshot"]);
    let expected = ["index", "manifest", "config", "snapshot"];
    assert_eq!(path(&answer, "image", "docker.io/library/web:1"), expected);
    assert_eq!(why(&rig, &chain), answer, "the key alone is enough");
    // The key of the lowest snapshot is the digest of its uncompressed layer.
    let layer = layer.to_string();
    let output = rig
        .reclaim(&["why", &layer, "--format", "json"])
        .exits(0)
        .json();
    let kinds = [0, 1].map(|at| output["answers"][at]["thing"]["kind"].clone());
    assert_eq!(kinds, ["content", "snapshot"]);

    let text = rig.reclaim(&["why", "web:1"]).exits(0).stdout;
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines[0],
        "image docker.io/library/web:1 in namespace default"
    );
    assert_eq!(lines[1], "used by 1 holder:");
    assert_eq!(lines[2], "  container c1");
    assert_eq!(lines[3], "    snapshot overlayfs/c1 (of the container)");
    assert!(lines[5].starts_with("        config sha256:"), "{text}");
    assert_eq!(
        lines.last(),
        Some(&"prune -a: keeps it: in use: container c1")
    );
}

/// All labels that refer to a layer are named: a pull writes one, and a builder another.
#[tokio::test]
async fn names_the_labels_that_keep_a_layer() {
    let rig = Rig::quiet().await;
    let app = image("docker.io/library/app:1")
        .layers([Layer::random(1, 900), Layer::random(2, 800)])
        .unpack("overlayfs")
        .build(&rig.namespace)
        .await
        .unwrap();
    let layer = app.manifests[0].layers[1].digest.to_string();
    let target = &app.target.digest;
    let builders = "containerd.io/gc.ref.content.7";
    let setting = rig.namespace.set_blob_label(target, builders, &layer);
    setting.await.unwrap();
    let labels = rig.namespace.blob_labels(target).await.unwrap();
    let keys = labels.iter().filter(|(_, value)| **value == layer);
    let keys: Vec<&String> = keys.map(|(key, _)| key).collect();
    assert_eq!(keys.len(), 2, "{labels:?}");

    let answer = why(&rig, &layer);
    let chain = &answer["holders"][0]["chain"];
    assert_eq!(chain[0]["by"], "target");
    assert_eq!(chain[0]["labels"], Value::Null);
    assert_eq!(chain[1]["by"], "label");
    assert_eq!(chain[1]["labels"], serde_json::json!(keys));
    let text = rig.reclaim(&["why", &layer]).exits(0).stdout;
    let expected = format!(" (label {}, {})", keys[0], keys[1]);
    assert!(text.contains(&expected), "{text}");

    // Without them nothing keeps it, as the answer says.
    let top = app.manifests[0].chain_ids.last().unwrap();
    let answer = why(&rig, &format!("overlayfs/{top}"));
    let chain = answer["holders"][0]["chain"].as_array().unwrap();
    let labels = &chain.last().unwrap()["labels"];
    assert_eq!(labels[0], "containerd.io/gc.ref.snapshot.overlayfs");
    let config = &app.manifests[0].config.digest;
    let cutting = rig
        .namespace
        .set_blob_label(config, labels[0].as_str().unwrap(), "");
    cutting.await.unwrap();
    let answer = why(&rig, &format!("overlayfs/{top}"));
    assert_eq!(answer["fate"]["fate"], "next_collection");
}

#[tokio::test]
async fn a_stopped_docker_container_holds_its_image_through_its_lease() {
    let rig = Rig::quiet().await;
    let app = image("docker.io/library/app:1")
        .layers([Layer::random(1, 900)])
        .unpack("native")
        .build(&rig.namespace)
        .await
        .unwrap();
    let id = "ab".repeat(32);
    rig.namespace
        .docker_stopped_container(&id, &app)
        .await
        .unwrap();
    let answer = why(&rig, "app:1");
    // The lease lists the snapshot `<id>-init`, whose parent is the image's.
    assert_eq!(
        path(&answer, "lease", &id),
        ["snapshot", "snapshot", "config", "manifest", "image"]
    );
}

/// A label holds content for good, a lease until it expires, and content without a holder lasts
/// until the next collection.
#[tokio::test]
async fn says_when_content_is_collected() {
    let rig = Rig::quiet().await;
    let here = &rig.namespace;
    here.create_lease(NewLease::new("writer")).await.unwrap();
    let writer = here.with_lease("writer");
    let none = Labels::new();
    let root = labels([("containerd.io/gc.root", "x")]);
    let rooted = writer.write_blob(b"a root", &root).await.unwrap();
    let leased = writer
        .write_blob(b"leased for an hour", &none)
        .await
        .unwrap();
    let garbage = writer.write_blob(b"garbage", &none).await.unwrap();
    let until = Timestamp::now() + SignedDuration::from_hours(1);
    here.create_lease(NewLease::new("hour").expires(until))
        .await
        .unwrap();
    here.add_lease_resource("hour", &LeaseResource::content(&leased))
        .await
        .unwrap();
    here.delete_lease("writer", Deletion::Async).await.unwrap();

    let answer = why(&rig, &rooted.to_string());
    assert_eq!(path(&answer, "content", &rooted.to_string()), ["content"]);
    assert_eq!(answer["fate"]["fate"], "held");
    let answer = why(&rig, &leased.to_string());
    assert_eq!(answer["fate"]["fate"], "expires");
    assert_eq!(answer["fate"]["holder"]["id"], "hour");
    let text = rig.reclaim(&["why", &leased.to_string()]).exits(0).stdout;
    let expected = format!(
        "the first collection after {until:.0}, when unfinished pull hour expires, frees it"
    );
    assert!(text.contains(&expected), "{text}");
    let answer = why(&rig, &garbage.to_string());
    assert_eq!(answer["holders"].as_array().unwrap().len(), 0);
    assert_eq!(answer["fate"]["fate"], "next_collection");
    here.collect().await.unwrap();
    assert!(!here.blobs().await.unwrap().contains_key(&garbage));
    rig.reclaim(&["why", &garbage.to_string()]).exits(1);
}

#[tokio::test]
async fn names_holders_in_other_namespaces() {
    let rig = Rig::quiet().await;
    let there = rig.containerd.namespace("k8s.io");
    let layer = || [Layer::random(1, 900)];
    let built = image("docker.io/library/a:1")
        .layers(layer())
        .build(&rig.namespace)
        .await
        .unwrap();
    image("docker.io/library/b:1")
        .layers(layer())
        .build(&there)
        .await
        .unwrap();
    let answer = why(&rig, &built.manifests[0].layers[0].digest.to_string());
    let namespaces: Vec<&Value> = answer["holders"]
        .as_array()
        .unwrap()
        .iter()
        .map(|holder| &holder["namespace"])
        .collect();
    assert_eq!(namespaces, ["default", "k8s.io"]);
}

#[tokio::test]
async fn suggests_similar_names_for_an_unknown_one() {
    let rig = Rig::quiet().await;
    let there = rig.containerd.namespace("k8s.io");
    let build = |name: &'static str, seed, namespace| {
        image(name)
            .layers([Layer::random(seed, 100)])
            .build(namespace)
    };
    build("docker.io/library/nginx:1", 1, &rig.namespace)
        .await
        .unwrap();
    build("docker.io/library/nginx:9", 2, &there).await.unwrap();
    let output = rig.reclaim(&["why", "nginx:9"]).exits(1);
    assert_output_snapshot!(output.stderr, @"
    error: no image, content or snapshot `nginx:9` in namespace `default`
    hint: did you mean nginx:9 in namespace k8s.io, nginx:1?
    ");
    assert_eq!(output.stdout, "");
    let output = rig.reclaim(&["why", "nothing-of-the-kind"]).exits(1);
    assert_output_snapshot!(output.stderr, @"error: no image, content or snapshot `nothing-of-the-kind` in namespace `default`");
}
