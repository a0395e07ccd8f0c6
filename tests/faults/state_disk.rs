//! A daemon whose state is on a full filesystem. Each case leaves one more block or inode, so that
//! each write of state is once the first that fails.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use reclaim_api::grpc::proto::container_service_client::ContainerServiceClient;
use reclaim_api::grpc::proto::{self, Container};
use reclaim_api::health::{Check, check};
use reclaim_testkit::{Left, Signal, SmallDisk};
use tempfile::TempDir;
use tokio::net::UnixStream;
use tokio::time::{sleep, timeout};
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;

use crate::check::following_run;
use crate::fixture::{Fixture, PLATFORMS, UNUSED, USED};
use crate::matrix::{Violations, work_through};
use crate::run::reclaim;
use crate::state::State;

/// Size of the filesystem, more than all state takes.
const DISK: u64 = 8 << 20;

/// Every number of blocks is tried within this distance of the end of an action of the daemon.
const NEAR: u64 = 10;
/// Of all other numbers of blocks, one of this many is tried.
const ONE_OF: u64 = 16;

/// How long a daemon may take to start or to end before it counts as stuck.
const STUCK: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(5);

/// A policy that removes everything unused, and a reserve file in the state directory.
const CONFIG: &str = "[headroom]\nsize = \"64KiB\"\n[[policy]]\nname = \"p\"\nall = true\n\
                      min_age = \"0s\"\nlast_copies = true\n";

/// Owners that register a container: of [`PLATFORMS`] before the disk is full, and of [`UNUSED`]
/// after.
const EARLY: &str = "early";
const LATE: &str = "late";

/// What is in the state directory when the disk becomes full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Before {
    /// There is no directory.
    Nothing,
    /// State of an earlier daemon.
    State,
    /// The same, with a damaged index of last use and a damaged file of runs.
    Damage,
}

impl Before {
    fn prepare(self, kept: &Path, state: &Path) {
        if self == Self::Nothing {
            return;
        }
        copy(kept, state);
        if self == Self::Damage {
            fs::write(state.join("last-use.redb"), "damage").unwrap();
            let runs = state.join("runs.jsonl");
            let lines = fs::read_to_string(&runs).unwrap();
            fs::write(&runs, format!("damage\n{lines}")).unwrap();
        }
    }

    /// Number of policy runs in the state.
    fn n_runs(self) -> usize {
        usize::from(self != Self::Nothing)
    }

    /// Number of damaged files, which the daemon sets aside.
    fn n_damaged(self) -> usize {
        if self == Self::Damage { 2 } else { 0 }
    }
}

#[derive(Debug, Clone, Copy)]
struct Case {
    before: Before,
    left: Left,
}

/// A running daemon.
struct Daemon {
    child: Child,
    directory: TempDir,
}

impl Daemon {
    /// Starts a daemon and waits until it answers.
    async fn start(fixture: &Fixture, directory_of_state: &Path) -> Result<Self, String> {
        let directory = tempfile::tempdir().unwrap();
        let config = directory.path().join("config.toml");
        fs::write(&config, CONFIG).unwrap();
        let log = File::create(directory.path().join("log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_reclaim"))
            .env_clear()
            .arg("--address")
            .arg(&fixture.socket)
            .arg("--config")
            .arg(&config)
            .args(["serve", "--grace", "0s", "--listen"])
            .arg(format!("unix://{}", directory.path().join("s").display()))
            .arg("--state")
            .arg(directory_of_state)
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut daemon = Self { child, directory };
        let started = timeout(STUCK, daemon.until_it_answers()).await;
        match started {
            Ok(Ok(())) => Ok(daemon),
            Ok(Err(violation)) => Err(violation),
            Err(_) => Err(format!("does not start: {}", daemon.log())),
        }
    }

