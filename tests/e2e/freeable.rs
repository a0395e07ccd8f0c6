//! What `df` shows as freed by each step: the same as the dry runs of the commands, and as the runs.

use jiff::{SignedDuration, Timestamp};
use reclaim_model::Platform;
use reclaim_testkit::{
    Deletion, Labels, Layer, LeaseResource, Manifest, NamespaceClient, NewLease, image, index,
};
use serde_json::Value;

use crate::output::assert_output_snapshot;
use crate::rig::Rig;

const NOTHING: u64 = 0;

/// The commands that carry out each step alone.
const COMMANDS: [(&str, &[&str]); 5] = [
    ("build_history", &["slim", "--all", "--build-history"]),
    ("snapshots", &["slim", "--all", "--snapshots"]),
    ("layers", &["slim", "--all", "--layers"]),
    ("platforms", &["slim", "--all", "--platforms"]),
    ("images", &["prune", "--all"]),
];

/// Notes that an image can be pulled again.
async fn pulled(namespace: &NamespaceClient, target: &reclaim_model::Digest, repository: &str) {
    let source = "containerd.io/distribution.source.docker.io";
    let label = namespace.set_blob_label(target, source, repository);
    label.await.unwrap();
}

/// Fills a namespace with something for every step.
async fn populate(rig: &Rig) {
    let here = &rig.namespace;
    for (name, is_used) in [("used", true), ("idle", false)] {
        let layers = [Layer::named("base", 40_000), Layer::named(name, 7_000)];
        let built = image(&format!("docker.io/library/{name}:1"))
            .layers(layers)
            .unpack("native")
            .build(here)
            .await
            .unwrap();
        pulled(here, &built.target.digest, &format!("library/{name}")).await;
        if is_used {
            here.nerdctl_container("web", &built).await.unwrap();
        }
    }
    // Two namespaces have this image, so that removing it here frees its snapshots only.
    for namespace in [here, &rig.containerd.namespace("k8s.io")] {
        let built = image("docker.io/library/both:1")
            .layers([Layer::named("both", 5_000)])
            .unpack("native");
        let built = built.build(namespace).await.unwrap();
        pulled(namespace, &built.target.digest, "library/both").await;
    }
    let host = Platform::host();
    let host = format!("{}/{}", host.os, host.architecture);
    let platform = |name: &str| Manifest::new(name).layers([Layer::named(name, 3_000)]);
    let several = index("docker.io/library/several:1")
        .manifest(platform(&host))
        .manifest(platform("linux/s390x"));
    let several = several.build(here).await.unwrap();
    pulled(here, &several.target.digest, "library/several").await;

    let old = image("docker.io/library/old:1")
        .layers([Layer::named("old", 9_000)])
        .unpack("native");
    let old = old.build(here).await.unwrap();
    here.create_lease(NewLease::new("history")).await.unwrap();
    let config = LeaseResource::content(&old.manifests[0].config.digest);
    here.add_lease_resource("history", &config).await.unwrap();
    here.delete_image("docker.io/library/old:1", Deletion::Sync)
        .await
        .unwrap();

    here.create_lease(NewLease::new("writer")).await.unwrap();
    let writer = here.with_lease("writer");
    let none = Labels::new();
    let expired = writer.write_blob(b"of an expired lease", &none).await;
    writer.write_blob(b"garbage", &none).await.unwrap();
    let past = Timestamp::now() - SignedDuration::from_secs(60);
    let lease = NewLease::new("past").expires(past);
    here.create_lease(lease).await.unwrap();
    let expired = LeaseResource::content(&expired.unwrap());
    here.add_lease_resource("past", &expired).await.unwrap();
    here.delete_lease("writer", Deletion::Async).await.unwrap();
}

fn freeable(rig: &Rig) -> Value {
    let usage = rig.reclaim(&["df", "--format=json"]).exits(0).json();
    let namespaces = usage["namespaces"].as_array().unwrap();
    let here = namespaces.iter().find(|it| it["namespace"] == "default");
    here.unwrap()["freeable"].clone()
}

fn bytes(amount: &Value) -> u64 {
    let of = |field: &str| amount[field].as_u64().unwrap();
    of("content_bytes") + of("snapshot_bytes")
}

fn run(rig: &Rig, args: &[&str], more: &[&str]) -> Value {
    let args = [
        &["image"],
        args,
        &["-f", "--grace=10ms", "--format=json"],
        more,
    ]
    .concat();
    rig.reclaim(&args).exits(0).json()
}

#[tokio::test]
async fn each_step_is_what_its_dry_run_says() {
    let rig = Rig::quiet().await;
    populate(&rig).await;
    let freeable = freeable(&rig);
    for (step, args) in COMMANDS {
        let dry = run(&rig, args, &["--dry-run"]);
        assert_eq!(dry["estimate"], freeable[step], "{step}: {freeable:#}");
        assert_eq!(dry["pending"], freeable["garbage"], "{step}: {freeable:#}");
        assert!(bytes(&freeable[step]) > NOTHING, "{step}: {freeable:#}");
    }
    let garbage = "of an expired lease".len() + "garbage".len();
    assert_eq!(freeable["garbage"]["content_bytes"], garbage);
    rig.namespace.collect().await.unwrap();
    let garbage = &self::freeable(&rig)["garbage"];
    assert_eq!(bytes(garbage), NOTHING, "the next collection frees it");
}

/// The steps in their order, each as `df` shows it after the one before.
#[tokio::test]
async fn each_run_frees_what_was_shown_before_it() {
    let rig = Rig::quiet().await;
    populate(&rig).await;
    for (step, args) in COMMANDS {
        let shown = freeable(&rig)[step].clone();
        let report = run(&rig, args, &[]);
        assert_eq!(report["reclaimed"], shown, "{step}");
        assert_eq!(bytes(&freeable(&rig)[step]), NOTHING, "{step}");
    }
}

#[tokio::test]
async fn the_table_has_a_row_for_each_namespace() {
    let rig = Rig::quiet().await;
    populate(&rig).await;
    let text = rig.reclaim(&["df"]).exits(0).stdout;
    let begin = text.find("Each step").unwrap();
    let end = text.find("TYPE").unwrap();
    assert_output_snapshot!(&text[begin..end], @"
    Each step alone would free now:

    NAMESPACE  GARBAGE  HISTORY  SNAPSHOTS  LAYERS  PLATFORMS  IMAGES
    default  SIZE  SIZE  SIZE  SIZE  SIZE  SIZE
    k8s.io  SIZE  SIZE  SIZE  SIZE  SIZE  SIZE
    ");
    let one = rig.reclaim(&["df", "-n", "k8s.io"]).exits(0).stdout;
    assert_eq!(one.matches("k8s.io ").count(), 2, "{one}");
    assert!(!one.contains("default "), "{one}");
}
