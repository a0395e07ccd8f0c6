//! `docker version`, `info`, `system df`, `system prune` and `events`, compared line by line with a
//! Docker Engine.

use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader};

use crate::command::{PATIENCE, command, docker as call};
use crate::differences::{Difference, agree, both, docker, lines, ours, somewhere};
use crate::side::Side;
use crate::transcript;

const OWN_VERSION: &str = "each engine reports its own version";
const NO_BUILD: &str = "builds of Reclaim do not record time and commit";
const NO_CONTAINERS: &str = "Reclaim runs no containers: no runtimes, limits, logs or init";
const NO_NETWORKS: &str = "Reclaim has no networks, and contacts no registries";
const NO_DIRECTORY: &str = "Reclaim has no data directory: everything is in containerd";

const VERSION: &[Difference] = &[
    both("Server:", "the name of the platform differs"),
    both("Version:", OWN_VERSION),
    both("API version:", "Reclaim supports 1.40 to 1.57"),
    both("Go version:", "Reclaim is not written in Go"),
    both("Git commit:", NO_BUILD),
    both("Built:", NO_BUILD),
    both(
        "GitCommit:",
        "Reclaim reports containerd's version, and not its commit",
    ),
    docker("runc:", NO_CONTAINERS),
];

const INFO: &[Difference] = &[
    both(
        "Images:",
        "Docker before 29 counts names; Reclaim counts images, like later versions",
    ),
    both("Server Version:", OWN_VERSION),
    docker("Logging Driver:", NO_CONTAINERS),
    both("Cgroup Driver:", NO_CONTAINERS),
    docker("Cgroup Version:", NO_CONTAINERS),
    both("Volume:", "there are no plugins"),
    both("Network:", "there are no plugins"),
    both("Log:", "there are no plugins"),
    docker("Runtimes:", NO_CONTAINERS),
    docker("Default Runtime:", NO_CONTAINERS),
    both("Init Binary:", NO_CONTAINERS),
    both(
        "containerd version:",
        "Reclaim reports the version, Docker the revision",
    ),
    both("runc version:", NO_CONTAINERS),
    both("init version:", NO_CONTAINERS),
    docker("ID:", "Reclaim has no engine ID"),
    both("Docker Root Dir:", NO_DIRECTORY),
    docker("Insecure Registries:", NO_NETWORKS),
    docker("127.0.0.0/8", NO_NETWORKS),
    somewhere(docker("::1/128", NO_NETWORKS)),
    somewhere(docker("CDI spec directories:", NO_CONTAINERS)),
    somewhere(docker("/etc/cdi", NO_CONTAINERS)),
    somewhere(docker("/var/run/cdi", NO_CONTAINERS)),
    somewhere(docker("Security Options:", NO_CONTAINERS)),
    somewhere(docker("apparmor", NO_CONTAINERS)),
    somewhere(docker("seccomp", NO_CONTAINERS)),
    somewhere(docker("Profile:", NO_CONTAINERS)),
    somewhere(docker("cgroupns", NO_CONTAINERS)),
    somewhere(docker(
        "WARNING:",
        "features for containers that the machine lacks",
    )),
];

const MOUNTS: &str = "Reclaim counts an image that a container mounts as used";
const SHARED: &str = "shared content counts, too, and not only unpacked layers; the total is of \
                      images only";

const DF: &[Difference] = &[both("Images", SHARED)];

/// Each image has a line with its name. The columns of the line are compared separately.
const DF_VERBOSE: &[Difference] = &[
    both("<none> <none>", SHARED),
    both("attested 1", SHARED),
    both("by-id 1", SHARED),
    both("keep 1", SHARED),
    both("keep 2", SHARED),
    both("mounted 1", MOUNTS),
    both("plain 1", SHARED),
    both("quay.io/team/far 1", SHARED),
    both("several 1", SHARED),
    both("used 1", SHARED),
    both("x latest", SHARED),
    both(
        "container ",
        "each engine gives its containers other IDs and names",
    ),
];

async fn compare(theirs: &Side, ours: &Side, args: &[&str], list: &[Difference]) {
    let (their_answer, my_answer) = transcript::both(theirs, ours, args).await;
    let case = format!("docker {}", args.join(" "));
    assert_eq!(my_answer.code, their_answer.code, "{case}\n{my_answer:#?}");
    let [theirs, mine] = [&their_answer, &my_answer].map(|output| {
        lines(output)
            .iter()
            .map(|line| marked(line))
            .collect::<Vec<_>>()
    });
    agree(&case, &theirs, &mine, list);
}

/// Puts `container` before lines that begin with a container's ID, which differs on each side.
fn marked(line: &str) -> String {
    let first = line.split(' ').next().unwrap_or_default();
    let is_id = first.len() == 12 && first.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_id {
        format!("container {line}")
    } else {
        line.to_owned()
    }
}

#[tokio::test]
async fn reports_version_info_and_disk_usage_like_a_docker_engine() {
    let (theirs, ours) = tokio::join!(Side::docker(), Side::reclaim());
    compare(&theirs, &ours, &["version"], VERSION).await;
    compare(&theirs, &ours, &["info"], INFO).await;
    compare(&theirs, &ours, &["system", "df"], DF).await;
    compare(&theirs, &ours, &["system", "df", "--verbose"], DF_VERBOSE).await;

    // Columns that do not depend on shared content or mounts are the same.
    let counts = "{{.Type}} {{.TotalCount}}";
    compare(&theirs, &ours, &["system", "df", "--format", counts], &[]).await;
    let columns = |side: &Side| {
        let socket = side.socket();
        async move { columns(&call(&socket, &["system", "df", "--verbose"]).await.stdout) }
    };
    let (their_images, my_images) = tokio::join!(columns(&theirs), columns(&ours));
    assert_eq!(my_images, their_images);
    assert_eq!(my_images.len(), 13);
    let all = [
        "ps",
        "--all",
        "--no-trunc",
        "--format",
        "{{.Image}} {{.Labels}}",
    ];
    compare(&theirs, &ours, &all, &[]).await;
}

