//! A node with one core, on which a daemon has one async thread.

use std::path::Path;
use std::time::Duration;

use reclaim_api::json::HostClient;
use reclaim_testkit::ManyImages;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::daemon::{Daemon, ask_on, serve};

/// Time between two questions, and the time after which only a broken daemon has not begun.
const PAUSE: Duration = Duration::from_millis(5);
const PATIENCE: Duration = Duration::from_secs(60);

/// Starts a daemon as on one core, with metrics at `address`.
fn start(containerd: &ManyImages, address: &str) -> Daemon {
    let directory = TempDir::new().unwrap();
    let path = |name: &str| directory.path().join(name);
    let (socket, config) = (path("r.sock"), path("config.toml"));
    std::fs::write(&config, format!("[metrics]\nlisten = \"{address}\"\n")).unwrap();
    let mut command = serve(containerd.address(), &socket);
    // What the runtime would do by itself there.
    let command = command.env("TOKIO_WORKER_THREADS", "1");
    let as_argument = |path: &Path| path.as_os_str().to_owned();
    let state = [as_argument(directory.path()), as_argument(&config)];
    let command = command.arg("--state").arg(&state[0]);
    let child = command.arg("--config").arg(&state[1]).spawn().unwrap();
    Daemon::adopted(child, socket, directory)
}

/// Asks for `/live` by a connection of its own. Returns how long the answer took, if there is one.
async fn live(address: &str) -> Option<Duration> {
    let began = Instant::now();
    let stream = TcpStream::connect(address).await.ok()?;
    let answer = ask_on(stream, "GET", "/live", &[], "").await.ok()?;
    assert_eq!(answer.body, "alive\n");
    Some(began.elapsed())
}

/// `/live` should be answered while 100,000 images are evaluated.
#[tokio::test(flavor = "multi_thread")]
async fn is_alive_while_100_000_images_are_evaluated() {
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
    let listing = tokio::spawn(async move {
        let namespace = ManyImages::NAMESPACE.parse().unwrap();
        let list = client.images(&namespace, false).await.unwrap();
        (list.images.len(), began.elapsed())
    });
    let mut waits = Vec::new();
    while !listing.is_finished() {
        waits.push(live(&address).await.expect("the daemon is alive"));
        tokio::time::sleep(PAUSE).await;
    }
    let (n_images, took) = listing.await.unwrap();
    assert_eq!(n_images, 100_000);
    // What the machine does meanwhile makes one or the other answer late, an evaluation that holds
    // the thread all of those that are long.
    waits.sort_unstable();
    let (asked, longest) = (waits.len(), &waits[waits.len().saturating_sub(10)..]);
    let waited: Duration = longest.iter().sum();
    let figures = format!("{asked} answers in {took:?}, the slowest ones after {longest:?}");
    eprintln!("{figures}");
    assert!(waited < took / 4, "{figures}");
}
