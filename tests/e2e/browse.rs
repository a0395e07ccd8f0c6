//! `reclaim browse` in a real terminal of 80 by 24, driven by its keys.

use std::process::{Command, Stdio};
use std::time::Duration;
use std::{fs, thread};

use reclaim_model::HumanSize;
use reclaim_testkit::{Layer, image};
use tempfile::TempDir;
use tokio::time::Instant;

use crate::rig::Rig;

/// How long the screen may take to show something.
const PATIENCE: Duration = Duration::from_secs(30);

/// A terminal in which `reclaim browse` runs. It ends with this value.
struct Terminal {
    folder: TempDir,
}

impl Terminal {
    fn start(rig: &Rig, options: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let terminal = Self { folder };
        let reclaim = env!("CARGO_BIN_EXE_reclaim");
        let address = rig.containerd.address();
        let status = terminal.folder.path().join("status");
        let command = format!(
            "{reclaim} --address {address} browse {options}; echo $? > {}; sleep 300",
            status.display()
        );
        terminal.tmux(&["new-session", "-d", "-x", "80", "-y", "24", &command]);
        terminal
    }

    fn tmux(&self, arguments: &[&str]) -> String {
        let output = Command::new("tmux")
            .arg("-S")
            .arg(self.folder.path().join("tmux"))
            .args(["-f", "/dev/null"])
            .args(arguments)
            .env("TERM", "xterm-256color")
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::null())
            .output()
            .expect("tmux is installed");
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn press(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    /// Presses Escape, and waits until the list is back: with the next key at once it would be Alt.
    fn escape(&self) {
        self.press(&["Escape"]);
        self.shows("space mark");
    }

    fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    /// Waits until the screen has a text, and returns the screen.
    #[track_caller]
    fn shows(&self, text: &str) -> String {
        self.shows_all(&[text])
    }

    /// Waits until the screen has all of these texts at once, and returns the screen.
    #[track_caller]
    fn shows_all(&self, texts: &[&str]) -> String {
        let begun = Instant::now();
        loop {
            let screen = self.screen();
            if texts.iter().all(|text| screen.contains(text)) {
                return screen;
            }
            assert!(begun.elapsed() < PATIENCE, "no {texts:?} on\n{screen}");
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until the command has ended, and returns its status.
    fn status(&self) -> i32 {
        let begun = Instant::now();
        loop {
            let status = fs::read_to_string(self.folder.path().join("status")).unwrap_or_default();
            if let Ok(status) = status.trim().parse() {
                return status;
            }
            assert!(begun.elapsed() < PATIENCE, "it runs on:\n{}", self.screen());
            thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let server = self.folder.path().join("tmux");
        let mut end = Command::new("tmux");
        drop(end.arg("-S").arg(server).arg("kill-server").output());
    }
}

/// An image in use, and three of which two share a layer.
async fn populate(rig: &Rig) {
    let here = &rig.namespace;
    let build = |name: &'static str, layers: Vec<Layer>| {
        image(name).layers(layers).unpack("native").build(here)
    };
    let base = || Layer::named("base", 400_000);
    let web = build("docker.io/library/web:1", vec![Layer::random(1, 90_000)]);
    here.nerdctl_container("web", &web.await.unwrap())
        .await
        .unwrap();
    for (name, seed) in [
        ("docker.io/library/app:1", 2),
        ("docker.io/library/app:2", 3),
    ] {
        build(name, vec![base(), Layer::random(seed, 50_000)])
            .await
            .unwrap();
    }
    build("docker.io/library/old:1", vec![Layer::random(4, 10_000)])
        .await
        .unwrap();
    let there = rig.containerd.namespace("k8s.io");
    image("docker.io/library/pause:3")
        .layers([Layer::random(5, 2_000)])
        .build(&there)
        .await
        .unwrap();
}

/// Returns what removing images by name frees, as the screen prints it.
fn freed(rig: &Rig, names: &[&str]) -> String {
    let arguments = [&["image", "rm"], names, &["--dry-run", "--format", "json"]].concat();
    let report = rig.reclaim(&arguments).exits(0).json();
    let estimate = &report["estimate"];
    let bytes = |key: &str| estimate[key].as_u64().unwrap();
    HumanSize(bytes("content_bytes") + bytes("snapshot_bytes")).to_string()
}

async fn names(rig: &Rig) -> Vec<String> {
    rig.namespace.images().await.unwrap().into_keys().collect()
}

#[tokio::test]
async fn marked_images_show_their_joint_sum_and_go_after_the_plan() {
    let rig = Rig::quiet().await;
    populate(&rig).await;
    let (one, both) = (freed(&rig, &["app:1"]), freed(&rig, &["app:1", "app:2"]));
    let terminal = Terminal::start(&rig, "--grace 0s");
    let first = terminal.shows("sorted by freed alone; nothing marked");
    for text in [
        "default (1 of 2)",
        "NAME",
        "app:1",
        "app:2",
        "old:1",
        "stays: in use",
    ] {
        assert!(first.contains(text), "no `{text}` on\n{first}");
    }
    // An image in use cannot be marked.
    terminal.press(&["/"]);
    terminal.press(&["w", "e", "b", "Enter"]);
    terminal.shows("filter: web  (1 rows)");
    terminal.press(&["Space"]);
    terminal.shows("stays: in use by container web");
    terminal.escape();
    terminal.shows("nothing marked");

    terminal.press(&["Home", "Space"]);
    terminal.shows(&format!("marked: 1 images, {one} together"));
    terminal.press(&["Space"]);
    terminal.shows(&format!("marked: 2 images, {both} together"));

    // The plan names both, and the answer no keeps everything.
    terminal.press(&["a"]);
    let plan = terminal.shows("Carry it out? y, n");
    assert!(plan.contains(&both), "no `{both}` on\n{plan}");
    terminal.press(&["n"]);
    terminal.shows_all(&["space mark", "marked: 2 images"]);
    assert_eq!(names(&rig).await.len(), 4);

    terminal.press(&["a"]);
    terminal.shows("Carry it out? y, n");
    terminal.press(&["y"]);
    let report = terminal.shows("Total reclaimed space");
    assert!(
        report.contains("app:1") && report.contains(&both),
        "{report}"
    );
    let left = names(&rig).await;
    assert_eq!(left, ["docker.io/library/old:1", "docker.io/library/web:1"]);
    // The list was read again meanwhile.
    terminal.press(&["Escape"]);
    let list = terminal.shows_all(&["space mark", " 2 images, "]);
    assert!(
        !list.contains("app:1") && list.contains("2 images"),
        "{list}"
    );
    terminal.press(&["q"]);
    assert_eq!(terminal.status(), 0);
}

#[tokio::test]
async fn every_key_does_what_the_help_says() {
    let rig = Rig::quiet().await;
    populate(&rig).await;
    let terminal = Terminal::start(&rig, "--grace 0s");
    terminal.shows("nothing marked");
    terminal.press(&["?"]);
    let help = terminal.shows("Keys");
    assert!(help.contains("next namespace"), "{help}");
    terminal.escape();
    for order in ["size", "age", "name", "freed alone"] {
        terminal.press(&["s"]);
        terminal.shows(&format!("sorted by {order};"));
    }

    // The tree, down to a layer that two images share.
    terminal.press(&["t"]);
    terminal.shows("2 of 2 go");
    terminal.press(&["Home", "Right"]);
    terminal.shows("+ app:1");
    terminal.press(&["Down", "l"]);
    terminal.shows("unpacked layers");
    terminal.press(&["j", "j", "j", "Right"]);
    let tree = terminal.shows("shared by 2");
    assert!(
        tree.contains("linux/amd64") && tree.contains("config"),
        "{tree}"
    );
    // Enter says what keeps a layer.
    terminal.press(&["Down", "Down", "Down", "Enter"]);
    let why = terminal.shows("Why it is kept");
    assert!(why.contains("app:1") && why.contains("app:2"), "{why}");
    terminal.escape();
    // Closing goes to the outer row, and then closes that.
    terminal.press(&["Left", "h", "Left", "h", "Left", "h"]);
    let closed = terminal.shows("+ app  ");
    assert!(!closed.contains("unpacked layers"), "{closed}");
    // A repository is marked as a whole.
    terminal.press(&["Home", "Space"]);
    terminal.shows("marked: 2 images");
    terminal.press(&["c"]);
    terminal.shows("nothing marked");
    terminal.press(&["a"]);
    terminal.shows("nothing is marked: space marks the row");
    terminal.press(&["t"]);

    // The other namespace, and an image that came meanwhile.
    terminal.press(&["n"]);
    terminal.shows("k8s.io (2 of 2)");
    image("docker.io/library/later:1")
        .layers([Layer::random(9, 1_000)])
        .build(&rig.containerd.namespace("k8s.io"))
        .await
        .unwrap();
    terminal.press(&["r"]);
    terminal.shows("later:1");
    terminal.press(&["End", "PageUp", "PageDown", "Up", "k"]);
    terminal.press(&["C-c"]);
    assert_eq!(terminal.status(), 0);
}

#[tokio::test]
async fn a_part_of_an_image_is_freed_and_the_image_stays() {
    let rig = Rig::quiet().await;
    populate(&rig).await;
    let terminal = Terminal::start(&rig, "--grace 0s");
    terminal.shows("nothing marked");
    terminal.press(&["/", "o", "l", "d", "Enter", "Right"]);
    terminal.shows("unpacked layers");
    terminal.press(&["Down", "Space", "a"]);
    let plan = terminal.shows("Carry it out? y, n");
    assert!(plan.contains("Would slim 1 image"), "{plan}");
    terminal.press(&["y"]);
    terminal.shows("Total reclaimed space");
    assert_eq!(names(&rig).await.len(), 4);
    terminal.press(&["q"]);
    terminal.press(&["q"]);
    assert_eq!(terminal.status(), 0);
}

/// Names and holders of others are text: none of them can move the cursor or set the title.
#[tokio::test]
async fn names_of_others_do_not_control_the_terminal() {
    let rig = Rig::quiet().await;
    let hostile = "evil\u{1b}[2J\u{1b}]0;owned\u{7}\u{202e}\r\n:1";
    image(hostile)
        .layers([Layer::random(1, 1_000)])
        .build(&rig.namespace)
        .await
        .unwrap();
    let terminal = Terminal::start(&rig, "");
    let screen = terminal.shows("nothing marked");
    assert!(
        screen.contains("evil\u{fffd}[2J\u{fffd}]0;owned"),
        "{screen}"
    );
    assert!(screen.contains("NAME"), "{screen}");
    terminal.press(&["Enter"]);
    terminal.shows("Why it is kept");
    terminal.escape();
    terminal.press(&["Right", "Space", "a"]);
    let plan = terminal.shows("Carry it out? y, n");
    assert!(plan.contains("evil\u{fffd}[2J"), "{plan}");
    let title = terminal.tmux(&["display-message", "-p", "#{pane_title}"]);
    assert!(!title.contains("owned"), "{title}");
}

#[tokio::test]
async fn without_a_terminal_it_refuses() {
    let rig = Rig::quiet().await;
    let refused = rig.reclaim(&["browse"]).exits(2);
    assert!(refused.stderr.contains("needs a terminal"), "{refused:?}");
}
