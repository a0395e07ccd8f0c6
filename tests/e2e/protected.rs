//! `[protect]` of the configuration file in commands that use containerd directly.

use std::fs;
use std::path::PathBuf;

use reclaim_testkit::{Layer, image, labels};
use tempfile::TempDir;

use crate::rig::{CommandOutput, Rig, entry, names};

const APP: &str = "docker.io/library/app:1";
const LABELLED: &str = "docker.io/library/labelled:1";
const OTHER: &str = "docker.io/library/other:1";

const CONFIG: &str = "[protect]\nreferences = ['app:*']\nlabels = ['keep']\n";

const PRUNE: [&str; 7] = [
    "image",
    "prune",
    "-a",
    "-f",
    "--grace",
    "10ms",
    "--format=json",
];

/// A containerd with three unused images, of which the configuration protects two.
struct Stage {
    rig: Rig,
    folder: TempDir,
}

impl Stage {
    async fn start() -> Self {
        let rig = Rig::start().await;
        for (name, label) in [(APP, None), (LABELLED, Some(("keep", "1"))), (OTHER, None)] {
            image(name)
                .layers([Layer::named(name, 500)])
                .config_labels(labels(label))
                .unpack("native")
                .build(&rig.namespace)
                .await
                .unwrap();
        }
        let stage = Self {
            rig,
            folder: tempfile::tempdir().unwrap(),
        };
        fs::write(stage.file(), CONFIG).unwrap();
        stage
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("config.toml")
    }

    /// Calls `reclaim` with the configuration file.
    fn reclaim(&self, args: &[&str]) -> CommandOutput {
        let file = self.file();
        let config = ["--config", file.to_str().unwrap()];
        self.rig.reclaim(&[&config, args].concat())
    }
}

#[tokio::test]
async fn a_prune_keeps_what_is_protected_unless_the_file_is_left_out() {
    let stage = Stage::start().await;
    let report = stage.reclaim(&PRUNE).exits(0).json();
    assert_eq!(names(&report["removed"]), [OTHER]);
    for (name, rule) in [
        (APP, "protect.references app:*"),
        (LABELLED, "protect.labels keep"),
    ] {
        let kept = entry(&report["kept"], name);
        assert_eq!(kept["reason"], "protected");
        assert_eq!(kept["holders"][0]["id"], rule);
    }
    // What only reads agrees.
    let list = stage.reclaim(&["image", "ls", "--format=json"]).exits(0);
    assert_eq!(entry(&list.json()["images"], APP)["reason"], "protected");
    let why = stage.reclaim(&["why", "labelled:1"]).exits(0).stdout;
    assert!(why.contains("protect.labels keep"), "{why}");
    let used = |args: &[&str]| stage.reclaim(args).exits(0).json()["total"].clone();
    let df = ["df", "--format=json"];
    assert_ne!(used(&df), used(&[&["--no-config"], &df[..]].concat()));

    let args = [&PRUNE[..], &["--no-config"]].concat();
    let report = stage.reclaim(&args).exits(0).json();
    assert_eq!(names(&report["removed"]), [APP, LABELLED]);
    assert_eq!(report["warnings"].as_array().unwrap().len(), 0);
}

#[tokio::test]
async fn a_removal_by_name_is_a_conflict() {
    let stage = Stage::start().await;
    let conflict = "conflict: unable to delete app:1 (cannot be forced) - image is protected by \
                    rule protect.references app:*";
    let refused = stage.reclaim(&["image", "rm", "-f", "app:1", "other:1"]);
    let refused = refused.exits(1);
    assert_eq!(refused.stderr, format!("error: {conflict}\n"));
    assert_eq!(stage.rig.names().await.len(), 2);

    let compose = stage.folder.path().join("compose.yaml");
    fs::write(&compose, "services: {web: {image: 'app:1'}}").unwrap();
    let project = ["project", "prune", "-p", "shop", "--rmi", "all", "-f"];
    let project = [&project[..], &[compose.to_str().unwrap()]].concat();
    // As an image in use, it does not fail the command.
    let refused = stage.reclaim(&project).exits(0);
    assert_eq!(refused.stderr, format!("warning: app:1: {conflict}\n"));

    let args = ["image", "rm", "app:1", "--lift-protection"];
    let lifted = stage.reclaim(&args).exits(0);
    assert_eq!(lifted.stdout.lines().next(), Some("Untagged: app:1"));
    let warning = format!(
        "image `{APP}` is protected by rule protect.references app:*, and the request lifts the \
         protection"
    );
    assert!(lifted.stderr.contains(&warning), "{lifted:?}");
    assert!(
        lifted.stderr.contains("removing a protected image") && lifted.stderr.contains("uid=0"),
        "{lifted:?}"
    );
    assert_eq!(stage.rig.names().await, [LABELLED.to_owned()].into());
}

/// Unknown means protected.
#[tokio::test]
async fn nothing_is_removed_if_the_file_cannot_be_used() {
    let stage = Stage::start().await;
    fs::write(stage.file(), "[protect]\nreferencse = []\n").unwrap();
    let missing = stage.folder.path().join("missing.toml");
    for (file, cause) in [(stage.file(), "referencse"), (missing, "No such file")] {
        let file = file.to_str().unwrap();
        for command in [
            &PRUNE[..],
            &["image", "rm", "app:1"],
            &["project", "prune", "-p", "shop", "--rmi", "all"],
        ] {
            let args = [&["--config", file], command].concat();
            let refused = stage.rig.reclaim(&args).exits(2);
            for text in [file, cause, "--no-config"] {
                assert!(refused.stderr.contains(text), "{text}: {refused:?}");
            }
        }
    }
    assert_eq!(stage.rig.names().await.len(), 3);
}
