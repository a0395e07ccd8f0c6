//! `reclaim maintain`: scheduled policies, while images and containers come and go.

use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use reclaim_testkit::{Dice, Signal};
use serde_json::Value;
use tokio::net::TcpStream;

use crate::host::Host;

const MIB: u64 = 1 << 20;

/// Time between two checks of an awaited condition.
pub(crate) const PAUSE: Duration = Duration::from_millis(20);
/// Checks before a test gives up, after 120 s.
pub(crate) const CHECKS: u32 = 6000;

/// A running daemon. Dropping it kills it.
pub(crate) struct Daemon {
    child: Child,
    port: u16,
}

impl Daemon {
    /// Starts `reclaim maintain`.
    pub(crate) fn start(host: &Host) -> Self {
        Self::start_as(host, &["maintain"])
    }

    /// Starts a command that runs as a daemon.
    pub(crate) fn start_as(host: &Host, command: &[&str]) -> Self {
        Self::start_with(host, command, &[])
    }

    /// Like [`Self::start_as`], with environment variables.
    pub(crate) fn start_with(host: &Host, command: &[&str], environment: &[(&str, &Path)]) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_reclaim"))
            .env_clear()
            .envs(environment.iter().copied())
            .args(["--log-level", "info", "--config"])
            .arg(host.config())
            .args(["--address", host.rig.containerd.address()])
            .args(command)
            .arg("--state")
            .arg(host.state())
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        Self {
            child,
            port: port(host),
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        reclaim_testkit::signal(&self.child, signal);
    }

    pub(crate) async fn stop(mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        for _ in 0..CHECKS {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            tokio::time::sleep(PAUSE).await;
        }
        panic!("the daemon does not end");
    }

    /// Sends a request to the metrics listener. Returns `None` while it does not listen.
    async fn get(&self, path: &str) -> Option<(u16, String)> {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await.ok()?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
        tokio::spawn(connection);
        let request = hyper::Request::get(path)
            .header("host", "d")
            .body(Empty::<Bytes>::new())
            .unwrap();
        let answer = sender.send_request(request).await.ok()?;
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.ok()?.to_bytes();
        Some((status, String::from_utf8(body.to_vec()).unwrap()))
    }

    /// Returns the value of a series, if it exists.
    pub(crate) async fn metric(&self, series: &str) -> Option<i64> {
        let (_, text) = self.get("/metrics").await?;
        let mut lines = text.lines();
        lines.find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
    }

    /// Returns the number of runs of the policy with one of these outcomes.
    async fn n_runs(&self, outcomes: &[&str]) -> i64 {
        let mut n_runs = 0;
        for outcome in outcomes {
            n_runs += self.metric(&ran(outcome)).await.unwrap_or(0);
        }
        n_runs
    }

