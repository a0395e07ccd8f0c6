//! Names, labels and IDs of others with control characters: no command and no log prints them as they
//! are. JSON is exact.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use reclaim_model::is_printable;
use reclaim_testkit::{
    Labels, Layer, LeaseResource, NewContainer, NewLease, Signal, image, labels,
};
use tempfile::TempDir;

use crate::manual::commands;
use crate::rig::{CommandOutput, Rig};

/// Sets the title of a terminal, begins a line, and reverses the rest of it.
const HOSTILE: &str = "x\u{1b}]0;t\u{7}\r\nforged: \u{9b}2J\u{202e}\u{2066}\u{7f}y";

const PROJECT: &str = "com.docker.compose.project";
const SERVICE: &str = "com.docker.compose.service";

/// A store in which every text that others choose is hostile.
async fn hostile_store() -> Rig {
    let rig = Rig::quiet().await;
    let namespace = &rig.namespace;
    let build = async |name: &str| {
        image(name)
            .layers([Layer::named("base", 2000), Layer::named(name, 500)])
            .config_labels(labels([
                (PROJECT, HOSTILE),
                (SERVICE, HOSTILE),
                (HOSTILE, HOSTILE),
            ]))
            .record_labels(labels([(HOSTILE, HOSTILE)]))
            .unpack("native")
            .build(namespace)
            .await
            .unwrap()
    };
    for number in 0..4 {
        build(&format!("{HOSTILE}{number}")).await;
    }
    let used = build(&format!("used {HOSTILE}")).await;
    let leased = build(&format!("leased {HOSTILE}")).await;
    let missing = build(&format!("broken {HOSTILE}")).await;
    namespace
        .delete_blob(&missing.manifests[0].config.digest)
        .await
        .unwrap();
    let container = NewContainer::new("c1")
        .image(used.name())
        .labels(labels([(PROJECT, HOSTILE), (SERVICE, HOSTILE)]));
    namespace.create_container(container).await.unwrap();
    let lease = NewLease::new(HOSTILE).labels(labels([(HOSTILE, HOSTILE)]));
    namespace.create_lease(lease).await.unwrap();
    let resource = LeaseResource::content(&leased.target.digest);
    namespace
        .add_lease_resource(HOSTILE, &resource)
        .await
        .unwrap();
    let (snapshotter, chain) = used.unpacked();
    namespace
        .view(snapshotter, HOSTILE, &chain.to_string(), &Labels::new())
        .await
        .unwrap();
    rig
}

/// Asserts that an output has printable lines only, of which no image began one.
#[track_caller]
fn assert_printable(case: &str, output: &CommandOutput) {
    let all = format!("{}{}", output.stdout, output.stderr);
    for line in all.lines() {
        assert!(line.chars().all(is_printable), "{case}: {line:?}");
        assert!(!line.starts_with("forged"), "{case}: {all}");
    }
    // Not a panic, nor bad usage.
    assert!(
        output.code != 101 && output.code != 2,
        "{case}: {output:#?}"
    );
}

/// Writes a Compose file and a configuration, and returns their paths, and those of directories for man
/// pages and state. The state has a record of last weeks.
fn files(rig: &Rig, directory: &Path) -> [String; 4] {
    let paths = ["compose.yaml", "reclaim.toml", "man", "state"];
    let paths = paths.map(|name| directory.join(name));
    let [compose, config, pages, state] = &paths;
    let service = serde_json::to_string(HOSTILE).unwrap();
    let services = format!("services: {{{service}: {{build: ., image: {service}}}}}\n");
    fs::write(compose, services).unwrap();
    let policy = "[[policy]]\nname = \"p\"\ninterval = \"1h\"\nall = true\nlast_copies = true\n";
    fs::write(config, policy).unwrap();
    fs::create_dir(pages).unwrap();
    make_old(rig, config.to_str().unwrap(), state);
    paths.map(|path| path.to_str().unwrap().to_owned())
}

/// Templates and conditions, whose texts the user typed around those of others.
const TYPED: [&[&str]; 5] = [
    &[
        "image",
        "ls",
        "--format",
        "{{.Name}} {{.Repository}} {{.Tag}}",
    ],
    &["image", "ls", "--format", r"table {{.Name}}\t{{json .}}"],
    &[
        "image",
        "prune",
        "-a",
        "--dry-run",
        "--filter",
        "reference=nothing",
    ],
    &["image", "prune", "-aA", "--dry-run", "--keep-newest", "1"],
    &["config", "init", "laptop"],
];

/// Records the images of the store as if they had been unused for days, so that a trial removes them.
fn make_old(rig: &Rig, config: &str, state: &Path) {
    let state_text = state.to_str().unwrap();
    rig.reclaim(&[
        "policy", "explain", "--config", config, "--state", state_text,
    ])
    .exits(0);
    let path = state.join("timeline.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    let mut first: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    for (key, at) in [
        ("at", "2026-01-01T00:00:00Z"),
        ("wall", "2026-01-01T00:00:00Z"),
    ] {
        first[key] = at.into();
    }
    for image in first["images"].as_array_mut().unwrap() {
        for key in ["first_seen", "last_used"] {
            image[key] = "2025-12-31T00:00:00Z".into();
        }
        for name in image["names"].as_array_mut().unwrap() {
            name["created"] = "2025-12-31T00:00:00Z".into();
            name["updated"] = "2025-12-31T00:00:00Z".into();
        }
    }
    let later = serde_json::json!({
        "version": 1, "at": "2026-01-02T00:00:00Z", "wall": "2026-01-02T00:00:00Z",
    });
    fs::write(&path, format!("{first}\n{later}\n")).unwrap();
}

