//! The commands of a day.

use std::env;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::normal::normal;
use crate::command::{PATIENCE, binary};

/// The variables with the paths of the plugin buildx, and of the Compose binaries, separated by colons.
const BUILDX: &str = "RECLAIM_TEST_BUILDX";
const COMPOSE: &str = "RECLAIM_TEST_COMPOSE";

/// The programs of the base image.
const PROGRAMS: &[&str] = &[
    "cat", "echo", "head", "sh", "sleep", "stty", "touch", "true", "tty", "wc",
];

const DOCKERFILE: &str =
    "FROM base:1\nCOPY file /file\nRUN cat /file > /built\nCMD [\"cat\", \"/built\"]\n";

const PROJECT: &str = "
name: day
services:
  web: {build: {context: ., network: none}, network_mode: none}
  base: {image: 'base:1', network_mode: none, command: [echo, from base]}
";

/// A directory with a project, and the configuration of the clients.
pub(super) struct Files(TempDir);

impl Files {
    pub(super) fn create() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        for below in ["root/bin", "project", "plugins/cli-plugins"] {
            fs::create_dir_all(path.join(below)).unwrap();
        }
        fs::write(path.join("root/bin/busybox"), reclaim_testkit::busybox()).unwrap();
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(path.join("root/bin/busybox"), executable).unwrap();
        for program in PROGRAMS {
            symlink("busybox", path.join("root/bin").join(program)).unwrap();
        }
        fs::write(path.join("project/Dockerfile"), DOCKERFILE).unwrap();
        fs::write(path.join("project/file"), "from the file\n").unwrap();
        fs::write(path.join("project/compose.yaml"), PROJECT).unwrap();
        // More than any buffer on the way.
        fs::write(path.join("large"), vec![7; 20 << 20]).unwrap();
        symlink(buildx(), path.join("plugins/cli-plugins/docker-buildx")).unwrap();
        Self(directory)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the environment names the clients"
)]
fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("{name} is not set; see docs/contributing.md"))
}

fn buildx() -> PathBuf {
    variable(BUILDX).into()
}

/// A shell command.
pub(crate) struct Step {
    pub(super) name: &'static str,
    command: String,
    /// The expected exit status.
    pub(crate) code: i32,
    /// Lines that are printed, among others.
    pub(super) prints: &'static [&'static str],
}

/// The exit status and the output of a step.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) code: i32,
    stdout: Vec<String>,
    /// In the order of the alphabet, because clients print progress of steps side by side.
    stderr: Vec<String>,
}

impl Answer {
    pub(super) fn prints(&self, text: &str) -> bool {
        let mut lines = self.stdout.iter().chain(&self.stderr);
        lines.any(|line| line.contains(text))
    }

    pub(super) fn is_silent(&self) -> bool {
        self.stdout.is_empty()
    }

    /// Returns the line of the standard output that begins with `text`.
    pub(super) fn position(&self, text: &str) -> usize {
        let mut lines = self.stdout.iter();
        let at = lines.position(|line| line.starts_with(text));
        at.unwrap_or_else(|| panic!("`{text}` is missing: {self:#?}"))
    }
}

impl Step {
    pub(crate) fn new(name: &'static str, command: &str) -> Self {
        Self {
            name,
            command: command.to_owned(),
            code: 0,
            prints: &[],
        }
    }

    fn prints(self, prints: &'static [&'static str]) -> Self {
        Self { prints, ..self }
    }

    fn exits(self, code: i32) -> Self {
        Self { code, ..self }
    }

    /// Runs the command in the directory of the files, with `docker` at this socket.
    pub(super) async fn run(&self, files: &Files, socket: &Path) -> Answer {
        let directory = files.0.path();
        let mut shell = Command::new("sh")
            .arg("-c")
            .arg("docker() { \"$DOCKER\" \"$@\"; }\neval \"$STEP\"")
            .current_dir(directory)
            .env("STEP", &self.command)
            .env("DOCKER", binary())
            .env("DOCKER_HOST", format!("unix://{}", socket.display()))
            .env("DOCKER_CONFIG", directory.join("plugins"))
            .env("BUILDKIT_PROGRESS", "plain")
            .env("HOME", directory)
            .env("TZ", "UTC")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        shell.stdin.take().unwrap().shutdown().await.unwrap();
        let output = tokio::time::timeout(PATIENCE, shell.wait_with_output()).await;
        let output = output.unwrap_or_else(|_| panic!("{} does not end", self.name));
        let output = output.unwrap();
        let lines = |bytes: &[u8]| -> Vec<String> {
            String::from_utf8_lossy(bytes).lines().map(normal).collect()
        };
        let mut stderr = lines(&output.stderr);
        for line in &mut stderr {
            *line = without_progress(line).to_owned();
        }
        stderr.sort();
        stderr.dedup();
        Answer {
            code: output.status.code().unwrap(),
            stdout: lines(&output.stdout),
            stderr,
        }
    }
}

