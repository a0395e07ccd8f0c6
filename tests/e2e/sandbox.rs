//! The sandbox image on a node without pods.

use std::fs;

use reclaim_testkit::{BuiltImage, Containerd, Labels, Layer, image};

use crate::node::PRUNE;
use crate::rig::{CommandOutput, Rig, entry, names};

const PAUSE: &str = "registry.k8s.io/pause:3.9";

/// A containerd with the images of pods that no longer exist.
struct Idle {
    rig: Rig,
    pause: BuiltImage,
    folder: tempfile::TempDir,
}

impl Idle {
    async fn start() -> Self {
        let containerd = Containerd::start().await;
        let rig = Rig {
            namespace: containerd.namespace("k8s.io"),
            containerd,
        };
        let pull = async |name: &str| {
            let image = image(name)
                .layers([Layer::named(name, 500)])
                .unpack("native")
                .build(&rig.namespace)
                .await
                .unwrap();
            rig.namespace
                .cri_image_records(&image, &Labels::new())
                .await
                .unwrap();
            image
        };
        let pause = pull(PAUSE).await;
        pull("docker.io/library/app:1").await;
        Self {
            rig,
            pause,
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// Calls `reclaim` with a containerd configuration file that has this text, or does not exist.
    fn reclaim(&self, config: Option<&str>, args: &[&str]) -> CommandOutput {
        let path = self.folder.path().join("containerd.toml");
        match config {
            Some(text) => fs::write(&path, text).unwrap(),
            None => drop(fs::remove_file(&path)),
        }
        let config = ["--containerd-config", path.to_str().unwrap()];
        self.rig.reclaim(&[&config, args].concat())
    }
}

fn dry() -> Vec<&'static str> {
    [&PRUNE[..], &["--dry-run"]].concat()
}

/// Without containerd's configuration, a prune warns that it removes pause images.
#[tokio::test]
async fn warns_of_pause_images_without_containerds_configuration() {
    let node = Idle::start().await;
    let hidden = node.rig.reclaim(&dry()).exits(0);
    let missing = node.reclaim(None, &dry()).exits(0);
    for (output, why) in [(hidden, "cannot be seen"), (missing, "does not exist")] {
        let report = output.json();
        assert_eq!(names(&report["removed"]).len(), 6);
        let warnings = report["warnings"].as_array().unwrap();
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        let warning = warnings[0].as_str().unwrap();
        assert!(
            warning.contains(PAUSE) && warning.contains(why),
            "{warning}"
        );
        assert!(output.stderr.contains(warning));
    }
    // It also warns before the question.
    let args = ["-n", "k8s.io", "image", "prune", "-a"];
    let output = node.rig.reclaim_with("n\n", &args).exits(0);
    assert!(
        output.stderr.contains("may be the sandbox image"),
        "{output:?}"
    );
    assert_eq!(node.rig.names().await.len(), 6);
}

/// The sandbox image stays with all its names, for every version of the file. If the file cannot be
/// read, every image that may be the sandbox image stays.
#[tokio::test]
async fn keeps_the_sandbox_image_of_containerds_configuration() {
    let node = Idle::start().await;
    let v2 = format!("[plugins.'io.containerd.grpc.v1.cri']\nsandbox_image = '{PAUSE}'");
    let v3 = format!(
        "version = 3\n[plugins.'io.containerd.cri.v1.images'.pinned_images]\nsandbox = '{PAUSE}'"
    );
    for config in [&v2, &v3, "not toml ["] {
        let report = node.reclaim(Some(config), &dry()).exits(0).json();
        assert_eq!(names(&report["removed"]).len(), 3, "{config}");
        assert_eq!(entry(&report["kept"], PAUSE)["reason"], "protected");
        assert_eq!(report["warnings"].as_array().unwrap().len(), 0);
    }
    // The file names another image: this one is of an earlier release.
    let other = v2.replace(":3.9", ":3.10");
    let report = node.reclaim(Some(&other), &dry()).exits(0).json();
    assert_eq!(names(&report["removed"]).len(), 6);
    assert_eq!(report["warnings"].as_array().unwrap().len(), 0);

    // `image ls` shows the records of one image together.
    let listed = node
        .reclaim(Some(&v2), &["-n", "k8s.io", "image", "ls"])
        .exits(0)
        .stdout;
    let lines: Vec<&str> = listed.lines().collect();
    assert_eq!(lines.len(), 7, "{listed}");
    assert!(
        lines[4].starts_with(PAUSE) && lines[4].contains(" kept "),
        "{listed}"
    );
    let id = node.pause.manifests[0].config.digest.to_string();
    assert!(
        lines[5].starts_with("  registry.k8s.io/pause@sha256:"),
        "{listed}"
    );
    assert_eq!(lines[6].trim(), id);
    let flat = node
        .reclaim(Some(&v2), &["-n", "k8s.io", "image", "ls", "--flat"])
        .exits(0)
        .stdout;
    assert!(
        flat.lines().skip(1).all(|line| line.contains(" ago ")),
        "{flat}"
    );

    node.reclaim(Some(&v2), &PRUNE).exits(0);
    let left = node.rig.names().await;
    assert_eq!(left.len(), 3);
    assert!(left.contains(PAUSE) && left.contains(&id));
    // `image rm` removes it only if the protection is lifted.
    let args = ["-n", "k8s.io", "image", "rm", "--force", &id];
    let refused = node.reclaim(Some(&v2), &args).exits(1);
    assert!(
        refused
            .stderr
            .contains("(cannot be forced) - image is protected by rule sandbox image of pods"),
        "{refused:?}"
    );
    assert_eq!(node.rig.names().await.len(), 3);
    let args = [&args[..], &["--lift-protection"]].concat();
    let removed = node.reclaim(Some(&v2), &args).exits(0);
    assert!(
        removed.stderr.contains("lifts the protection"),
        "{removed:?}"
    );
    assert!(node.rig.names().await.is_empty());
}

/// Also in another namespace, if the CRI plugin has records there.
#[tokio::test]
async fn keeps_the_sandbox_image_wherever_the_cri_plugin_has_records() {
    let node = Idle::start().await;
    let config = format!("[plugins.cri]\nsandbox_image = '{PAUSE}'");
    let dry = ["image", "prune", "-a", "--dry-run", "--format", "json"];
    for (namespace, is_cri) in [("pods", true), ("builds", false)] {
        let there = node.rig.containerd.namespace(namespace);
        let built = image(PAUSE).build(&there).await.unwrap();
        if is_cri {
            there
                .cri_image_records(&built, &Labels::new())
                .await
                .unwrap();
        }
        let args = [&["-n", namespace], &dry[..]].concat();
        let report = node.reclaim(Some(&config), &args).exits(0).json();
        if is_cri {
            assert_eq!(names(&report["removed"]), Vec::<&str>::new());
            assert_eq!(entry(&report["kept"], PAUSE)["reason"], "protected");
        } else {
            assert_eq!(names(&report["removed"]), [PAUSE]);
        }
    }
}
