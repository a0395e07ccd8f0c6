//! What a person sees who types `docker …`: with a Docker Engine, and with us.

use std::process::Stdio;

use reclaim_testkit::Dice;
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::command::{Said, command, docker};
use crate::side::Side;

/// Asks both sides, on which the same is there.
async fn both(docker_side: &Side, ours: &Side, args: &[&str]) -> (Said, Said) {
    let (theirs, mine) = (docker_side.socket(), ours.socket());
    tokio::join!(docker(&theirs, args), docker(&mine, args))
}

/// The lines without their order, and without the IDs of containers, which are each side's own.
/// What stands in brackets is sorted, too: Docker quotes the values of a filter as a hash has
/// them.
fn sorted(said: &Said) -> Vec<String> {
    let lines = said.stdout.lines().chain(said.stderr.lines());
    let lines: Vec<String> = lines.map(with_sorted_brackets).collect();
    let lines = lines.iter();
    let words = lines.map(|line| {
        let mut before = "";
        let words = line.split_whitespace().map(|word| {
            let is_id = before == "container" && word.len() == 12;
            before = word;
            if is_id { "ID" } else { word }
        });
        words.collect::<Vec<_>>().join(" ")
    });
    let mut lines: Vec<String> = words.filter(|it| !it.is_empty()).collect();
    lines.sort();
    lines
}

/// A line such as `dangling=[true false]`, whatever the order of the two.
fn with_sorted_brackets(line: &str) -> String {
    let Some((before, rest)) = line.split_once("=[") else {
        return line.to_owned();
    };
    let Some((values, after)) = rest.split_once(']') else {
        return line.to_owned();
    };
    let mut values: Vec<&str> = values.split(' ').collect();
    values.sort_unstable();
    format!("{before}=[{}]{after}", values.join(" "))
}

/// What only looks is compared to the letter, but for its order.
#[tokio::test]
async fn lists_and_inspects_as_with_a_docker_engine() {
    let (theirs, ours) = tokio::join!(Side::docker(), Side::ours());
    for args in [
        &["image", "ls", "--no-trunc", "--digests", "--format", LIST][..],
        &["image", "ls", "--all", "--quiet"],
        &["image", "ls", "--filter", "reference=keep"],
        &["image", "ls", "--filter", "reference=quay.io/*/*"],
        &["image", "ls", "--filter", "label=keep=1", "--quiet"],
        &[
            "image",
            "ls",
            "--filter",
            "label=x",
            "--filter",
            "label=keep",
            "--quiet",
        ],
        &["image", "ls", "--filter", "dangling=true", "--quiet"],
        &["image", "ls", "--filter", "dangling=false", "--quiet"],
        &["image", "ls", "--filter", "before=keep:1", "--quiet"],
        &["image", "ls", "--filter", "nothing=x"],
        &[
            "image",
            "inspect",
            "--format",
            INSPECT,
            "keep:1",
            "keep:2",
            "x",
            "quay.io/team/far:1",
        ],
        &["image", "inspect", "nothing"],
        &["image", "inspect", "UPPER"],
        &["image", "history", "--no-trunc", "keep:2"],
        &["image", "history", "nothing"],
        &["image", "rm", "nothing"],
        &["image", "rm", "by-id:1@sha256:00"],
        &["image", "rm", "mounted:1"],
        &["image", "prune", "--force", "--filter", "reference=x"],
        &["image", "prune", "--force", "--filter", "dangling=false"],
        &["image", "prune", "--force", "--filter", "novalue"],
    ] {
        let (their_answer, my_answer) = both(&theirs, &ours, args).await;
        let case = format!(
            "docker {}\n{their_answer:#?}\n{my_answer:#?}",
            args.join(" ")
        );
        assert_eq!(my_answer.code, their_answer.code, "{case}");
        assert_eq!(sorted(&my_answer), sorted(&their_answer), "{case}");
    }
}

/// Everything about an image but when somebody looked.
const LIST: &str = "{{.Repository}} {{.Tag}} {{.ID}} {{.Size}} {{.CreatedSince}}";

/// What is told of one image, without the moments, which are of each side's own.
const INSPECT: &str = "{{.Id}} {{json .RepoTags}} {{json .RepoDigests}} {{json .Config}} \
                       {{json .RootFS}} {{.Architecture}} {{.Os}} {{.Size}} {{.Parent}} \
                       {{.Comment}} {{.Author}} {{json .Descriptor}} {{.GraphDriver.Name}}";