/// Cuts off the numbers of BuildKit's steps, which it runs side by side, and what it prints again, or
/// not at all, by how long a step takes.
fn without_progress(line: &str) -> &str {
    let line = line.strip_prefix('#').map_or(line, |step| {
        step.trim_start_matches(|letter: char| letter.is_ascii_digit())
    });
    let line = line
        .split_once("transferring")
        .map_or(line, |(step, _)| step);
    let line = line.strip_suffix(" done").unwrap_or(line);
    line.strip_suffix(" DURATION").unwrap_or(line).trim_end()
}

/// Imports the image that all others are built from.
pub(crate) fn import() -> Step {
    Step::new("import", "tar -C root -c . | docker import - base:1")
}

/// Returns a command with a terminal. It prints the end of its own input as `^@`, at any time.
fn on_terminal(name: &'static str, command: &str) -> Step {
    let script = format!("script -qec \"\\$DOCKER {command}\" /dev/null </dev/null");
    Step::new(name, &format!("{script} | sed 's/\\^@//g' | grep ."))
}

/// Returns the steps, in order.
pub(super) fn steps() -> Vec<Step> {
    let mut steps: Vec<Step> = [builds(), runs(), running(), streams(), archives()]
        .into_iter()
        .flatten()
        .collect();
    for binary in variable(COMPOSE).split(':') {
        steps.extend(compose(binary));
    }
    steps
}

/// Builds with each builder.
fn builds() -> Vec<Step> {
    vec![
        import(),
        Step::new("version", "docker version"),
        Step::new(
            "classic build",
            "DOCKER_BUILDKIT=0 docker build --network none --tag classic:1 project",
        )
        .prints(&["Successfully tagged classic:1"]),
        Step::new(
            "build with BuildKit",
            "docker build --network none --no-cache --tag built:1 project",
        ),
        Step::new(
            "buildx to a file",
            "docker buildx build --network none --output type=tar,dest=out.tar project \
             && tar -xOf out.tar built",
        )
        .prints(&["from the file"]),
        Step::new(
            "buildx with a context from stdin",
            "tar -C project -c . | docker buildx build --network none --tag built:2 -",
        ),
        Step::new(
            "failed build",
            "echo FROM missing:1 | DOCKER_BUILDKIT=0 docker build --pull=false - >/dev/null 2>&1",
        )
        .exits(1),
    ]
}

/// Containers that run to their end.
fn runs() -> Vec<Step> {
    vec![
        Step::new("run", "docker run --rm --network none built:1").prints(&["from the file"]),
        Step::new(
            "run with input",
            "echo hi | docker run --rm --interactive --network none base:1 sh -c 'cat; echo end; echo e >&2'",
        )
        .prints(&["hi", "end", "e"]),
        Step::new(
            "run with much input",
            "docker run --rm --interactive --network none base:1 sh -c 'wc -c; echo end' < large",
        )
        .prints(&["20971520", "end"]),
        Step::new(
            "run with much output",
            "docker run --rm --network none base:1 head -c 20000000 /dev/zero | wc -c",
        )
        .prints(&["20000000"]),
        on_terminal("run on a terminal", "run --rm -it --network none base:1 tty").prints(&["/dev/pts/0"]),
        Step::new("status", "docker run --rm --network none base:1 sh -c 'exit 7'").exits(7),
    ]
}

