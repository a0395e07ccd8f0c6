//! Commands with `--host` have the same output as without.

use reclaim_testkit::{Layer, NamespaceClient, NewContainer, image, labels};

use crate::host::{fill, hosted};
use crate::rig::CommandOutput;

/// Returns the output without what differs in every call: the ID of the run, and times.
fn lasting(output: &CommandOutput) -> (i32, String, String) {
    let plain = |text: &str| {
        let words = text.split_inclusive([' ', '"', '\n', '`']);
        let words = words.map(|word| {
            let bare = word.trim_end_matches([' ', '"', '\n', '`', ',']);
            let is_run = bare.len() == 36 && bare.matches('-').count() == 4;
            let is_moment = bare.len() >= 20 && bare.starts_with("20") && bare.ends_with('Z');
            if is_run || is_moment {
                word.replace(bare, "X")
            } else {
                word.to_owned()
            }
        });
        words.collect::<String>()
    };
    (
        output.code,
        without_ages(&plain(&output.stdout)),
        plain(&output.stderr),
    )
}

/// Removes ages, which change between two calls, and the column widths that depend on them.
fn without_ages(text: &str) -> String {
    if !text.contains(" ago") {
        return text.to_owned();
    }
    let lines = text.lines().map(|line| {
        let cells = line
            .split("  ")
            .map(str::trim)
            .filter(|cell| !cell.is_empty());
        let cells = cells.map(|cell| if cell.ends_with(" ago") { "AGE" } else { cell });
        cells.collect::<Vec<_>>().join("|") + "\n"
    });
    lines.collect()
}

/// Placeholder for the digest of an image.
const DIGEST: &str = "DIGEST";

/// Commands that change nothing, and errors.
const CALLS: &[&[&str]] = &[
    &["image", "prune", "--all", "--dry-run"],
    &["image", "prune", "--all", "--dry-run", "--format", "json"],
    &["image", "prune", "--dry-run", "--filter", "until=24h"],
    &["image", "prune", "-aA", "--dry-run", "--format", "json"],
    &["image", "prune", "-aA", "--dry-run"],
    &["image", "ls", "-A", "--format", COLUMNS],
    &["image", "ls", "-A", "--format", "json"],
    &["df", "-A"],
    &[
        "image",
        "prune",
        "--all",
        "--dry-run",
        "--target-free",
        "1kB",
        "--format",
        "json",
    ],
    &["image", "prune", "--force", "--filter", "reference=x"],
    &["image", "prune", "--force", "--filter", "until=1d"],
    &["image", "prune", "--force", "--namespace", "nowhere"],
    &["image", "prune", "-a", "-f", "--target-free", "1TB"],
    &[
        "image",
        "rm",
        "--dry-run",
        "--format",
        "json",
        "app:1",
        "used:1",
        "nothing",
        "UPPER",
        " ",
    ],
    &["image", "slim", "--all", "--dry-run"],
    &[
        "image",
        "slim",
        "--snapshots",
        "--layers",
        "--build-history",
        "--all",
        "--dry-run",
        "--format",
        "json",
    ],
    &["image", "slim", "--dry-run", "app:1", "used:1", "nothing"],
    &["image", "slim", "--force", "nothing", "UPPER", " "],
    &["image", "slim", "--all", "--force", "--filter", "until=1d"],
    &["image", "rm", "used:1"],
    &["image", "rm", "nothing"],
    &["image", "ls", "--format", COLUMNS],
    &["image", "ls", "--format", "json"],
    &["image", "ls", "--namespace", "nowhere"],
    &["project", "ls"],
    &["project", "ls", "--format", "json"],
    &["project", "ls", "--namespace", "nowhere"],
    &["df"],
    &["df", "--verbose", "--format", "json"],
    &["df", "--namespace", "nowhere"],
    &["why", "used:1"],
    &["why", DIGEST, "--format", "json"],
    &["why", "nothing"],
    &["history"],
    &["history", "--format", "json"],
    &["undo"],
    &["release", "nothing"],
    &[
        "project",
        "prune",
        "-p",
        "shop",
        "--rmi",
        "all",
        "--dry-run",
        "--format",
        "json",
    ],
];

/// Builds a project with a built image, a pulled image and a container.
async fn fill_project(namespace: &NamespaceClient) {
    let project = ("com.docker.compose.project", "shop");
    let of = |service| labels([project, ("com.docker.compose.service", service)]);
    let layers = |seed| [Layer::named("base", 2000), Layer::random(seed, 700)];
    let own = image("docker.io/library/shop-web:latest").layers(layers(5));
    let own = own.config_labels(of("web")).unpack("native");
    own.build(namespace).await.unwrap();
    let named = image("docker.io/library/database:1").layers(layers(6));
    named.unpack("native").build(namespace).await.unwrap();
    let container = NewContainer::new("database").image("docker.io/library/database:1");
    let container = container.labels(of("database"));
    namespace.create_container(container).await.unwrap();
}

/// What both know of images: only the daemon records when they were used.
const COLUMNS: &str =
    "table {{.Namespace}}\t{{.Name}}\t{{.ID}}\t{{.Size}}\t{{.Shared}}\t{{.Verdict}}\t{{.Layers}}";

fn without_use(json: &str) -> String {
    let lines = json.split_inclusive('\n');
    lines
        .filter(|line| !line.contains("\"last_used\": "))
        .collect()
}

#[tokio::test]
async fn says_the_same_with_a_daemon() {
    let (rig, _daemon, host) = hosted(&[]).await;
    fill(&rig.namespace).await;
    let records = rig.namespace.images().await.unwrap();
    let digest = records["docker.io/library/app:1"].to_string();
    let used = image("docker.io/library/used:1")
        .layers([Layer::named("base", 2000), Layer::random(4, 900)])
        .unpack("native")
        .build(&rig.namespace)
        .await
        .unwrap();
    rig.namespace.nerdctl_container("web", &used).await.unwrap();
    fill_project(&rig.namespace).await;
    for args in CALLS {
        let args = args
            .iter()
            .map(|arg| if *arg == DIGEST { &*digest } else { *arg });
        let args: Vec<&str> = args.collect();
        let alone = rig.reclaim(&args);
        let with_host: Vec<&str> = ["--host", &host].into_iter().chain(args.clone()).collect();
        let hosted = rig.reclaim(&with_host);
        let case = format!("reclaim {}\n{alone:#?}\n{hosted:#?}", args.join(" "));
        if args.contains(&"ls") && args.contains(&"json") {
            // The times are those of the images, and are the same.
            assert_eq!(without_use(&hosted.stdout), alone.stdout, "{case}");
            assert!(alone.stdout.contains("content_bytes"), "{case}");
        }
        let (alone, mut hosted) = (lasting(&alone), lasting(&hosted));
        hosted.1 = without_use(&hosted.1);
        // Only the command without a daemon suggests similar names.
        let without_hint = |text: &str| {
            let lines = text.lines().filter(|line| !line.starts_with("hint: "));
            lines.collect::<Vec<_>>().join("\n")
        };
        assert_eq!(hosted.0, alone.0, "{case}");
        assert_eq!(hosted.1, alone.1, "{case}");
        assert_eq!(without_hint(&hosted.2), without_hint(&alone.2), "{case}");
    }
    assert_eq!(rig.names().await.len(), 6);
}