    async fn until_it_answers(&mut self) -> Result<(), String> {
        loop {
            if check(&self.address(), Check::Live, STUCK).await.is_ok() {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait().unwrap() {
                return Err(format!("ends while starting: {status}: {}", self.log()));
            }
            sleep(PAUSE).await;
        }
    }

    fn address(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("s")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap()
    }

    async fn registrar(&self) -> ContainerServiceClient<Channel> {
        let socket = self.socket();
        let connector = service_fn(move |_: Uri| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        });
        let endpoint = Endpoint::from_static("http://d");
        let channel = endpoint.connect_with_connector(connector).await.unwrap();
        ContainerServiceClient::new(channel)
    }

    /// Registers a container of an image. Returns whether the daemon accepted it.
    async fn register(&self, owner: &str, image: &str) -> bool {
        let container = Container {
            id: "c".to_owned(),
            image: image.to_owned(),
            ..Container::default()
        };
        let day = prost_types::Duration {
            seconds: 24 * 60 * 60,
            nanos: 0,
        };
        let request = proto::ReplaceRequest {
            owner: owner.to_owned(),
            namespace: String::new(),
            containers: vec![container],
            time_to_live: Some(day),
        };
        self.registrar().await.replace(request).await.is_ok()
    }

    async fn owners(&self) -> BTreeSet<String> {
        let mut registrar = self.registrar().await;
        let response = registrar.list(proto::ListRequest {}).await.unwrap();
        let lists = response.into_inner().lists.into_iter();
        lists.map(|list| list.owner).collect()
    }

    /// Sends SIGTERM and waits for the end, as a service manager does.
    async fn stop(mut self) -> Violations {
        reclaim_testkit::signal(&self.child, Signal::TERM);
        match timeout(STUCK, self.ended()).await {
            Ok(status) if status.success() => Violations::new(),
            ended => vec![format!("ends with {ended:?}: {}", self.log())],
        }
    }

    async fn ended(&mut self) -> ExitStatus {
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            sleep(PAUSE).await;
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// Returns a state directory with everything that a daemon writes.
async fn state(fixture: &Fixture) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(fixture, directory.path()).await.unwrap();
    assert!(daemon.register(EARLY, PLATFORMS).await);
    let run = [
        "--host",
        &daemon.address(),
        "maintain",
        "--once",
        "--dry-run",
    ];
    let ended = reclaim("", &run).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(daemon.stop().await, [""; 0]);
    directory
}

/// What a daemon adds to the disk.
#[derive(Debug, Default)]
struct DiskUse {
    /// Blocks at the end of each action.
    blocks: BTreeSet<u64>,
    /// The most inodes.
    inodes: u64,
}

impl DiskUse {
    /// Runs a daemon through the actions of a case on a disk with room for all of them.
    async fn measure(fixture: &Fixture, kept: &Path, before: Before) -> Self {
        let disk = SmallDisk::mount(DISK);
        let directory = disk.path().join("state");
        before.prepare(kept, &directory);
        let mut disk_use = Self::default();
        let at_first = disk.used();
        let mut note = || {
            let used = disk.used();
            // Files that are written again may be shorter.
            let blocks = used.blocks.saturating_sub(at_first.blocks);
            disk_use.blocks.insert(blocks);
            let inodes = used.inodes.saturating_sub(at_first.inodes);
            disk_use.inodes = disk_use.inodes.max(inodes);
        };
        note();
        let daemon = Daemon::start(fixture, &directory).await.unwrap();
        note();
        assert!(daemon.register(LATE, UNUSED).await);
        note();
        let run = ["--host", &daemon.address(), "maintain", "--once"];
        let ended = reclaim("", &run).await;
        assert_eq!(ended.code, Some(0), "{ended:?}");
        note();
        assert_eq!(daemon.stop().await, [""; 0]);
        note();
        disk_use
    }

