//! Commands in all namespaces, and the hint where images are.

use std::process::Command;

use reclaim_testkit::{Layer, NamespaceClient, NewContainer, image};
use serde_json::Value;

use crate::rig::{CommandOutput, Rig, names, run};

const PRUNE: [&str; 3] = ["image", "prune", "-aA"];

async fn add(namespace: &NamespaceClient, name: &str, layers: impl IntoIterator<Item = Layer>) {
    let name = format!("docker.io/library/{name}");
    let built = image(&name).layers(layers).build(namespace).await;
    built.unwrap();
}

/// Images in two namespaces, and none in the default one.
async fn rig() -> Rig {
    let rig = Rig::start().await;
    let moby = rig.containerd.namespace("moby");
    add(&moby, "small:1", [Layer::random(1, 1_000)]).await;
    add(&moby, "large:1", [Layer::random(2, 50_000)]).await;
    let kubernetes = rig.containerd.namespace("k8s.io");
    add(&kubernetes, "middle:1", [Layer::random(3, 20_000)]).await;
    rig
}

impl Rig {
    async fn counts(&self) -> [usize; 2] {
        let mut counts = [0; 2];
        for (count, namespace) in counts.iter_mut().zip(["k8s.io", "moby"]) {
            let client = self.containerd.namespace(namespace);
            *count = client.images().await.unwrap().len();
        }
        counts
    }

    fn in_namespace(&self, namespace: &str, args: &[&str]) -> CommandOutput {
        let mut command = Command::new(env!("CARGO_BIN_EXE_reclaim"));
        command.env_clear().env("CONTAINERD_NAMESPACE", namespace);
        run(&mut command, self.containerd.address(), "", args)
    }
}

