//! The daemon on a full filesystem for its state: one block or inode more is left in each case,
//! so that each write of state is the first that fails.

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
use crate::matrix::{Complaints, work_through};
use crate::run::reclaim;
use crate::stage::{PLATFORMS, Stage, UNUSED, USED};
use crate::state::State;

/// More than all state takes.
const DISK: u64 = 8 << 20;

/// How many blocks around the end of something that a daemon does are tried one by one, and which
/// part of the others.
const NEAR: u64 = 10;
const ONE_OF: u64 = 16;

/// How long a daemon may take to start or to end before it counts as stuck.
const STUCK: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(5);

/// A policy that removes everything unused, and a headroom that is state, too.
const CONFIG: &str = "[headroom]\nsize = \"64KiB\"\n[[policy]]\nname = \"p\"\nall = true\n\
                      min_age = \"0s\"\nlast_copies = true\n";

/// Owners that register a container: of [`PLATFORMS`] while there is room, of [`UNUSED`] later.
const EARLY: &str = "early";
const LATE: &str = "late";

/// What is in the state directory when the disk gets full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Before {
    /// Nothing: it has to be made.
    Nothing,
    /// What a daemon left.
    State,
    /// The same, with the index of last use and the record of runs damaged.
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

    /// How many runs of policies are remembered.
    fn n_runs(self) -> usize {
        usize::from(self != Self::Nothing)
    }

    /// How many files have to be set aside once there is room.
    fn n_damaged(self) -> usize {
        if self == Self::Damage { 2 } else { 0 }
    }
}

#[derive(Debug, Clone, Copy)]
struct Case {
    before: Before,
    left: Left,
}

/// A daemon with a state directory, on the containerd of a stage.
struct Daemon {
    child: Child,
    directory: TempDir,
}