/// A container that runs: exec, cp, logs.
fn running() -> Vec<Step> {
    vec![
        Step::new(
            "detach",
            "docker run --detach --name day --network none base:1 sh -c 'echo start; sleep 1000'",
        ),
        Step::new(
            "exec with input",
            "echo in | docker exec --interactive day sh -c 'cat; echo after the end; exit 5'",
        )
        .prints(&["in", "after the end"])
        .exits(5),
        on_terminal("exec on a terminal", "exec -it day tty").prints(&["/dev/pts/"]),
        Step::new("detached exec", "docker exec --detach day true"),
        Step::new(
            "copy in",
            "docker cp project/file day:/copied && docker exec day cat /copied",
        )
        .prints(&["from the file"]),
        Step::new(
            "copy out",
            "docker cp day:/copied back && cat back && docker cp day:/copied - | tar -xO",
        )
        .prints(&["from the file"]),
        Step::new(
            "copy much",
            "docker cp large day:/large && docker cp day:/large - | wc -c",
        ),
        Step::new("copy nothing", "docker cp day:/missing -").exits(1),
        Step::new("logs", "docker logs --timestamps day").prints(&["start"]),
        Step::new("top", "docker top day -o pid,args | tr -d 0-9").prints(&["sleep"]),
        Step::new(
            "kill",
            "docker kill day && docker wait day && docker rm day",
        ),
    ]
}

/// Output that is followed, and attached clients.
fn streams() -> Vec<Step> {
    vec![
        Step::new(
            "followed logs",
            "docker run --detach --name follow --network none base:1 \
             sh -c 'for i in 1 2 3; do echo line $i; sleep 0.2; done' \
             && docker logs --follow follow && docker rm follow",
        )
        .prints(&["line 3"]),
        // The engine itself mostly ends this stream before the last output of a container that exits,
        // so only the log is compared.
        Step::new(
            "attach",
            "docker run --detach --interactive --name attach --network none base:1 \
             sh -c 'read line; echo got $line' && echo typed | docker attach attach >/dev/null \
             && docker wait attach && docker logs attach && docker rm attach",
        )
        .prints(&["got typed"]),
        Step::new(
            "attach to the output",
            "docker run --detach --name output --network none base:1 sh -c 'sleep 2; echo late' \
             && docker attach --no-stdin output && docker rm output",
        )
        .prints(&["late"]),
        Step::new(
            "start attached",
            "docker create --interactive --name again --network none base:1 sh -c 'cat; echo end' \
             && echo typed | docker start --attach --interactive again && docker rm again",
        )
        .prints(&["typed", "end"]),
        Step::new(
            "unknown container",
            "docker exec nothing true; docker attach nothing",
        )
        .exits(1),
    ]
}

/// Archives of images, and events.
fn archives() -> Vec<Step> {
    vec![
        Step::new(
            "save and load",
            "docker save --output saved.tar built:1 && docker rmi --no-prune built:1 \
             && docker load --input saved.tar && docker run --rm --network none built:1",
        )
        .prints(&["Loaded image: built:1", "from the file"]),
        Step::new("load from stdin", "docker save base:1 | docker load")
            .prints(&["Loaded image: base:1"]),
        Step::new(
            "images",
            "docker image ls --format '{{.Repository}}:{{.Tag}}' | sort",
        ),
        Step::new(
            "followed events",
            "(sleep 1; docker run --rm --name event --network none base:1 true) & \
             timeout 60 sh -c '\"$DOCKER\" events --filter type=container --filter container=event \
             --format {{.Type}}.{{.Action}} | head -n 5'; wait",
        )
        .prints(&["container.create", "container.die"]),
    ]
}

/// A project that is built, started, and taken down.
fn compose(binary: &str) -> Vec<Step> {
    // The builder in Compose itself, which uses BuildKit's session directly.
    let compose =
        format!("COMPOSE_BAKE=false {binary} --progress plain --file project/compose.yaml");
    vec![
        Step::new(
            "Compose up",
            &format!("{compose} up --build --detach --wait-timeout 60 >/dev/null 2>&1"),
        ),
        Step::new("wait", "docker wait day-web-1 day-base-1"),
        Step::new(
            "Compose logs",
            &format!("{compose} logs --no-color --no-log-prefix web"),
        )
        .prints(&["from the file"]),
        Step::new(
            "Compose ps",
            &format!("{compose} ps --all --format '{{{{.Service}}}} {{{{.State}}}}'"),
        ),
        Step::new(
            "Compose run",
            &format!("echo in | {compose} run --rm -T base cat"),
        )
        .prints(&["in"]),
        Step::new("Compose down", &format!("{compose} down --rmi local")),
        Step::new(
            "images after Compose",
            "docker image ls --format '{{.Repository}}:{{.Tag}}' | sort",
        ),
    ]
}
