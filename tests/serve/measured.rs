//! A daemon with a metrics listener.

use std::time::Duration;

use tokio::time::Instant;

use crate::daemon::{Daemon, ask_on};
use crate::rig;

/// Time between two checks of the state.
const PAUSE: Duration = Duration::from_millis(100);
/// Longer than a daemon takes to notice a change.
const PATIENCE: Duration = Duration::from_secs(120);

/// A daemon with a metrics listener.
pub(crate) struct Measured {
    pub(crate) daemon: Daemon,
    address: String,
    _config: tempfile::TempDir,
}

impl Measured {
    /// Starts a daemon on this containerd, with these options of `serve`.
    pub(crate) async fn start(containerd: &str, args: &[&str]) -> Self {
        Self::configured(containerd, "", args).await
    }

    /// As [`Self::start`], with these further keys of `[metrics]`.
    pub(crate) async fn configured(containerd: &str, keys: &str, args: &[&str]) -> Self {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap().to_string();
        drop(free);
        let directory = tempfile::tempdir().unwrap();
        let config = directory.path().join("config.toml");
        std::fs::write(
            &config,
            format!("[metrics]\nlisten = \"{address}\"\n{keys}"),
        )
        .unwrap();
        let globals = ["--config", config.to_str().unwrap()];
        let daemon = Daemon::start_with(containerd, &globals, args).await;
        Self {
            daemon,
            address,
            _config: directory,
        }
    }

    /// Sends a request to the metrics listener. Returns the status and the body.
    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        let stream = tokio::net::TcpStream::connect(&self.address).await.unwrap();
        let answer = ask_on(stream, "GET", path, &[], "").await.unwrap();
        (answer.status.as_u16(), answer.body)
    }

    /// Returns the value of a series, if it exists.
    pub(crate) async fn metric(&self, series: &str) -> Option<i64> {
        let (_, text) = self.get("/metrics").await;
        let mut lines = text.lines();
        lines.find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
    }

    /// Waits until the value of a series is accepted, and returns it.
    pub(crate) async fn until(&self, series: &str, is_accepted: impl Fn(i64) -> bool) -> i64 {
        let began = Instant::now();
        loop {
            let value = self.metric(series).await;
            if let Some(value) = value.filter(|value| is_accepted(*value)) {
                return value;
            }
            assert!(began.elapsed() < PATIENCE, "{series} is {value:?}");
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Calls `reclaim health` on the API socket. Returns its exit status and output.
    pub(crate) fn health(&self, args: &[&str]) -> (i32, String) {
        let host = format!("unix://{}", self.daemon.socket().display());
        // `health` contacts neither a collector of spans nor containerd.
        let globals = ["--host", &host, "--otlp-endpoint", "http://192.0.2.1:4317"];
        let args = [&globals[..], &["health"], args].concat();
        let output = tokio::task::block_in_place(|| rig::call("/nonexistent", "", &args));
        (output.code, output.stdout + &output.stderr)
    }

    /// Waits until `/ready` has this status, and returns how long that took.
    pub(crate) async fn until_ready(&self, status: u16) -> Duration {
        let began = Instant::now();
        while self.get("/ready").await.0 != status {
            assert!(began.elapsed() < PATIENCE, "never {status}");
            tokio::time::sleep(PAUSE).await;
        }
        let up = i64::from(status == 200);
        assert_eq!(self.metric("reclaim_containerd_up").await, Some(up));
        began.elapsed()
    }
}
