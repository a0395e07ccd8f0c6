//! Documents that cannot be read, are torn, or break the specification.

use std::fs::{self, File};
use std::path::PathBuf;

use reclaim_testkit::{Deletion, Descriptor, Labels, Layer, digest_of, image, labels};
use serde_json::{Value, json};

use super::{all_agree, expect, import, only_warning, prune, three_apps};
use crate::rig::Rig;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";

/// The file of a blob.
fn file(rig: &Rig, blob: &Descriptor) -> PathBuf {
    let algorithm = rig.containerd.content_dir().join(blob.digest.algorithm());
    algorithm.join(blob.digest.hex())
}

/// Cuts a blob's file off in the middle, as a full disk or a power cut does.
fn tear(rig: &Rig, blob: &Descriptor) {
    let file = File::options().write(true).open(file(rig, blob)).unwrap();
    file.set_len(blob.size / 2).unwrap();
}

/// A blob that cannot be read keeps the images that refer to it, and no other.
#[tokio::test]
async fn a_configuration_that_cannot_be_read_keeps_its_image() {
    let rig = Rig::quiet().await;
    let apps = three_apps(&rig.namespace).await;
    let config = &apps[0].manifests[0].config;
    let file = file(&rig, config);
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    all_agree(&rig);
    for mode in ["--dry-run", "-f"] {
        let report = prune(&rig, &[mode]).exits(0).json();
        expect(&report, &["app1", "app2"], &[("app0", "unreadable")]);
        let warning = only_warning(&report, "app0:1");
        assert!(warning.contains(&config.digest.to_string()), "{warning}");
    }
    assert_eq!(rig.names().await, [apps[0].name().to_owned()].into());
    all_agree(&rig);
    // Nothing uses it, so its name removes it.
    rig.reclaim(&["image", "rm", "app0:1"]).exits(0);
    assert!(rig.names().await.is_empty());
}

/// A torn image that nothing can use goes: no retry will ever read it.
#[tokio::test]
async fn a_torn_image_that_is_not_used_goes() {
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

/// The labels of a torn configuration cannot be seen, so a filter by labels spares its image.
#[tokio::test]
async fn a_torn_image_stays_with_a_label_filter() {
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

/// A container that stands on what no image explains may stand on the torn one.
#[tokio::test]
async fn a_torn_image_stays_with_a_container_that_nothing_explains() {
    let rig = Rig::quiet().await;
    let apps = three_apps(&rig.namespace).await;
    let lost = image("docker.io/library/lost:1").layers([Layer::named("lost", 300)]);
    let lost = lost.unpack("native").build(&rig.namespace).await.unwrap();
    rig.namespace.nerdctl_container("web", &lost).await.unwrap();
    let deleted = rig.namespace.delete_image(lost.name(), Deletion::Sync);
    deleted.await.unwrap();
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
    // By name it is refused for the same reason; without the container it goes.
    let refused = rig.reclaim(&["image", "rm", "app0:1"]).exits(1);
    assert!(refused.stderr.contains("web"), "{}", refused.stderr);
    rig.namespace.delete_container("web").await.unwrap();
    rig.namespace.collect().await.unwrap();
    let report = prune(&rig, &["-f"]).exits(0).json();
    expect(&report, &["app0"], &[]);
}

/// Writes an image of one manifest without layers over a configuration.
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
    let reference = digest_of(&config).to_string();
    let reference = labels([("containerd.io/gc.ref.content.config", &*reference)]);
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

/// Documents that containerd and Docker accept are accepted: a label of null (Jib), thousands of
/// labels, any schema version.
#[tokio::test]
async fn documents_are_read_as_go_reads_them() {
    let rig = Rig::quiet().await;
    let name = |short: &str| format!("docker.io/library/{short}:1");
    let null = config("null", &json!({ "version": null }));
    write(&rig, &name("null"), &null, Some(2)).await;
    let many: serde_json::Map<String, Value> =
        (0..4097).map(|at| (format!("l{at}"), json!("x"))).collect();
    let mut kept = many.clone();
    write(&rig, &name("many"), &config("many", &many.into()), Some(2)).await;
    // Last, so that a reader which stops early misses it.
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

/// The most memory that a process has had, in MiB; `None` once it has ended.
fn peak(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib = line.trim().strip_suffix(" kB")?;
    kib.parse::<u64>().ok().map(|kib| kib >> 10)
}

/// Labels are kept as far as there is room, and those that are asked for in any case. Bodies are
/// read with and without containerd's files.
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
        let mut most = 0;
        while child.try_wait().unwrap().is_none() {
            most = most.max(peak(child.id()).unwrap_or(0));
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        let output = child.wait_with_output().unwrap();
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let removed = report["removed"].as_array().unwrap();
        assert_eq!(removed.len(), 1, "{report:#}");
        assert_eq!(removed[0]["name"], "docker.io/library/l17:1");
        assert!(most < 300, "{most} MiB, remote: {remote}");
        println!("{most} MiB, remote: {remote}");
    }
}
