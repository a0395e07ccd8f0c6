//! What an engine tells of itself and of its disk, line by line beside a Docker Engine.

use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader};

use crate::command::{PATIENCE, command, docker as call};
use crate::differences::{Difference, agree, both, docker, lines, ours, somewhere};
use crate::side::Side;
use crate::transcript;

const ITS_OWN: &str = "each engine tells its own version";
const NO_BUILD: &str = "a build of ours does not tell when and from what it was made";
const NO_CONTAINERS: &str = "nothing is run here: there are no runtimes, limits, logs, or init";
const NO_NETWORKS: &str = "there are no networks, and no registries are talked to";
const NO_DIRECTORY: &str = "there is no data directory: everything is in containerd";

const VERSION: &[Difference] = &[
    both("Server:", "the platform has a name"),
    both("Version:", ITS_OWN),
    both(
        "API version:",
        "1.52 is the newest, and nothing below 1.40 is answered",
    ),
    both("Go version:", "it is not written in Go"),
    both("Git commit:", NO_BUILD),
    both("Built:", NO_BUILD),
    both(
        "GitCommit:",
        "containerd's version is told, and not what it was built from",
    ),
    docker("runc:", NO_CONTAINERS),
];

const INFO: &[Difference] = &[
    both(
        "Images:",
        "before 29 Docker counted names; we count images, as it does since",
    ),
    both("Server Version:", ITS_OWN),
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
        "we tell the version, Docker the revision",
    ),
    both("runc version:", NO_CONTAINERS),
    both("init version:", NO_CONTAINERS),
    docker(
        "ID:",
        "an engine that keeps nothing of its own has no identity",
    ),
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
    somewhere(docker("WARNING:", "what the machine lacks for containers")),
];

const MOUNTS: &str = "an image that a container mounts is used";
const SHARED: &str = "shared is content, too, and not only what is unpacked; the total is of images \
                      only";
const WRITTEN: &str = "what containers have written is not known here";

const DF: &[Difference] = &[both("Images", SHARED), both("Containers", WRITTEN)];

/// Each image is on its line with its name; how the line goes on is asked for elsewhere.
const DF_VERBOSE: &[Difference] = &[
    both("<none> <none>", SHARED),
    both("by-id 1", SHARED),
    both("keep 1", SHARED),
    both("keep 2", SHARED),
    both("mounted 1", MOUNTS),
    both("plain 1", SHARED),
    both("quay.io/team/far 1", SHARED),
    both("used 1", SHARED),
    both("x latest", SHARED),
    both(
        "container ",
        "commands, names and moments of containers are not known here",
    ),
];

async fn compare(theirs: &Side, ours: &Side, args: &[&str], list: &[Difference]) {
    let (their_answer, my_answer) = transcript::both(theirs, ours, args).await;
    let case = format!("docker {}", args.join(" "));
    assert_eq!(my_answer.code, their_answer.code, "{case}\n{my_answer:#?}");
    let [theirs, mine] = [&their_answer, &my_answer].map(|output| {
        let lines = lines(output).into_iter();
        lines.map(|line| with_word(&line)).collect::<Vec<_>>()
    });
    agree(&case, &theirs, &mine, list);
}

/// Lines of containers begin with an ID, which is each side's own: a word stands before it.
fn with_word(line: &str) -> String {
    let first = line.split(' ').next().unwrap_or_default();
    let is_id = first.len() == 12 && first.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_id {
        format!("container {line}")
    } else {
        line.to_owned()
    }
}

#[tokio::test]
async fn tells_of_itself_as_a_docker_engine_does() {
    let (theirs, ours) = tokio::join!(Side::docker(), Side::ours());
    compare(&theirs, &ours, &["version"], VERSION).await;
    compare(&theirs, &ours, &["info"], INFO).await;
    compare(&theirs, &ours, &["system", "df"], DF).await;
    compare(&theirs, &ours, &["system", "df", "--verbose"], DF_VERBOSE).await;

    // What is on those lines and can be the same is: all but what is shared, and mounts.
    let counts = "{{.Type}} {{.TotalCount}}";
    compare(&theirs, &ours, &["system", "df", "--format", counts], &[]).await;
    let columns = |side: &Side| {
        let socket = side.socket();
        async move { columns(&call(&socket, &["system", "df", "--verbose"]).await.stdout) }
    };
    let (their_images, my_images) = tokio::join!(columns(&theirs), columns(&ours));
    assert_eq!(my_images, their_images);
    assert_eq!(my_images.len(), 10);
    let all = [
        "ps",
        "--all",
        "--no-trunc",
        "--format",
        "{{.Image}} {{.Labels}}",
    ];
    compare(&theirs, &ours, &all, &[]).await;
}