impl Daemon {
    /// Starts it and waits until it answers.
    async fn start(stage: &Stage, directory_of_state: &Path) -> Result<Self, String> {
        let directory = tempfile::tempdir().unwrap();
        let config = directory.path().join("config.toml");
        fs::write(&config, CONFIG).unwrap();
        let log = File::create(directory.path().join("log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_reclaim"))
            .env_clear()
            .arg("--address")
            .arg(&stage.socket)
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
            Ok(Err(complaint)) => Err(complaint),
            Err(_) => Err(format!("does not start: {}", daemon.log())),
        }
    }

    async fn until_it_answers(&mut self) -> Result<(), String> {
        loop {
            if check(&self.address(), Check::Live, STUCK).await.is_ok() {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait().unwrap() {
                return Err(format!("ends at its start: {status}: {}", self.log()));
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

    /// Registers a container of an image. Returns whether it was accepted.
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
        let lists = self.registrar().await.list(proto::ListRequest {}).await;
        let lists = lists.unwrap().into_inner().lists.into_iter();
        lists.map(|list| list.owner).collect()
    }

    /// Ends it, as a service manager does.
    async fn stop(mut self) -> Complaints {
        reclaim_testkit::signal(&self.child, Signal::TERM);
        match timeout(STUCK, self.ended()).await {
            Ok(status) if status.success() => Complaints::new(),
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

/// Leaves a state directory in which everything is that a daemon writes.
async fn state(stage: &Stage) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(stage, directory.path()).await.unwrap();
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

/// What a daemon takes from there on, at the end of each thing that it does.
#[derive(Debug, Default)]
struct Taken {
    blocks: BTreeSet<u64>,
    inodes: u64,
}

impl Taken {
    /// Has a daemon do everything that a case has it do, with room for all of it.
    async fn measure(stage: &Stage, kept: &Path, before: Before) -> Self {
        let disk = SmallDisk::mount(DISK);
        let directory = disk.path().join("state");
        before.prepare(kept, &directory);
        let mut taken = Self::default();
        let at_first = disk.used();
        let mut note = || {
            let used = disk.used();
            taken.blocks.insert(used.blocks - at_first.blocks);
            taken.inodes = taken.inodes.max(used.inodes - at_first.inodes);
        };
        note();
        let daemon = Daemon::start(stage, &directory).await.unwrap();
        note();
        assert!(daemon.register(LATE, UNUSED).await);
        note();
        let run = ["--host", &daemon.address(), "maintain", "--once"];
        let ended = reclaim("", &run).await;
        assert_eq!(ended.code, Some(0), "{ended:?}");
        note();
        assert_eq!(daemon.stop().await, [""; 0]);
        note();
        taken
    }

    /// Returns what should be left, so that each write is the first that fails. The index of last
    /// use writes megabytes at once; of the blocks of such a write one of several is enough.
    fn left(&self) -> impl Iterator<Item = Left> {
        let last = self.blocks.last().copied().unwrap_or_default();
        let is_near = |blocks: u64| self.blocks.iter().any(|at| at.abs_diff(blocks) <= NEAR);
        let blocks = (0..=last).filter(move |it| it.is_multiple_of(ONE_OF) || is_near(*it));
        let inodes = (0..=self.inodes).map(Left::Inodes);
        blocks.map(Left::Blocks).chain(inodes)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_for_state_loses_nothing_and_stops_nothing() {
    let first = Stage::set().await;
    first.restock().await.unwrap();
    let kept = state(&first).await;
    let mut cases = Vec::new();
    for before in [Before::Nothing, Before::State, Before::Damage] {
        first.restock().await.unwrap();
        let taken = Taken::measure(&first, kept.path(), before).await;
        cases.extend(taken.left().map(|left| Case { before, left }));
    }
    let check = async |stage: &Stage, case: &Case| {
        let found = loses_nothing(stage, kept.path(), *case).await;
        found.unwrap_or_else(|complaint| vec![complaint])
    };
    work_through("full disks for state", first, cases, check).await;
}

async fn loses_nothing(stage: &Stage, kept: &Path, case: Case) -> Result<Complaints, String> {
    let disk = SmallDisk::mount(DISK);
    let directory = disk.path().join("state");
    case.before.prepare(kept, &directory);
    disk.fill(case.left);
    let daemon = Daemon::start(stage, &directory).await?;
    let is_accepted = daemon.register(LATE, UNUSED).await;
    let run = ["--host", &daemon.address(), "maintain", "--once"];
    let ended = reclaim("", &run).await;
    let mut complaints = Complaints::new();
    if ended.code != Some(0) {
        complaints.push(format!("the policy: {ended:?}: {}", daemon.log()));
    }
    complaints.extend(daemon.stop().await);
    let owners = [
        (case.before != Before::Nothing).then_some((EARLY, PLATFORMS)),
        is_accepted.then_some((LATE, UNUSED)),
    ];
    let (owners, mut images): (BTreeSet<_>, BTreeSet<_>) = owners.into_iter().flatten().unzip();
    images.insert(USED);
    let after = State::of(&stage.namespace).await;
    let there: BTreeSet<&str> = after.images.keys().map(String::as_str).collect();
    if there != images || !after.leases.is_empty() {
        complaints.push(format!("leaves {there:?} and {:?}", after.leases));
    }
    complaints.extend(after.lacks(&stage.end));
    complaints.extend(stage.broken_images(&after));

    // It starts on the full disk, and when there is room again.
    for is_full in [true, false] {
        if !is_full {
            disk.clear();
        }
        let daemon = Daemon::start(stage, &directory).await?;
        let found = daemon.owners().await;
        if !found.iter().map(String::as_str).eq(owners.iter().copied()) {
            complaints.push(format!("lists of {found:?}: {}", daemon.log()));
        }
        complaints.extend(daemon.stop().await);
    }
    complaints.extend(what_is_left(case, &directory));
    complaints.extend(following_run(stage).await);
    Ok(complaints)
}

/// Says what is missing in the state directory, or should not be there.
fn what_is_left(case: Case, state: &Path) -> Complaints {
    let mut complaints = Complaints::new();
    let lines = fs::read_to_string(state.join("runs.jsonl")).unwrap_or_default();
    let n_runs = lines.lines().count();
    let is_each_whole = lines.lines().all(|line| {
        let run: Result<serde_json::Value, _> = serde_json::from_str(line);
        run.is_ok()
    });
    if n_runs < case.before.n_runs() || !is_each_whole {
        complaints.push(format!("runs: {lines:?}"));
    }
    let names = fs::read_dir(state).unwrap();
    let names = names.map(|it| it.unwrap().file_name().into_string().unwrap());
    let names: Vec<String> = names.collect();
    if !names.iter().any(|it| it == "last-use.redb") {
        complaints.push(format!("no index of last use: {names:?}"));
    }
    let n_damaged = names.iter().filter(|it| it.contains(".damaged-")).count();
    if n_damaged != case.before.n_damaged() {
        complaints.push(format!("{n_damaged} files are set aside: {names:?}"));
    }
    if names.iter().any(|it| it.contains(".new")) {
        complaints.push(format!("leaves a part of a file: {names:?}"));
    }
    complaints
}
