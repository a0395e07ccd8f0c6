//! A daemon with one async thread, as on a node with one core.

use std::time::Duration;

use reclaim_api::json::HostClient;
use reclaim_testkit::ManyImages;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::time::Instant;

use crate::daemon::{Daemon, ask_on, serve};

/// Time between two requests.
const PAUSE: Duration = Duration::from_millis(5);
/// Longer than a daemon takes to start.
const PATIENCE: Duration = Duration::from_secs(60);

/// Starts a daemon as on one core, with metrics at `address`.
fn start(containerd: &ManyImages, address: &str) -> Daemon {
    let directory = TempDir::new().unwrap();
    let path = |name: &str| directory.path().join(name);
    let (socket, config) = (path("r.sock"), path("config.toml"));
    std::fs::write(&config, format!("[metrics]\nlisten = \"{address}\"\n")).unwrap();
    let child = serve(containerd.address(), &socket)
        // The runtime's default on one core.
        .env("TOKIO_WORKER_THREADS", "1")
        .arg("--state")
        .arg(directory.path())
        .arg("--config")
        .arg(&config)
        .spawn()
        .unwrap();
    Daemon::adopted(child, socket, directory)
}

/// Requests `/live` on a new connection. Returns the time of the answer, if there is one.
async fn live(address: &str) -> Option<Duration> {
    let began = Instant::now();
    let stream = TcpStream::connect(address).await.ok()?;
    let answer = ask_on(stream, "GET", "/live", &[], "").await.ok()?;
    assert_eq!(answer.body, "alive\n");
    Some(began.elapsed())
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_live_while_it_evaluates_100_000_images() {
    let many = ManyImages::start(100_000, 1000);
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap().to_string();
    drop(free);
    let daemon = start(&many, &address);
    let began = Instant::now();
    while live(&address).await.is_none() || !daemon.socket().exists() {
        assert!(began.elapsed() < PATIENCE, "the daemon does not listen");
        tokio::time::sleep(PAUSE).await;
    }
    let host = format!("unix://{}", daemon.socket().display());
    let client = HostClient::new(&host).unwrap();
    let began = Instant::now();
    // The client parses the list for seconds. On a thread of this runtime, that could delay the
    // requests below.
    let listing = std::thread::spawn(move || {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let namespace = ManyImages::NAMESPACE.parse().unwrap();
        let list = runtime.block_on(client.images(&namespace, false)).unwrap();
        (list.images.len(), began.elapsed())
    });
    let mut waits = Vec::new();
    while !listing.is_finished() {
        waits.push(live(&address).await.expect("the daemon is alive"));
        tokio::time::sleep(PAUSE).await;
    }
    let (n_images, took) = listing.join().unwrap();
    assert_eq!(n_images, 100_000);
    // A busy machine makes some answers slow. An evaluation that blocks the thread makes at least
    // the ten slowest ones take most of its time.
    waits.sort_unstable();
    let (n_answers, longest) = (waits.len(), &waits[waits.len().saturating_sub(10)..]);
    let waited: Duration = longest.iter().sum();
    let figures = format!("{n_answers} answers in {took:?}, the slowest ones after {longest:?}");
    eprintln!("{figures}");
    assert!(waited < took / 4, "{figures}");
}
