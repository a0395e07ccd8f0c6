//! Prunes, slims and lists with the conditions that policies have.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use reclaim_testkit::{Layer, NewContainer, image};
use serde_json::Value;
use tempfile::TempDir;

use crate::rig::{CommandOutput, Rig, names};

const DRY: [&str; 6] = ["image", "prune", "-a", "--dry-run", "--format", "json"];

/// `app:1`, `app:2` and `app:3`, from old to new, a large `web:1`, and `used:1` with a container.
async fn rig() -> Rig {
    let rig = Rig::start().await;
    for (name, seed, bytes) in [
        ("app:1", 1, 1_000),
        ("app:2", 2, 1_000),
        ("app:3", 3, 1_000),
        ("web:1", 4, 90_000),
        ("used:1", 5, 1_000),
    ] {
        image(&format!("docker.io/library/{name}"))
            .layers([Layer::random(seed, bytes)])
            .unpack("native")
            .build(&rig.namespace)
            .await
            .unwrap();
    }
    let used = NewContainer::new("c").image("docker.io/library/used:1");
    rig.namespace.create_container(used).await.unwrap();
    rig
}

fn removed(report: &Value) -> Vec<String> {
    let names = names(&report["removed"]).into_iter();
    names
        .map(|name| name.trim_start_matches("docker.io/library/").to_owned())
        .collect()
}

/// Returns the reason and the holder that keep an image.
fn kept(report: &Value, name: &str) -> (String, String) {
    let mut kept = report["kept"].as_array().unwrap().iter();
    let name = format!("docker.io/library/{name}");
    let kept = kept.find(|kept| kept["name"] == *name).unwrap();
    let holder = kept["holders"][0]["id"].as_str().unwrap_or_default();
    (
        kept["reason"].as_str().unwrap().to_owned(),
        holder.to_owned(),
    )
}

#[tokio::test]
async fn removes_only_what_meets_all_conditions() {
    let rig = rig().await;
    let list = rig
        .reclaim(&["image", "ls", "--format", "json"])
        .exits(0)
        .json();
    let target = list["images"][1]["target"].as_str().unwrap();
    let digest = format!("digest={}", &target[..20]);
    for (options, expected, spared, by) in [
        (
            &["--filter", "reference=app:*"][..],
            &["app:1", "app:2", "app:3"][..],
            "web:1",
            "--filter reference",
        ),
        (
            &["--filter", "reference=app:1", "--filter", "reference=~web"],
            &["app:1", "web:1"],
            "app:2",
            "--filter reference",
        ),
        (
            &["--filter", &digest],
            &["app:2"],
            "app:1",
            "--filter digest",
        ),
        (
            &["--filter", "LARGER-THAN=80kB"],
            &["web:1"],
            "app:1",
            "--filter larger-than",
        ),
        (
            &["--keep-newest", "1"],
            &["app:1", "app:2"],
            "app:3",
            "--keep-newest",
        ),
        (
            &["--keep-newest=2", "--filter=reference=app:*"],
            &["app:1"],
            "app:2",
            "--keep-newest",
        ),
    ] {
        let report = rig.reclaim(&[&DRY[..], options].concat()).exits(0).json();
        assert_eq!(removed(&report), expected, "{options:?}");
        assert_eq!(kept(&report, spared).1, by, "{options:?}");
        assert_eq!(kept(&report, "used:1").0, "in_use", "{options:?}");
    }
    // What was shown is what goes, and what comes back.
    let prune = [
        "image",
        "prune",
        "-a",
        "--keep-newest",
        "1",
        "--undo-window",
        "1h",
    ];
    let pruned = rig.reclaim_with("y\n", &prune).exits(0);
    assert!(pruned.stderr.contains("2 images, "), "{pruned:#?}");
    assert_eq!(rig.names().await.len(), 3);
    rig.reclaim(&["undo"]).exits(0);
    assert_eq!(rig.names().await.len(), 5);
    let forced = ["image", "prune", "-af", "--filter", "reference=app:2"];
    let pruned = rig.reclaim(&forced).exits(0);
    assert!(pruned.stdout.contains("untagged: app:2\n"), "{pruned:#?}");
    assert_eq!(rig.names().await.len(), 4);
}

#[tokio::test]
async fn slims_only_what_meets_all_conditions() {
    let rig = rig().await;
    let slim = ["image", "slim", "--all", "--dry-run", "--format", "json"];
    let slimmed = |options: &[&str]| -> Vec<String> {
        let report = rig.reclaim(&[&slim[..], options].concat()).exits(0).json();
        let names = names(&report["slimmed"]).into_iter();
        names
            .map(|name| name.trim_start_matches("docker.io/library/").to_owned())
            .collect()
    };
    assert_eq!(slimmed(&[]), ["app:1", "app:2", "app:3", "web:1"]);
    assert_eq!(slimmed(&["--filter=reference=web:*"]), ["web:1"]);
    assert_eq!(slimmed(&["--keep-newest=1"]), ["app:1", "app:2"]);
    let force = ["image", "slim", "--all", "-f", "--filter=larger-than=80kB"];
    rig.reclaim(&force).exits(0);
    assert_eq!(slimmed(&[]), ["app:1", "app:2", "app:3"]);
}

