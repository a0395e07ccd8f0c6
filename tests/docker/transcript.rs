//! The output of `docker image …` with a Docker Engine and with Reclaim.

use crate::built;
use crate::command::{Output, docker};
use crate::forwarded::normal::normal;
use crate::side::Side;

/// Calls `docker` on both sides.
pub(crate) async fn both(docker_side: &Side, ours: &Side, args: &[&str]) -> (Output, Output) {
    let (theirs, mine) = (docker_side.socket(), ours.socket());
    tokio::join!(docker(&theirs, args), docker(&mine, args))
}

/// Returns the sorted lines, without IDs of containers, which differ on each side. Values in
/// brackets are sorted, too, because Docker prints the values of a filter in random order.
fn sorted(output: &Output) -> Vec<String> {
    let mut lines: Vec<String> = output
        .stdout
        .lines()
        .chain(output.stderr.lines())
        .map(|line| without_container_id(&with_sorted_brackets(line)))
        .filter(|line| !line.is_empty())
        .collect();
    lines.sort();
    lines
}

/// Replaces the word of 12 letters after `container`, and makes each run of blanks one.
fn without_container_id(line: &str) -> String {
    let mut before = "";
    let words = line.split_whitespace().map(|word| {
        let is_id = before == "container" && word.len() == 12;
        before = word;
        if is_id { "ID" } else { word }
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Sorts the values of a line such as `dangling=[true false]`.
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

/// Commands that change nothing, and errors.
#[tokio::test]
async fn lists_and_inspects_like_a_docker_engine() {
    let (theirs, ours) = tokio::join!(Side::docker(), Side::reclaim());
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

/// Everything about an image.
const LIST: &str = "{{.Repository}} {{.Tag}} {{.ID}} {{.Size}} {{.CreatedSince}}";

/// Details of an image, without times, which differ on each side.
const INSPECT: &str = "{{.Id}} {{json .RepoTags}} {{json .RepoDigests}} {{json .Config}} \
                       {{json .RootFS}} {{.Architecture}} {{.Os}} {{.Size}} {{.Parent}} \
                       {{.Comment}} {{.Author}} {{json .Descriptor}} {{.GraphDriver.Name}}";

/// The output is the same, and so are the images that are left.
#[tokio::test]
async fn removes_like_a_docker_engine() {
    let (theirs, ours) = tokio::join!(Side::docker(), Side::reclaim());
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
            "image",
            "prune",
            "--force",
            "--all",
            "--filter",
            "label!=keep",
            "--filter",
            "label=x",
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

/// Images that each engine built, while its build cache holds their layers. Their IDs differ, and
/// their sizes by a few bytes: provenance and history have the times of the build, without trailing
/// zeros. (The table of requests compares sizes on one engine.)
#[tokio::test]
async fn removes_what_it_built_like_a_docker_engine() {
    let (theirs, ours) = tokio::join!(Side::docker(), Side::reclaim());
    tokio::join!(built::build(theirs.dockerd()), built::build(ours.dockerd()));
    // Docker's prune ignores mounts, and removes this image.
    let mounted = ours.names().await["docker.io/library/mounted:1"].clone();
    let shown = "{{.Repository}} {{.Tag}}";
    let list = ["image", "ls", "--all", "--format", shown];
    for args in [
        &list[..],
        &["image", "rm", "--platform", "linux/arm64", "several:1"],
        &[
            "image",
            "rm",
            "--force",
            "--platform",
            "linux/arm64",
            "several:1",
        ],
        &["image", "rm", "attested:other"],
        &["image", "rm", "attested:1"],
        &["image", "rm", "classic:1"],
        &["image", "rm", "--no-prune", "pulled:1"],
        &list,
        &["image", "prune", "--force"],
        &list,
        &["image", "prune", "--force", "--all"],
        &list,
    ] {
        let (their_answer, my_answer) = both(&theirs, &ours, args).await;
        let case = format!(
            "docker {}\n{their_answer:#?}\n{my_answer:#?}",
            args.join(" ")
        );
        assert_eq!(my_answer.code, their_answer.code, "{case}");
        let [their_lines, my_lines] = [&their_answer, &my_answer].map(|output| {
            let lines = without_sizes(output);
            let mut lines: Vec<String> = lines
                .iter()
                .filter(|line| !line.contains("mounted") && !line.contains(&mounted))
                .map(|line| normal(line))
                .collect();
            lines.sort();
            lines
        });
        assert_eq!(my_lines, their_lines, "{case}");
        if args.contains(&"--platform") {
            // Docker deletes layers that other platforms of the image have, too. Here these stay.
            let inspect = ["image", "inspect", "--platform", "linux/amd64", "several:1"];
            let inspected = docker(&ours.socket(), &inspect).await;
            assert_eq!(inspected.code, 0, "{inspected:#?}");
        }
    }
}

/// Removes the reclaimed space: this version of Docker does not count snapshots in it, while later
/// versions and Reclaim do.
fn without_sizes(output: &Output) -> Vec<String> {
    let mut lines = sorted(output);
    lines.retain(|line| !line.starts_with("Total reclaimed space:"));
    lines
}
