//! Manifests and configurations that cannot be read, are torn, or break the specification.

use std::fs::{self, File};
use std::path::PathBuf;

use reclaim_testkit::{Deletion, Descriptor, Labels, Layer, digest_of, image, labels};
use serde_json::{Value, json};

use super::{all_agree, expect, import, only_warning, prune, three_apps};
use crate::rig::Rig;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";

/// Returns the path of a blob's file.
fn path_of(rig: &Rig, blob: &Descriptor) -> PathBuf {
    let algorithm = rig.containerd.content_dir().join(blob.digest.algorithm());
    algorithm.join(blob.digest.hex())
}

/// Truncates a blob's file to half its size, as a full disk or a power cut does.
fn tear(rig: &Rig, blob: &Descriptor) {
    let path = path_of(rig, blob);
    let file = File::options().write(true).open(path).unwrap();
    file.set_len(blob.size / 2).unwrap();
}

#[tokio::test]
async fn an_unreadable_configuration_keeps_its_image_and_no_other() {
    let rig = Rig::quiet().await;
    let apps = three_apps(&rig.namespace).await;
    let config = &apps[0].manifests[0].config;
    let path = path_of(&rig, config);
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    all_agree(&rig);
    for mode in ["--dry-run", "-f"] {
        let report = prune(&rig, &[mode]).exits(0).json();
        expect(&report, &["app1", "app2"], &[("app0", "unreadable")]);
        let warning = only_warning(&report, "app0:1");
        assert!(warning.contains(&config.digest.to_string()), "{warning}");
    }
    assert_eq!(rig.names().await, [apps[0].name().to_owned()].into());
    all_agree(&rig);
    // No container uses it, so it can be removed by name.
    rig.reclaim(&["image", "rm", "app0:1"]).exits(0);
    assert!(rig.names().await.is_empty());
}

/// An unused torn image is removed, because it can never be read again.
#[tokio::test]
async fn removes_an_unused_torn_image() {
    let rig = Rig::quiet().await;
    let apps = three_apps(&rig.namespace).await;
    tear(&rig, &apps[0].manifests[0].config);
    all_agree(&rig);
    for mode in ["--dry-run", "-f"] {
        let report = prune(&rig, &[mode]).exits(0).json();
        expect(&report, &["app0", "app1", "app2"], &[]);
        assert_eq!(report["removed"][0]["reason"], "torn");
        assert_eq!(report["removed"][1]["reason"], "unused");
    }
    assert!(rig.namespace.blobs().await.unwrap().is_empty());
}

/// The labels of a torn configuration are unknown, so a label filter keeps its image.
#[tokio::test]
async fn a_label_filter_keeps_a_torn_image() {
    let rig = Rig::quiet().await;
    let apps = three_apps(&rig.namespace).await;
    tear(&rig, &apps[0].manifests[0].config);
    let report = prune(&rig, &["-f", "--filter", "label!=keep"])
        .exits(0)
        .json();
    let reason = report["kept"][0]["reason"].as_str().unwrap();
    assert!(["label_filter", "unreadable"].contains(&reason), "{reason}");
    expect(&report, &["app1", "app2"], &[("app0", reason)]);
}

/// A container whose snapshot belongs to no readable image may use the torn one.
#[tokio::test]
async fn a_container_of_no_known_image_keeps_a_torn_image() {
    let rig = Rig::quiet().await;
    let apps = three_apps(&rig.namespace).await;
    let lost = image("docker.io/library/lost:1")
        .layers([Layer::named("lost", 300)])
        .unpack("native")
        .build(&rig.namespace)
        .await
        .unwrap();
    rig.namespace.nerdctl_container("web", &lost).await.unwrap();
    rig.namespace
        .delete_image(lost.name(), Deletion::Sync)
        .await
        .unwrap();
    tear(&rig, &apps[0].manifests[0].config);
    all_agree(&rig);
    let report = prune(&rig, &["-f"]).exits(0).json();
    let reason = report["kept"][0]["reason"].as_str().unwrap();
    assert!(
        ["usage_unknown", "unreadable"].contains(&reason),
        "{reason}"
    );
    expect(&report, &["app1", "app2"], &[("app0", reason)]);
    let warning = only_warning(&report, "app0:1");
    assert!(warning.contains("reclaim image rm"), "{warning}");
    // `image rm` refuses it for the same reason. Without the container it is removed.
    let refused = rig.reclaim(&["image", "rm", "app0:1"]).exits(1);
    assert!(refused.stderr.contains("web"), "{}", refused.stderr);
    rig.namespace.delete_container("web").await.unwrap();
    rig.namespace.collect().await.unwrap();
    let report = prune(&rig, &["-f"]).exits(0).json();
    expect(&report, &["app0"], &[]);
}