#[tokio::test]
async fn refuses_conditions_that_mean_nothing() {
    let rig = rig().await;
    for (filter, expected) in [
        (
            "colour=red",
            "error: invalid filter 'colour'\nhint: accepted filters are dangling, label, label!, until, digest, larger-than, reference, unused-for\n",
        ),
        (
            "reference=",
            "error: filter `reference`: pattern is empty\n",
        ),
        ("unused-for=", "error: filter `unused-for`: "),
        (
            "unused-for=-1h",
            "error: filter `unused-for` is negative: `-1h`\n",
        ),
        ("larger-than=", "error: filter `larger-than`: "),
        ("digest=", "error: filter `digest`: "),
        ("reference", "error: bad format of filter"),
        ("until=", "error: "),
    ] {
        for command in [
            &["image", "prune", "-af"][..],
            &["image", "slim", "--all", "-f"],
            &["image", "prune", "-aAf"],
        ] {
            let refused = rig
                .reclaim(&[command, &["--filter", filter]].concat())
                .exits(2);
            assert!(refused.stderr.starts_with(expected), "{refused:#?}");
        }
    }
    rig.reclaim(&["image", "prune", "-af", "--keep-newest", "0"])
        .exits(2);
    assert_eq!(rig.names().await.len(), 5);
}

/// A configuration whose policy only reports, and its state directory.
struct Recorder {
    directory: TempDir,
}

impl Recorder {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("state");
        fs::create_dir(&state).unwrap();
        let state = state.to_str().unwrap();
        let policy = "[[policy]]\nname = \"p\"\nall = true\ndry_run = true\n";
        let text = format!("[state]\ndirectory = '{state}'\n{policy}");
        fs::write(directory.path().join("config.toml"), text).unwrap();
        Self { directory }
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("state/last-use.redb")
    }

    fn reclaim(&self, rig: &Rig, args: &[&str]) -> CommandOutput {
        let config = self.directory.path().join("config.toml");
        rig.reclaim(&[&["--config", config.to_str().unwrap()], args].concat())
    }
}

#[tokio::test]
async fn last_use_is_read_from_the_file_of_a_daemon_that_is_stopped() {
    let rig = rig().await;
    let recorder = Recorder::new();
    let with = |args: &[&str]| recorder.reclaim(&rig, args);
    let prune = |idle: &str| {
        let filter = format!("unused-for={idle}");
        with(&[&DRY[..], &["--filter", &filter]].concat())
    };
    // Nothing records it: a list says so, and whatever depends on it fails.
    let sorted = ["image", "ls", "--sort", "used"];
    let filtered = ["image", "ls", "--filter", "unused-for=1s"];
    for refused in [prune("1h"), with(&sorted), with(&filtered)] {
        let refused = refused.exits(1);
        let expected = format!(
            "error: cannot tell when images were last used: `{}` does not exist\nhint: `reclaim serve` records it",
            recorder.file().display()
        );
        assert!(refused.stderr.starts_with(&expected), "{refused:#?}");
    }
    let list = ["image", "ls", "--format", "json"];
    let listed = with(&list).exits(0).json();
    assert_eq!(listed["images"][0].get("last_used"), None, "{listed:#}");

    let once = with(&["maintain", "--once", "--dry-run"]);
    assert!(once.code == 0, "{once:#?}");
    let before = fs::read(recorder.file()).unwrap();
    let recent = prune("1h").exits(0).json();
    assert_eq!(removed(&recent), [""; 0]);
    let by = |name| kept(&recent, name);
    let expected = ("used_recently".to_owned(), "--filter unused-for".to_owned());
    assert_eq!(by("app:1"), expected);
    assert_eq!(by("used:1").0, "in_use");
    // An image that came later is not on record.
    image("docker.io/library/late:1")
        .layers([Layer::random(9, 500)])
        .build(&rig.namespace)
        .await
        .unwrap();
    while removed(&prune("1s").exits(0).json()).len() < 4 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let report = prune("1s").exits(0).json();
    assert_eq!(removed(&report), ["app:1", "app:2", "app:3", "web:1"]);
    let expected = "--filter unused-for, last use unknown";
    assert_eq!(kept(&report, "late:1").1, expected);

    let listed = with(&list).exits(0).json();
    let images = listed["images"].as_array().unwrap();
    let known = |image: &&Value| image["last_used"].is_string();
    assert_eq!(images.iter().filter(known).count(), 5, "{listed:#}");
    let names_of = |args: &[&str]| -> Vec<String> {
        let listed = with(&[args, &["--format", "{{.Name}}"]].concat())
            .exits(0)
            .stdout;
        listed.lines().map(str::to_owned).collect()
    };
    assert_eq!(names_of(&filtered), ["app:1", "app:2", "app:3", "web:1"]);
    let order = names_of(&sorted);
    // What is in use was used now, and what is not on record is last.
    assert_eq!(order[4..], ["used:1", "late:1"], "{order:?}");
    let table = with(&["image", "ls"]).exits(0).stdout;
    let line = |name: &str| table.lines().find(|line| line.starts_with(name)).unwrap();
    assert!(line("used:1").contains(" now "), "{table}");
    assert!(line("late:1").contains(" unknown "), "{table}");
    // These commands read the file, and change nothing in it.
    assert_eq!(fs::read(recorder.file()).unwrap(), before);
    let forced = ["image", "prune", "-af", "--filter", "unused-for=1s"];
    with(&forced).exits(0);
    assert_eq!(rig.names().await.len(), 2);
}