/// Every command, on the arguments that make it print the most.
#[tokio::test(flavor = "multi_thread")]
async fn no_command_prints_texts_of_others_as_they_are() {
    let rig = hostile_store().await;
    let directory = tempfile::tempdir().unwrap();
    let [compose, config, pages, state] = files(&rig, directory.path());
    let [compose, config, pages, state] = [&*compose, &*config, &*pages, &*state];
    let first = format!("{HOSTILE}0");
    let used = format!("used {HOSTILE}");
    let cases: &[&[&str]] = &[
        &["image", "ls"],
        &["image", "ls", "--flat"],
        &["image", "prune", "-a", "--dry-run", "--no-trunc"],
        &["image", "rm", "--dry-run", &first],
        &["image", "rm", &used],
        &["image", "rm", HOSTILE],
        &["project", "ls"],
        &[
            "project",
            "prune",
            "-f",
            compose,
            "--rmi",
            "all",
            "--dry-run",
        ],
        &["project", "prune", "-p", "p", "--rmi", "local"],
        &["pin", &first],
        &["unpin", &first],
        &["pin", HOSTILE],
        &["df"],
        &["df", "-v"],
        &["why", &first],
        &["why", &used],
        &["why", HOSTILE],
        &["inhibit", "--list"],
        &["inhibit", "--why", "w", "--", "true"],
        &["policy", "explain", "--config", config, "-v"],
        &["policy", "history", "--state", state],
        &["policy", "try", config, "-v", "--state", state],
        &[
            "maintain",
            "--once",
            "--dry-run",
            "--config",
            config,
            "--state",
            state,
        ],
        &["check", "--warn", "1%"],
        &["config", "check", "--config", config],
        &["config", "show", "--config", config],
        &["config", "schema"],
        &["image", "rm", "--undo-window", "1h", &first],
        &["history"],
        &["undo", "missing"],
        &["undo"],
        &[
            "image",
            "prune",
            "-a",
            "-f",
            "--undo-window",
            "1h",
            "--allow-empty",
            "default",
        ],
        &["release", HOSTILE],
        &["health", "--timeout", "1s", "--host", "unix:///missing"],
        &["completions", "bash"],
        &["man-pages", pages],
    ];
    for case in TYPED.iter().chain(cases) {
        assert_printable(&case.join(" "), &rig.reclaim(case));
    }
    let with_text: BTreeSet<&str> = cases.iter().map(|case| case[0]).collect();
    // These have tests of their own: the screen in `browse`, the page in `page`.
    let others = ["browse", "serve", "ui"];
    let all = commands(&[]);
    let untested: Vec<&String> = all
        .iter()
        .filter(|name| !others.contains(&name.as_str()) && !with_text.contains(name.as_str()))
        .collect();
    assert_eq!(untested, [""; 0]);
}

/// JSON has the texts as they are, escaped.
#[tokio::test(flavor = "multi_thread")]
async fn json_is_exact() {
    let rig = hostile_store().await;
    let list = rig
        .reclaim(&["image", "ls", "--format", "json"])
        .exits(0)
        .json();
    let name = format!("{HOSTILE}0");
    let images = list["images"].as_array().unwrap();
    assert!(images.iter().any(|image| image["name"] == name), "{list:#}");
}

/// The log of the daemon, and what a command prints of its answers.
#[tokio::test(flavor = "multi_thread")]
async fn no_log_has_texts_of_others_as_they_are() {
    let rig = hostile_store().await;
    let directory: TempDir = tempfile::tempdir().unwrap();
    let socket = directory.path().join("r.sock");
    let log = directory.path().join("log");
    let address = format!("unix://{}", socket.display());
    let file = fs::File::create(&log).unwrap();
    let mut daemon = Command::new(env!("CARGO_BIN_EXE_reclaim"))
        .env_clear()
        .args([
            "--log-level",
            "trace",
            "--address",
            rig.containerd.address(),
        ])
        .args(["serve", "--namespace", "default", "--listen", &address])
        .args(["--state", directory.path().to_str().unwrap()])
        .stdin(Stdio::null())
        .stdout(file.try_clone().unwrap())
        .stderr(file)
        .spawn()
        .unwrap();
    let is_ready = || rig.reclaim(&["--host", &address, "health"]).code == 0;
    for _ in 0..1000 {
        if is_ready() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let first = format!("{HOSTILE}0");
    let cases: &[&[&str]] = &[
        &["image", "ls"],
        &["image", "rm", &first],
        &["image", "rm", HOSTILE],
        &["why", &first],
        &["image", "prune", "-a", "-f", "--allow-empty", "default"],
    ];
    for case in cases {
        let args = [&["--host", &address][..], case].concat();
        assert_printable(&case.join(" "), &rig.reclaim(&args));
    }
    reclaim_testkit::signal(&daemon, Signal::TERM);
    daemon.wait().unwrap();
    let text = fs::read_to_string(&log).unwrap();
    let output = CommandOutput {
        code: 0,
        stdout: text,
        stderr: String::new(),
    };
    assert_printable("log", &output);
    assert!(
        output.stdout.contains("forged"),
        "the log has no name: {output:#?}"
    );
}