/// Writes an image that has a configuration and no layers.
async fn write(rig: &Rig, name: &str, config: &Value, schema: Option<u8>) {
    let config = config.to_string().into_bytes();
    let descriptor = json!({
        "mediaType": CONFIG, "digest": digest_of(&config), "size": config.len(),
    });
    let mut manifest = json!({ "mediaType": MANIFEST, "config": descriptor, "layers": [] });
    if let Some(schema) = schema {
        manifest["schemaVersion"] = json!(schema);
    }
    let manifest = manifest.to_string().into_bytes();
    let config_digest = digest_of(&config).to_string();
    let reference = labels([("containerd.io/gc.ref.content.config", &*config_digest)]);
    let documents = [(&*config, Labels::new()), (&*manifest, reference)];
    import(&rig.namespace, name, MANIFEST, &documents).await;
}

fn config(mark: &str, labels: &Value) -> Value {
    json!({
        "os": "linux", "architecture": "amd64", "author": mark,
        "config": { "Labels": labels },
        "rootfs": { "type": "layers", "diff_ids": [] },
    })
}

/// Documents that containerd and Docker accept are valid: a label of null (Jib), thousands of
/// labels, any schema version.
#[tokio::test]
async fn reads_every_document_that_containerd_accepts() {
    let rig = Rig::quiet().await;
    let name = |short: &str| format!("docker.io/library/{short}:1");
    let null = config("null", &json!({ "version": null }));
    write(&rig, &name("null"), &null, Some(2)).await;
    let many: serde_json::Map<String, Value> =
        (0..4097).map(|at| (format!("l{at}"), json!("x"))).collect();
    let mut kept = many.clone();
    write(&rig, &name("many"), &config("many", &many.into()), Some(2)).await;
    // The last label, which a reader that stops early misses.
    kept.insert("zzz".to_owned(), json!("yes"));
    write(&rig, &name("zzz"), &config("zzz", &kept.into()), Some(2)).await;
    write(&rig, &name("zero"), &config("zero", &json!({})), Some(0)).await;
    write(&rig, &name("absent"), &config("absent", &json!({})), None).await;
    all_agree(&rig);
    let report = prune(&rig, &["-f", "--filter", "label!=zzz"])
        .exits(0)
        .json();
    let removed = ["absent", "many", "null", "zero"];
    expect(&report, &removed, &[("zzz", "label_filter")]);
    let report = prune(&rig, &["-f"]).exits(0).json();
    expect(&report, &["zzz"], &[]);
}

/// Returns the peak memory of a process in MiB, or `None` once it has ended.
fn peak_mib(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib >> 10)
}

/// Labels are kept up to a limit, and those that a filter names in any case. Documents are read
/// both from containerd's files and over its API.
#[tokio::test]
async fn images_with_megabytes_of_labels_take_bounded_memory() {
    let rig = Rig::quiet().await;
    for image in 0..60 {
        let value = format!("{image:02}").repeat(1000);
        let labels: serde_json::Map<String, Value> = (0..4000)
            .map(|at| (format!("label-{at}"), json!(value)))
            .chain([("zzz".to_owned(), json!(image.to_string()))])
            .collect();
        let name = format!("docker.io/library/l{image:02}:1");
        write(&rig, &name, &config(&name, &labels.into()), Some(2)).await;
    }
    for remote in [false, true] {
        let mut args = vec!["image", "prune", "-a", "--dry-run", "--format", "json"];
        args.extend(["--filter", "label=zzz=17"]);
        args.extend(remote.then_some("--remote"));
        let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_reclaim"))
            .env_clear()
            .args(args)
            .env("CONTAINERD_ADDRESS", rig.containerd.address())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut peak = 0;
        while child.try_wait().unwrap().is_none() {
            peak = peak.max(peak_mib(child.id()).unwrap_or(0));
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        let output = child.wait_with_output().unwrap();
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let removed = report["removed"].as_array().unwrap();
        assert_eq!(removed.len(), 1, "{report:#}");
        assert_eq!(removed[0]["name"], "docker.io/library/l17:1");
        assert!(peak < 300, "{peak} MiB, remote: {remote}");
        println!("{peak} MiB, remote: {remote}");
    }
}
