//! What a person sees who types `docker image …`: with a Docker Engine, and with us.

use crate::command::{Said, docker};
use crate::side::Side;

/// Asks both sides, on which the same is there.
pub(crate) async fn both(docker_side: &Side, ours: &Side, args: &[&str]) -> (Said, Said) {
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
    let mut lines: Vec<String> = words.filter(|line| !line.is_empty()).collect();
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