/// What changes something: the same lines, and the same is left.
#[tokio::test]
async fn removes_as_with_a_docker_engine() {
    let (theirs, ours) = tokio::join!(Side::docker(), Side::ours());
    let untagged = "label!=keep";
    for args in [
        &["image", "rm", "plain:1"][..],
        &["image", "rm", "keep:1", "quay.io/other/keep:one"],
        &["image", "rm", "used:1"],
        &["image", "rm", "used:spare"],
        &["image", "rm", "--force", "used:1"],
        &["image", "prune", "--force"],
        &["image", "prune", "--force", "--all", "--filter", "until=1h"],
        &[
            "image",
            "prune",
            "--force",
            "--all",
            "--filter",
            "label=keep",
            "--filter",
            "label!=x",
        ],
        &[
            "image", "prune", "--force", "--all", "--filter", untagged, "--filter", "label=x",
        ],
    ] {
        let (their_answer, my_answer) = both(&theirs, &ours, args).await;
        let case = format!(
            "docker {}\n{their_answer:#?}\n{my_answer:#?}",
            args.join(" ")
        );
        assert_eq!(my_answer.code, their_answer.code, "{case}");
        assert_eq!(
            without_sizes(&my_answer),
            without_sizes(&their_answer),
            "{case}"
        );
        let (their_names, my_names) = tokio::join!(theirs.names(), ours.names());
        assert_eq!(my_names, their_names, "{case}");
    }
}

/// This Docker counts no snapshots in what is reclaimed; later ones do, and so do we.
fn without_sizes(said: &Said) -> Vec<String> {
    let mut lines = sorted(said);
    lines.retain(|line| !line.starts_with("Total reclaimed space:"));
    lines
}

/// What is about the engine itself reads as it should; every other line is ours alone.
#[tokio::test]
async fn tells_about_itself() {
    let ours = Side::ours().await;
    let said = async |args: &[&str]| {
        let said = docker(&ours.socket(), args).await;
        assert_eq!((said.code, said.stderr.as_str()), (0, ""), "{said:#?}");
        said.stdout
    };
    let version = said(&["version"]).await;
    assert!(version.contains("Server: Reclaim"), "{version}");
    assert!(version.contains("containerd:"), "{version}");
    let info = said(&["info"]).await;
    assert!(info.contains("Images: 10\n"), "{info}");
    assert!(info.contains("Containers: 3\n"), "{info}");
    assert!(
        info.contains("driver-type: io.containerd.snapshotter.v1"),
        "{info}"
    );
    let df = said(&["system", "df"]).await;
    let images: Vec<&str> = df.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(images[..3], ["Images", "10", "3"], "{df}");
    let verbose = said(&["system", "df", "--verbose"]).await;
    assert!(verbose.contains("Images space usage:"), "{verbose}");
    let listed = said(&["ps", "--all", "--quiet"]).await;
    assert_eq!(listed.lines().count(), 3);
}

/// `docker system prune` removes images and passes over the rest; `docker events` hears of it.
#[tokio::test]
async fn prunes_the_system_and_tells_of_it() {
    let ours = Side::ours().await;
    let args = [
        "events",
        "--format",
        "{{.Type}} {{.Action}} {{.Actor.Attributes.name}}",
    ];
    let mut events = command(&ours.socket(), &args);
    let mut events = events.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(events.stdout.take().unwrap()).lines();
    // The client says nothing when it listens: something is done until it is heard.
    let mut dice = Dice::new(1);
    let mut heard = loop {
        let name = format!("keep:{}", dice.between(1, 2));
        docker(&ours.socket(), &["image", "rm", &name]).await;
        let waited = tokio::time::timeout(std::time::Duration::from_millis(500), lines.next_line());
        if let Ok(line) = waited.await {
            break vec![line.unwrap().unwrap()];
        }
        ours.fill().await;
    };
    let pruned = docker(&ours.socket(), &["system", "prune", "--force", "--all"]).await;
    assert_eq!(
        (pruned.code, pruned.stderr.as_str()),
        (0, ""),
        "{pruned:#?}"
    );
    assert!(pruned.stdout.contains("untagged: plain:1\n"), "{pruned:#?}");
    assert!(
        !pruned.stdout.contains("Total reclaimed space: 0B"),
        "{pruned:#?}"
    );
    while !heard.last().unwrap().starts_with("image prune") {
        heard.push(lines.next_line().await.unwrap().unwrap());
    }
    for expected in ["image untag plain:1", "image delete plain:1"] {
        assert!(heard.iter().any(|it| it == expected), "{heard:#?}");
    }
    events.kill().await.unwrap();
    let left = ours.names().await.into_keys().collect::<Vec<_>>();
    let used = ["by-id:other", "mounted:1", "used:1"];
    assert_eq!(left, used.map(|it| format!("docker.io/library/{it}")));
}