    /// Waits until the value of a series is accepted, and returns it.
    pub(crate) async fn wait_for(&self, series: &str, is_accepted: impl Fn(i64) -> bool) -> i64 {
        for _ in 0..CHECKS {
            if let Some(number) = self.metric(series).await
                && is_accepted(number)
            {
                return number;
            }
            tokio::time::sleep(PAUSE).await;
        }
        panic!("{series} is {:?}", self.metric(series).await);
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Returns the port of the metrics listener from the configuration.
fn port(host: &Host) -> u16 {
    let config = std::fs::read_to_string(host.config()).unwrap();
    let (_, rest) = config.split_once("127.0.0.1:").unwrap();
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap()
}

/// Adds a metrics listener on a free port to a configuration.
pub(crate) fn with_metrics(policy: &str) -> String {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    format!("[metrics]\nlisten = \"{address}\"\n{policy}")
}

const PRESSURE: &str = "[[policy]]\nname = \"pressure\"\nall = true\nmin_age = \"0s\"\n\
                        last_copies = true\ninterval = \"1s\"\nhigh = \"60%\"\nlow = \"40%\"\n";

/// Returns the series that counts the runs of the policy `pressure` with an outcome.
fn ran(outcome: &str) -> String {
    format!("reclaim_runs_total{{policy=\"pressure\",trigger=\"schedule\",outcome=\"{outcome}\"}}")
}

/// The smallest and the largest number of images that the busy host gets.
const IMAGES: std::ops::Range<u64> = 36..360;

/// The daemon keeps the filesystem below its high mark, removes images down to the low mark and at
/// most one more, and never removes the image of a container.
#[tokio::test]
async fn keeps_room_while_images_and_containers_come_and_go() {
    let host = Host::start(256 * MIB).await;
    host.configure(&with_metrics(PRESSURE));
    let daemon = Daemon::start(&host);
    daemon
        .wait_for("reclaim_containerd_up", |value| value == 1)
        .await;
    assert_eq!(daemon.get("/ready").await.unwrap().0, 200);
    let mut dice = Dice::new(7);
    let namespace = &host.rig.namespace;
    let mut containers: Vec<(String, String)> = Vec::new();
    for number in 0..IMAGES.end {
        // At least two runs, because one may remove all images that are added while it runs.
        if number >= IMAGES.start && daemon.n_runs(&["done", "unmet"]).await >= 2 {
            break;
        }
        let image = host.image(&format!("i{number}:1"), number, 4 << 20).await;
        if dice.below(3) == 0 {
            let id = format!("c{number}");
            namespace.nerdctl_container(&id, &image).await.unwrap();
            containers.push((id, image.name().to_owned()));
        }
        if containers.len() > 4 {
            let (id, _) = containers.remove(0);
            namespace.delete_container(&id).await.unwrap();
            namespace.remove_snapshot("overlayfs", &id).await.unwrap();
        }
        // Slow down, so that the filesystem is not full before the daemon checks it.
        for _ in 0..CHECKS {
            if host.space().used_percent() < 85 {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
        let there = host.rig.names().await;
        for (id, name) in &containers {
            assert!(there.contains(name), "the image of {id} is gone: {name}");
        }
    }
    let removed = "reclaim_images_removed_total{policy=\"pressure\"}";
    daemon.wait_for(removed, |value| value >= 10).await;
    for _ in 0..CHECKS {
        if host.space().used_percent() < 60 {
            break;
        }
        tokio::time::sleep(PAUSE).await;
    }
    assert!(host.space().used_percent() < 60, "{:?}", host.space());
    // No more images are added. After a run with nothing to do, the end interrupts no run.
    let so_far = daemon.n_runs(&["nothing"]).await;
    daemon
        .wait_for(&ran("nothing"), |value| value > so_far)
        .await;
    assert!(daemon.stop().await.success());

    let history = host
        .with_state(&["policy", "history", "--format", "json"])
        .exits(0)
        .json();
    let mut n_runs = 0;
    for run in history["runs"].as_array().unwrap() {
        let removed = run["runs"][0]["removed"].as_u64().unwrap();
        // Snapshots of an image that is being unpacked count as in use, so that a run may not reach
        // its mark.
        let is_partial = run["outcome"] == "unmet" && removed > 0;
        assert!(run["outcome"] == "done" || is_partial, "{run:#}");
        n_runs += 1;
        if run["outcome"] == "done" {
            check_marks(run);
        }
    }
    assert!(n_runs >= 2, "{history:#}");
}

/// Asserts that a run started above the high mark, and ended at the low mark and at most one image
/// below it. Images that are added meanwhile make a difference of up to two.
fn check_marks(run: &Value) {
    let filesystem = &run["filesystems"][0];
    let of = |key: &str| filesystem[key].as_u64().unwrap();
    let low = of("total_bytes") * 60 / 100;
    assert!(
        of("left_bytes_before") < of("total_bytes") * 40 / 100,
        "{run:#}"
    );
    assert!(of("left_bytes_after") + 20 * MIB >= low, "{run:#}");
    assert!(of("left_bytes_after") <= low + 10 * MIB, "{run:#}");
}

/// SIGHUP loads a new configuration. An invalid one is refused, and the daemon keeps the old one.
#[tokio::test]
async fn refuses_an_invalid_configuration_and_keeps_the_old_one() {
    let host = Host::start(64 * MIB).await;
    let old = with_metrics(PRESSURE);
    host.configure(&old);
    let daemon = Daemon::start(&host);
    let due = "reclaim_policy_next_timestamp_seconds{policy=\"pressure\"}";
    daemon.wait_for(due, |value| value > 0).await;
    let success = "reclaim_config_reload_success";
    daemon.wait_for(success, |value| value == 1).await;

    host.configure(&old.replace("low = \"40%\"", "low = \"90%\""));
    daemon.signal(Signal::HUP);
    daemon.wait_for(success, |value| value == 0).await;
    let so_far = daemon.wait_for(&ran("nothing"), |value| value > 0).await;
    daemon
        .wait_for(&ran("nothing"), |value| value > so_far)
        .await;

    host.configure(&old.replace("\"pressure\"", "\"renamed\""));
    daemon.signal(Signal::HUP);
    let due = "reclaim_policy_next_timestamp_seconds{policy=\"renamed\"}";
    daemon.wait_for(due, |value| value > 0).await;
    daemon.wait_for(success, |value| value == 1).await;
    assert!(daemon.stop().await.success());
}

/// The families that have no series without failed calls, and without TLS: `tests/serve/metrics.rs` has
/// them. Nor have two without a policy that frees parts of images, and without a forecast, which takes
/// hours of measuring.
const WITHOUT_SERIES: [&str; 4] = [
    "reclaim_containerd_call_errors_total",
    "reclaim_filesystem_full_in_seconds",
    "reclaim_images_slimmed_total",
    "reclaim_tls_expiry_timestamp_seconds",
];

#[tokio::test]
async fn images_that_lose_a_part_are_counted() {
    let host = Host::start(64 * MIB).await;
    host.image("a:1", 1, 1000).await;
    let marks = "high = \"60%\"\nlow = \"40%\"\n";
    let always = PRESSURE.replace(marks, "free = [\"snapshots\"]\n");
    host.configure(&with_metrics(&always));
    let daemon = Daemon::start(&host);
    let slimmed = "reclaim_images_slimmed_total{policy=\"pressure\",part=\"snapshots\"}";
    daemon.wait_for(slimmed, |value| value == 1).await;
    assert!(daemon.stop().await.success());
}

#[tokio::test]
async fn metrics_have_every_family_with_its_help() {
    let host = Host::start(64 * MIB).await;
    host.image("a:1", 1, 1000).await;
    let always = PRESSURE.replace("high = \"60%\"\nlow = \"40%\"\n", "");
    host.configure(&with_metrics(&always));
    let daemon = Daemon::start(&host);
    daemon.wait_for(&ran("done"), |value| value == 1).await;
    daemon
        .wait_for("reclaim_containerd_up", |value| value == 1)
        .await;
    let scanned = "reclaim_images_unreadable{namespace=\"default\"}";
    daemon.wait_for(scanned, |value| value == 0).await;
    let (status, text) = daemon.get("/metrics").await.unwrap();
    assert_eq!(status, 200);
    assert!(text.ends_with("# EOF\n"), "{text}");
    let shown = reclaim_api::metrics::FAMILIES
        .iter()
        .filter(|(name, _)| !WITHOUT_SERIES.contains(name));
    for (name, _) in shown {
        let family = name.strip_suffix("_total").unwrap_or(name);
        assert!(
            text.contains(&format!("# HELP {family} ")),
            "{name} in {text}"
        );
    }
    assert_eq!(daemon.get("/live").await.unwrap().0, 200);
    assert_eq!(daemon.get("/nothing").await.unwrap().0, 404);
}