/// Returns the name, ID, size and number of containers of each image.
fn columns(verbose: &str) -> Vec<String> {
    let row = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let n_containers = if words[0] == "mounted" {
            "-"
        } else {
            words[words.len() - 1]
        };
        let size = words[words.len() - 4];
        format!(
            "{} {} {} {size} {n_containers}",
            words[0], words[1], words[2]
        )
    };
    let mut rows: Vec<String> = verbose
        .lines()
        .skip_while(|line| !line.starts_with("REPOSITORY"))
        .skip(1)
        .take_while(|line| !line.is_empty())
        .map(row)
        .collect();
    rows.sort();
    rows
}

const OTHERS: &str = "Reclaim manages only images: containers stay, and so do their images";
const SNAPSHOTS: &str = "Docker before 29 does not count unpacked layers";

/// Images that only Reclaim keeps.
const KEPT: &[&str] = &["used", "by-id", "mounted"];

/// `docker system prune` removes the same images, except those of containers: Docker removes the
/// containers first.
#[tokio::test]
async fn prunes_the_system_like_a_docker_engine() {
    let (theirs, mine) = tokio::join!(Side::docker(), Side::reclaim());
    let names = theirs.names().await;
    let digest = |name: &str| names[&format!("docker.io/library/{name}")].clone();
    let kept: Vec<String> = KEPT
        .iter()
        .map(|name| digest(&format!("{name}:1")))
        .collect();
    let since = (jiff::Timestamp::now().as_second() - 1).to_string();
    let prune = ["system", "prune", "--force", "--all"];
    // `docker events` runs during the prune.
    let (mut their_events, mut my_events, answers) = tokio::join!(
        events(&theirs, &since, "builder prune"),
        events(&mine, &since, "image prune"),
        transcript::both(&theirs, &mine, &prune),
    );
    let (their_answer, my_answer) = answers;
    for answer in [&their_answer, &my_answer] {
        assert_eq!((answer.code, &*answer.stderr), (0, ""), "{answer:#?}");
    }
    let of_kept = |line: &str| {
        let is_of = |digest: &String| line.contains(digest.as_str());
        let names = [
            "untagged: used:1",
            "untagged: by-id:other",
            "untagged: mounted:1",
        ];
        kept.iter().any(is_of) || names.contains(&line)
    };
    let mut their_lines = lines(&their_answer);
    // Leave out the images of the removed containers.
    let before = their_lines.len();
    their_lines.retain(|line| !of_kept(line));
    assert_eq!(before - their_lines.len(), 6, "{their_answer:#?}");
    // Container IDs have 64 digits.
    let containers = their_lines.iter().filter(|line| line.len() == 64).count();
    assert_eq!(containers, 3);
    their_lines.retain(|line| line.len() != 64);
    let list = [
        docker("Deleted Containers:", OTHERS),
        both("Total reclaimed space:", SNAPSHOTS),
    ];
    agree(
        "docker system prune",
        &their_lines,
        &lines(&my_answer),
        &list,
    );

    let of_kept = |line: &str| {
        let names = ["used:1", "by-id:other", "mounted:1"];
        let is_untagged = names
            .iter()
            .any(|name| line == format!("image untag {name}"));
        let is_deleted = |digest: &&str| line.starts_with(&format!("image delete {digest}:"));
        is_untagged || KEPT.iter().any(is_deleted)
    };
    let before = their_events.len();
    their_events.retain(|line| !of_kept(line));
    assert_eq!(before - their_events.len(), 6);
    // The event of a deletion has one of the two names, on each side another.
    for events in [&mut their_events, &mut my_events] {
        for line in events
            .iter_mut()
            .filter(|line| line.starts_with("image delete "))
        {
            if line.ends_with("keep:1") || line.ends_with("keep:one") {
                "image delete keep".clone_into(line);
            }
        }
    }
    let list = [
        docker("container destroy", OTHERS),
        docker("container prune", OTHERS),
        docker("network prune", OTHERS),
        docker("builder prune", OTHERS),
        ours(
            "image prune",
            "Docker does not send it with its containerd store",
        ),
    ];
    agree("docker events", &their_events, &my_events, &list);
    let left = mine.names().await.into_keys().collect::<Vec<_>>();
    let used = ["by-id:other", "mounted:1", "used:1"];
    assert_eq!(left, used.map(|name| format!("docker.io/library/{name}")));
}

/// Returns the events from `since` to the first that begins with `last`.
async fn events(side: &Side, since: &str, last: &str) -> Vec<String> {
    let format = "{{.Type}} {{.Action}} {{.Actor.Attributes.name}}";
    let args = ["events", "--since", since, "--format", format];
    let mut child = command(&side.socket(), &args)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut events = Vec::new();
    loop {
        let line = tokio::time::timeout(PATIENCE, lines.next_line())
            .await
            .unwrap_or_else(|_| panic!("no event `{last}`: {events:#?}"));
        let text = line.unwrap().unwrap().replace("<no value>", "");
        let event = text.trim().to_owned();
        let is_last = event.starts_with(last);
        // The containers and archives of the fixture may be newer than `since`.
        let is_fixture = ["container create", "image load"]
            .iter()
            .any(|begin| event.starts_with(begin));
        if !is_fixture {
            events.push(event);
        }
        if is_last {
            child.kill().await.unwrap();
            return events;
        }
    }
}
