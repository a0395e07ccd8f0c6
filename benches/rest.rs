//! The memory of a daemon at rest: the real binary, with metrics.
//!
//! Several daemons run one after the other, each on a server that lists 1,000 images as containerd
//! would. Each lists the images and adds up disk usage once, like a person who looks at the host, and
//! then rests. The medians are printed: the resident memory before these requests and at rest, and which
//! part of it is memory of the process itself, not of its file.
//!
//! `RECLAIM_BENCH_IMAGES=10000` changes the number of images, `RECLAIM_BENCH_RUNS` that of daemons, and
//! `RECLAIM_BENCH_REST=60` the seconds of rest. `RECLAIM_BENCH_BINARY=/usr/bin/reclaim` measures another
//! binary.

#![expect(
    clippy::print_stdout,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a program that prints figures, and ends if it cannot get one"
)]

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use reclaim_api::json::HostClient;
use reclaim_testkit::ManyImages;

/// Longer than a daemon takes to start.
const PATIENCE: Duration = Duration::from_secs(60);

const CONFIG: &str = r#"
[metrics]
listen = "127.0.0.1:0"
"#;

/// Resident memory in KiB.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Memory {
    resident: u64,
    /// The part that no file has.
    anonymous: u64,
}

/// Ends the daemon, also if the benchmark fails.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let images = setting("RECLAIM_BENCH_IMAGES", 1000);
    let runs = setting("RECLAIM_BENCH_RUNS", 3);
    let rest = Duration::from_secs(setting("RECLAIM_BENCH_REST", 30));
    let images = usize::try_from(images).expect("a number of images");
    let many = ManyImages::start(images, images);
    let (mut started, mut rested) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        let (before, after) = measure(many.address(), rest).await;
        started.push(before);
        rested.push(after);
    }
    println!("images  state    resident MiB  anonymous MiB");
    for (state, measured) in [("started", started), ("at rest", rested)] {
        let Memory {
            resident,
            anonymous,
        } = median(measured);
        let [resident, anonymous] = [resident, anonymous].map(mib);
        println!("{images:6}  {state}  {resident:12}  {anonymous:13}");
    }
}

fn setting(name: &str, otherwise: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.map_or(otherwise, |text| text.parse().expect("a number"))
}

fn median(mut measured: Vec<Memory>) -> Memory {
    measured.sort_unstable();
    measured[measured.len() / 2]
}

/// Returns MiB with one decimal.
fn mib(kib: u64) -> String {
    let tenths = kib * 10 / 1024;
    format!("{}.{}", tenths / 10, tenths % 10)
}

/// Returns the memory of a daemon after its start and at rest.
async fn measure(address: &str, rest: Duration) -> (Memory, Memory) {
    let directory = tempfile::tempdir().expect("a directory can be created");
    let (socket, config) = (
        directory.path().join("r.sock"),
        directory.path().join("config.toml"),
    );
    std::fs::write(&config, CONFIG).expect("a new directory is writable");
    let binary = std::env::var("RECLAIM_BENCH_BINARY").ok();
    let child = Command::new(binary.as_deref().unwrap_or(env!("CARGO_BIN_EXE_reclaim")))
        .args(["--address", address, "--log-level", "warn", "--config"])
        .arg(&config)
        .args(["serve", "--listen"])
        .arg(format!("unix://{}", socket.display()))
        .arg("--state")
        .arg(directory.path())
        .stdout(Stdio::null())
        .spawn()
        .expect("the binary runs");
    let daemon = Daemon(child);
    let began = Instant::now();
    while !socket.exists() {
        assert!(began.elapsed() < PATIENCE, "the daemon does not listen");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let id = daemon.0.id();
    let started = memory(id);
    ask(&socket).await;
    tokio::time::sleep(rest).await;
    (started, memory(id))
}

/// Lists the images, and adds up disk usage.
async fn ask(socket: &Path) {
    let client = HostClient::new(&format!("unix://{}", socket.display())).expect("an address");
    let namespace = ManyImages::NAMESPACE.parse().expect("a namespace");
    let list = client.images(&namespace, false).await;
    list.expect("the daemon lists the images");
    let usage = client.disk_usage().await;
    usage.expect("the daemon adds up disk usage");
}

fn memory(process: u32) -> Memory {
    let path = format!("/proc/{process}/status");
    let status = std::fs::read_to_string(path).expect("the daemon runs");
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|text| text.trim().strip_suffix("kB"));
        kib.and_then(|number| number.trim().parse().ok())
            .expect("Linux has this field")
    };
    Memory {
        resident: field("VmRSS:"),
        anonymous: field("RssAnon:"),
    }
}
