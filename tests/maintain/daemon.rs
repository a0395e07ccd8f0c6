//! The daemon: policies by themselves, on a host that does not stand still.

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

/// Time between two looks at something awaited, and looks before giving up: 120 s.
pub(crate) const PAUSE: Duration = Duration::from_millis(20);
pub(crate) const LOOKS: u32 = 6000;

/// A running daemon. Dropping it ends it.
pub(crate) struct Daemon {
    child: Child,
    port: u16,
}

impl Daemon {
    /// Starts `reclaim maintain`.
    fn start(host: &Host) -> Self {
        Self::start_as(host, &["maintain"])
    }

    /// Starts a command that is a daemon.
    pub(crate) fn start_as(host: &Host, command: &[&str]) -> Self {
        Self::start_with(host, command, &[])
    }

    /// As [`Self::start_as`], with an environment.
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
        for _ in 0..LOOKS {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            tokio::time::sleep(PAUSE).await;
        }
        panic!("the daemon does not end");
    }

    /// Asks the port of the metrics; `None` while nobody listens.
    async fn get(&self, path: &str) -> Option<(u16, String)> {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await.ok()?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
        tokio::spawn(connection);
        let request = hyper::Request::get(path).header("host", "d");
        let request = request.body(Empty::<Bytes>::new()).unwrap();
        let answer = sender.send_request(request).await.ok()?;
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.ok()?.to_bytes();
        Some((status, String::from_utf8(body.to_vec()).unwrap()))
    }

    /// Returns the number of a series, if it is there.
    pub(crate) async fn metric(&self, series: &str) -> Option<i64> {
        let (_, text) = self.get("/metrics").await?;
        let mut lines = text.lines();
        lines.find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
    }

    /// Counts the runs of the policy that ended so.
    async fn n_runs(&self, outcomes: &[&str]) -> i64 {
        let mut n_runs = 0;
        for outcome in outcomes {
            n_runs += self.metric(&ran(outcome)).await.unwrap_or(0);
        }
        n_runs
    }

    /// Waits until a series has a number that is accepted.
    pub(crate) async fn wait_for(&self, series: &str, is_accepted: impl Fn(i64) -> bool) -> i64 {
        for _ in 0..LOOKS {
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

/// Writes where metrics are served, on a port that is free now.
fn port(host: &Host) -> u16 {
    let config = std::fs::read_to_string(host.config()).unwrap();
    let (_, rest) = config.split_once("127.0.0.1:").unwrap();
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap()
}

pub(crate) fn with_metrics(policy: &str) -> String {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    format!("[metrics]\nlisten = \"{address}\"\n{policy}")
}

const PRESSURE: &str = "[[policy]]\nname = \"pressure\"\nall = true\nmin_age = \"0s\"\n\
                        last_copies = true\ninterval = \"1s\"\nhigh = \"60%\"\nlow = \"40%\"\n";

/// Counts how often that policy ended so.
fn ran(outcome: &str) -> String {
    format!("reclaim_runs_total{{policy=\"pressure\",trigger=\"schedule\",outcome=\"{outcome}\"}}")
}

/// How many images the busy host gets at least, and at most.
const IMAGES: std::ops::Range<u64> = 36..360;

/// While images and containers come and go, the daemon should keep the filesystem below its high
/// mark, go down to the low one and no further than an image, and never take a container's image.
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
        // One run may take away what comes while it goes on; it is not to be all.
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
        // Never so fast that it is full before anybody could look.
        for _ in 0..LOOKS {
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
    for _ in 0..LOOKS {
        if host.space().used_percent() < 60 {
            break;
        }
        tokio::time::sleep(PAUSE).await;
    }
    assert!(host.space().used_percent() < 60, "{:?}", host.space());
    // Nothing is added any more: when it has found nothing to do, no run is under way to be cut
    // short by the end.
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
        // While an image is being unpacked it cannot be told what it is of, and what is unknown is
        // in use: the rest goes the next time.
        let is_for_the_next = run["outcome"] == "unmet" && removed > 0;
        assert!(run["outcome"] == "done" || is_for_the_next, "{run:#}");
        n_runs += 1;
        if run["outcome"] == "done" {
            check_marks(run);
        }
    }
    assert!(n_runs >= 2, "{history:#}");
}

/// A run that was under pressure ends at the low mark, and not below it by more than an image.
/// Others add to the filesystem meanwhile; so what is left is compared with room for two.
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

/// SIGHUP should bring a new configuration; a wrong one should be refused and the old one go on.
#[tokio::test]
async fn a_wrong_configuration_is_refused_and_the_old_one_goes_on() {
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

/// All names of metrics should be shown when a policy has run, each with what it means.
#[tokio::test]
async fn metrics_are_whole() {
    let host = Host::start(64 * MIB).await;
    host.image("a:1", 1, 1000).await;
    let always = PRESSURE.replace("high = \"60%\"\nlow = \"40%\"\n", "");
    host.configure(&with_metrics(&always));
    let daemon = Daemon::start(&host);
    daemon.wait_for(&ran("done"), |value| value == 1).await;
    daemon
        .wait_for("reclaim_containerd_up", |value| value == 1)
        .await;
    let (status, text) = daemon.get("/metrics").await.unwrap();
    assert_eq!(status, 200);
    assert!(text.ends_with("# EOF\n"), "{text}");
    for (name, _) in reclaim_api::metrics::FAMILIES {
        let family = name.strip_suffix("_total").unwrap_or(name);
        assert!(
            text.contains(&format!("# HELP {family} ")),
            "{name} in {text}"
        );
    }
    assert_eq!(daemon.get("/live").await.unwrap().0, 200);
    assert_eq!(daemon.get("/nothing").await.unwrap().0, 404);
}