    /// Returns how much space to leave, so that each write is once the first that fails. Some
    /// numbers of blocks are enough where the index of last use writes megabytes at once.
    fn left(&self) -> impl Iterator<Item = Left> {
        let last = self.blocks.last().copied().unwrap_or_default();
        let is_near = |blocks: u64| self.blocks.iter().any(|at| at.abs_diff(blocks) <= NEAR);
        let blocks =
            (0..=last).filter(move |blocks| blocks.is_multiple_of(ONE_OF) || is_near(*blocks));
        let inodes = (0..=self.inodes).map(Left::Inodes);
        blocks.map(Left::Blocks).chain(inodes)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_works_and_loses_nothing_when_its_state_cannot_be_written() {
    let first = Fixture::start().await;
    first.refill().await.unwrap();
    let kept = state(&first).await;
    let mut cases = Vec::new();
    for before in [Before::Nothing, Before::State, Before::Damage] {
        first.refill().await.unwrap();
        let disk_use = DiskUse::measure(&first, kept.path(), before).await;
        cases.extend(disk_use.left().map(|left| Case { before, left }));
    }
    let check = async |fixture: &Fixture, case: &Case| {
        let found = loses_nothing(fixture, kept.path(), *case).await;
        found.unwrap_or_else(|violation| vec![violation])
    };
    work_through("full disks for state", first, cases, check).await;
}

async fn loses_nothing(fixture: &Fixture, kept: &Path, case: Case) -> Result<Violations, String> {
    let disk = SmallDisk::mount(DISK);
    let directory = disk.path().join("state");
    case.before.prepare(kept, &directory);
    disk.fill(case.left);
    let daemon = Daemon::start(fixture, &directory).await?;
    let is_accepted = daemon.register(LATE, UNUSED).await;
    let run = ["--host", &daemon.address(), "maintain", "--once"];
    let ended = reclaim("", &run).await;
    let mut violations = Violations::new();
    if ended.code != Some(0) {
        violations.push(format!("the policy: {ended:?}: {}", daemon.log()));
    }
    violations.extend(daemon.stop().await);
    let registered = [
        (case.before != Before::Nothing).then_some((EARLY, PLATFORMS)),
        is_accepted.then_some((LATE, UNUSED)),
    ];
    let (owners, mut expected): (BTreeSet<_>, BTreeSet<_>) =
        registered.into_iter().flatten().unzip();
    expected.insert(USED);
    let after = State::of(&fixture.namespace).await;
    let images: BTreeSet<&str> = after.images.keys().map(String::as_str).collect();
    if images != expected || !after.leases.is_empty() {
        violations.push(format!("leaves {images:?} and {:?}", after.leases));
    }
    violations.extend(after.lacks(&fixture.end));
    violations.extend(fixture.broken_images(&after));

    // The daemon starts on the full disk, and again with room on it.
    for is_full in [true, false] {
        if !is_full {
            disk.clear();
        }
        let daemon = Daemon::start(fixture, &directory).await?;
        let found = daemon.owners().await;
        if !found.iter().map(String::as_str).eq(owners.iter().copied()) {
            violations.push(format!("lists of {found:?}: {}", daemon.log()));
        }
        violations.extend(daemon.stop().await);
    }
    violations.extend(check_directory(case, &directory));
    violations.extend(following_run(fixture).await);
    Ok(violations)
}

/// Checks the files of the state directory.
fn check_directory(case: Case, state: &Path) -> Violations {
    let mut violations = Violations::new();
    let lines = fs::read_to_string(state.join("runs.jsonl")).unwrap_or_default();
    let n_runs = lines.lines().count();
    let is_each_whole = lines.lines().all(|line| {
        let run: Result<serde_json::Value, _> = serde_json::from_str(line);
        run.is_ok()
    });
    if n_runs < case.before.n_runs() || !is_each_whole {
        violations.push(format!("runs: {lines:?}"));
    }
    let names: Vec<String> = fs::read_dir(state)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    if !names.iter().any(|name| name == "last-use.redb") {
        violations.push(format!("no index of last use: {names:?}"));
    }
    let n_damaged = names
        .iter()
        .filter(|name| name.contains(".damaged-"))
        .count();
    if n_damaged != case.before.n_damaged() {
        violations.push(format!("{n_damaged} files are set aside: {names:?}"));
    }
    if names.iter().any(|name| name.contains(".new")) {
        violations.push(format!("leaves a partly written file: {names:?}"));
    }
    violations
}