/// Of each image its name, ID, size, and how many containers were created from it.
fn columns(verbose: &str) -> Vec<String> {
    let lines = verbose
        .lines()
        .skip_while(|line| !line.starts_with("REPOSITORY"));
    let lines = lines.skip(1).take_while(|line| !line.is_empty());
    let rows = lines.map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let n_containers = words[words.len() - 1];
        let n_containers = if words[0] == "mounted" {
            "-"
        } else {
            n_containers
        };
        let size = words[words.len() - 4];
        format!(
            "{} {} {} {size} {n_containers}",
            words[0], words[1], words[2]
        )
    });
    let mut rows: Vec<String> = rows.collect();
    rows.sort();
    rows
}

const OTHERS: &str = "only images are managed here: containers stay, and so do their images";
const SNAPSHOTS: &str = "before 29 Docker did not count what was unpacked";
const REST: &[&str] = &["used", "by-id", "mounted"];

/// `docker system prune` takes the same images but for those that containers use: Docker has
/// removed the containers before, and passes them by.
#[tokio::test]
async fn prunes_the_system_as_a_docker_engine_does() {
    let (theirs, mine) = tokio::join!(Side::docker(), Side::ours());
    let names = theirs.names().await;
    let digest = |name: &str| names[&format!("docker.io/library/{name}")].clone();
    let kept: Vec<String> = REST
        .iter()
        .map(|name| digest(&format!("{name}:1")))
        .collect();
    let since = (jiff::Timestamp::now().as_second() - 1).to_string();
    let prune = ["system", "prune", "--force", "--all"];
    // While it prunes: each hears what the other command has done.
    let (mut their_events, mut my_events, answers) = tokio::join!(
        heard(&theirs, &since, "builder prune"),
        heard(&mine, &since, "image prune"),
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
    // The images of the containers that Docker has removed, and nothing else.
    let before = their_lines.len();
    their_lines.retain(|line| !of_kept(line));
    assert_eq!(before - their_lines.len(), 6, "{their_answer:#?}");
    // IDs of containers, of 64 digits.
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
        is_untagged || REST.iter().any(is_deleted)
    };
    let before = their_events.len();
    their_events.retain(|line| !of_kept(line));
    assert_eq!(before - their_events.len(), 6);
    // Both names of two are told, and the second of them in the event of the deletion, too.
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
        ours("image prune", "Docker's containerd store sends none"),
    ];
    agree("docker events", &their_events, &my_events, &list);
    let left = mine.names().await.into_keys().collect::<Vec<_>>();
    let used = ["by-id:other", "mounted:1", "used:1"];
    assert_eq!(left, used.map(|name| format!("docker.io/library/{name}")));
}

/// Listens until `last`. What has happened already since then is told, too.
async fn heard(side: &Side, since: &str, last: &str) -> Vec<String> {
    let format = "{{.Type}} {{.Action}} {{.Actor.Attributes.name}}";
    let args = ["events", "--since", since, "--format", format];
    let mut events = command(&side.socket(), &args);
    let mut events = events.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(events.stdout.take().unwrap()).lines();
    let mut heard = Vec::new();
    loop {
        let line = tokio::time::timeout(PATIENCE, lines.next_line()).await;
        let line = line.unwrap_or_else(|_| panic!("no `{last}` came: {heard:#?}"));
        let line = line.unwrap().unwrap().replace("<no value>", "");
        let line = line.trim().to_owned();
        let is_last = line.starts_with(last);
        // The containers were created a moment ago.
        if !line.starts_with("container create") {
            heard.push(line);
        }
        if is_last {
            events.kill().await.unwrap();
            return heard;
        }
    }
}