fn namespaces(list: &Value) -> Vec<&str> {
    let namespaces = list["namespaces"].as_array().unwrap().iter();
    namespaces
        .map(|it| it["namespace"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn lists_the_images_of_all_namespaces() {
    let rig = rig().await;
    let table = rig.reclaim(&["image", "ls", "-A"]).exits(0);
    let rows = |table: &str| -> Vec<String> {
        let rows = table.lines().map(|line| {
            let cells: Vec<&str> = line.split_whitespace().take(2).collect();
            cells.join(" ")
        });
        rows.collect()
    };
    let head = "NAMESPACE IMAGE";
    let by_name = [head, "k8s.io middle:1", "moby large:1", "moby small:1"];
    assert_eq!(rows(&table.stdout), by_name);
    let by_size = [head, "moby large:1", "k8s.io middle:1", "moby small:1"];
    for form in [&[][..], &["--flat"]] {
        let args = [&["image", "ls", "-A", "--sort=size"], form].concat();
        let sorted = rig.reclaim(&args).exits(0).stdout;
        assert_eq!(rows(&sorted), by_size, "{form:?}");
    }
    let json = ["image", "ls", "-A", "--format=json"];
    let listed = rig.reclaim(&json).exits(0).json();
    assert_eq!(namespaces(&listed), ["k8s.io", "moby"]);
    assert_eq!(listed["failed"], Value::Array(Vec::new()));
    for one in listed["namespaces"].as_array().unwrap() {
        let name = one["namespace"].as_str().unwrap();
        let alone = ["-n", name, "image", "ls", "--format=json"];
        let mut alone = rig.reclaim(&alone).exits(0).json();
        alone.as_object_mut().unwrap().remove("version");
        assert_eq!(*one, alone);
    }
}

#[tokio::test]
async fn df_takes_all_namespaces_too() {
    let rig = rig().await;
    let alone = rig.reclaim(&["df"]).exits(0).stdout;
    for variable in ["", "moby"] {
        let all = rig.in_namespace(variable, &["df", "-A"]).exits(0);
        assert_eq!(all.stdout, alone, "{variable:?}");
    }
}

#[tokio::test]
async fn a_named_namespace_contradicts_all() {
    let rig = rig().await;
    for command in [&["image", "ls"][..], &["image", "prune", "-af"], &["df"]] {
        let args = [&["-n", "moby"], command, &["-A"]].concat();
        let refused = rig.in_namespace("moby", &args).exits(2);
        let expected = "error: cannot use --namespace with --all-namespaces\n";
        assert_eq!(refused.stderr, expected, "{command:?}");
    }
    let args = ["image", "prune", "-aA", "--target-free", "1B"];
    rig.reclaim(&args).exits(2);
    assert_eq!(rig.counts().await, [1, 2]);
}

#[tokio::test]
async fn asks_once_for_all_namespaces() {
    let rig = rig().await;
    for typed in ["", "n\n"] {
        let declined = rig.reclaim_with(typed, &PRUNE).exits(0);
        assert_eq!(declined.stdout, "", "{typed:?}");
        assert_eq!(rig.counts().await, [1, 2], "{typed:?}");
    }
    let pruned = rig.reclaim_with("y\n", &PRUNE).exits(0);
    let asked = pruned.stderr.matches("Are you sure").count();
    assert_eq!(asked, 1, "{pruned:#?}");
    let place = |text: &str| pruned.stderr.find(text).unwrap();
    let order = [
        "Namespace k8s.io:\n",
        "middle:1",
        "Namespace moby:\n",
        "large:1",
        "small:1",
        ", in every namespace.\nAre you sure",
    ];
    assert!(order.map(place).is_sorted(), "{}", pruned.stderr);
    let runs = pruned.stdout.matches("Total reclaimed space: ").count();
    assert_eq!(runs, 2, "{pruned:#?}");
    assert!(pruned.stdout.contains("Namespace moby:\nDeleted Images:\n"));
    assert_eq!(rig.counts().await, [0, 0]);
}

#[tokio::test]
async fn a_dry_run_and_a_run_report_each_namespace() {
    let rig = rig().await;
    let json = [&PRUNE[..], &["--format=json"]].concat();
    let planned = rig.in_namespace("moby", &[&json[..], &["--dry-run"]].concat());
    let planned = planned.exits(0).json();
    assert_eq!(namespaces(&planned), ["k8s.io", "moby"]);
    assert_eq!(rig.counts().await, [1, 2]);
    let pruned = rig.reclaim(&[&json[..], &["-f"]].concat()).exits(0).json();
    for (planned, pruned) in
        [0, 1].map(|at| (&planned["namespaces"][at], &pruned["namespaces"][at]))
    {
        assert_eq!(planned["dry_run"], true);
        assert_eq!(pruned["dry_run"], false);
        assert_eq!(pruned["reclaimed"], planned["estimate"]);
        assert_eq!(names(&pruned["removed"]), names(&planned["removed"]));
    }
    assert_eq!(rig.counts().await, [0, 0]);
}

/// A namespace that has containers of unknown images loses none, and the other all.
#[tokio::test]
async fn a_refused_namespace_does_not_stop_the_others() {
    let rig = rig().await;
    let kubernetes = rig.containerd.namespace("k8s.io");
    let lost = NewContainer::new("lost").image("docker.io/library/gone:1");
    kubernetes.create_container(lost).await.unwrap();
    let forced = [&PRUNE[..], &["-f"]].concat();
    let json = [&forced[..], &["--format=json"]].concat();
    let partly = rig.reclaim(&json).exits(1);
    assert!(
        partly.stderr.starts_with("k8s.io: error: "),
        "{}",
        partly.stderr
    );
    let report = partly.json();
    assert_eq!(namespaces(&report), ["moby"]);
    assert_eq!(report["failed"][0]["namespace"], "k8s.io");
    assert_eq!(rig.counts().await, [1, 0]);
    // The refusal comes before the question, and nothing is left to ask about.
    rig.reclaim(&PRUNE).exits(1);
    let allowed = [&forced[..], &["--allow-empty=k8s.io"]].concat();
    rig.reclaim(&allowed).exits(0);
    assert_eq!(rig.counts().await, [0, 0]);
}

#[tokio::test]
async fn says_where_images_are_if_there_are_none_here() {
    let rig = rig().await;
    let places = "hint: 2 images in moby, 1 in k8s.io: use -n NAME";
    for (command, all) in [
        (&["image", "ls"][..], " or -A"),
        (&["image", "prune", "--dry-run"], " or -A"),
        (&["image", "prune", "-f"], " or -A"),
        (&["image", "slim", "--all", "--dry-run"], ""),
    ] {
        let output = rig.reclaim(command).exits(0);
        assert_eq!(output.stderr, format!("{places}{all}\n"), "{command:?}");
        let json = rig.reclaim(&[command, &["--format=json"]].concat());
        assert_eq!(json.exits(0).stderr, "", "{command:?}");
        let named = rig.in_namespace("default", command);
        assert!(!named.stderr.contains("hint: 2"), "{named:#?}");
    }
    let dry = ["image", "prune", "-A", "--dry-run"];
    assert_eq!(rig.reclaim(&dry).exits(0).stderr, "");
    add(&rig.namespace, "app:1", [Layer::random(4, 10)]).await;
    for command in [&["image", "ls"][..], &["image", "prune", "--dry-run"]] {
        assert_eq!(rig.reclaim(command).exits(0).stderr, "", "{command:?}");
    }
}

/// Content that both namespaces have is in no single estimate.
#[tokio::test]
async fn the_total_says_what_namespaces_share() {
    let rig = Rig::start().await;
    let shared = || Layer::random(7, 300_000);
    for (name, seed) in [("one", 8), ("two", 9)] {
        let namespace = rig.containerd.namespace(name);
        add(&namespace, "app:1", [shared(), Layer::random(seed, 1_000)]).await;
    }
    let dry = rig
        .reclaim(&["image", "prune", "-aA", "--dry-run"])
        .exits(0);
    let total = dry.stdout.lines().last().unwrap();
    let expected = "Would remove 2 images in 2 namespaces, ";
    assert!(total.starts_with(expected), "{total}");
    let shared = total.contains("kB, and up to 30");
    let share = total.ends_with("kB more that namespaces share");
    assert!(shared && share, "{total}");
    let pruned = rig.reclaim_with("y\n", &PRUNE).exits(0);
    assert!(
        pruned
            .stderr
            .contains("\nAll together: 2 images in 2 namespaces, "),
        "{pruned:#?}"
    );
    let total = pruned.stdout.lines().last().unwrap();
    let expected = "Total reclaimed space of 2 namespaces: 30";
    assert!(
        total.starts_with(expected) && total.ends_with("kB"),
        "{total}"
    );
}
