//! Running the binary through the proxy, with a fault to come.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use reclaim_testkit::fault::{Act, Fault, FaultProxy, Hook, Outage, Then, kill_process};
use serde_json::Value;
use tokio::process::Command;
use tokio::sync::SetOnce;

/// The prune that the matrices spoil. containerd's files are not looked at, so that every body is
/// a call that can be spoiled.
pub(crate) const PRUNE_ALL: [&str; 9] = [
    "image", "prune", "-a", "-f", "--grace", "0s", "--format", "json", "--remote",
];

/// A prune that removes less: what only [`PRUNE_ALL`] removes has to survive it.
pub(crate) const PRUNE_DANGLING: [&str; 7] =
    ["image", "prune", "-f", "--grace", "0s", "--format", "json"];

/// How long a run may take before it counts as stuck. All retries together take seconds, but on a
/// machine that has other things to do any of it may take a hundred times as long.
const STUCK: Duration = Duration::from_secs(900);

/// How many milliseconds an answer is waited for where one is withheld, instead of 10 s to 25 s.
const DEADLINE: &str = "1000";

/// How many seconds a run tries there to come to its end, instead of minutes.
const PATIENCE: &str = "5";

/// How a run of the binary ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// `None` if it was killed.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// Whether the fault that was to come has come.
    pub(crate) struck: bool,
}

impl Ended {
    fn stuck() -> Self {
        Self {
            code: Some(-1),
            stdout: String::new(),
            stderr: "the run is stuck".to_owned(),
            struck: false,
        }
    }

    /// The report, which every run prints that ends with 0 or 3.
    #[track_caller]
    pub(crate) fn report(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }
}

/// Where the binary runs, as far as other runs can tell.
#[derive(Debug, Clone, Default)]
pub(crate) struct Place {
    /// Whether it has a PID namespace of its own, so that its process cannot be seen.
    pub(crate) is_unseen: bool,
    pub(crate) variables: Vec<(&'static str, String)>,
}

impl Place {
    fn command(&self) -> Command {
        let binary = env!("CARGO_BIN_EXE_reclaim");
        let mut command = if self.is_unseen {
            // Who kills it kills the binary.
            let mut command = Command::new("unshare");
            command.args(["--pid", "--fork", "--kill-child=SIGKILL", binary]);
            command
        } else {
            Command::new(binary)
        };
        let path = std::env::var_os("PATH").unwrap_or_default();
        command.env_clear();
        if self.is_unseen {
            command.env("PATH", path);
        }
        command.envs(self.variables.iter().map(|(key, value)| (key, value)));
        command
    }
}

/// The process that a hook kills: known only once it runs.
#[derive(Debug, Clone, Default)]
pub(crate) struct Victim(Arc<SetOnce<u32>>);

impl Victim {
    /// Kills the process; its connection has no further use.
    pub(crate) fn kill(&self) -> Act {
        let Self(pid) = self.clone();
        Act::Run(Hook::new(move || {
            let pid = Arc::clone(&pid);
            async move {
                kill_process(*pid.wait().await);
                Then::Cut
            }
        }))
    }
}

/// Runs the binary on whatever is at `address`.
pub(crate) async fn reclaim(address: &str, args: &[&str]) -> Ended {
    reclaim_at(&Place::default(), address, args).await
}

/// As [`reclaim`], at that place.
pub(crate) async fn reclaim_at(place: &Place, address: &str, args: &[&str]) -> Ended {
    run(place, address, args, &Victim::default()).await
}

/// Runs the binary on a containerd of which something is broken for good. What does not end in
/// `patience` is stuck.
pub(crate) async fn hindered(
    containerd: &Path,
    args: &[&str],
    outage: Outage,
    patience: Duration,
) -> Ended {
    let proxy = FaultProxy::with_outages(containerd, [outage]);
    let victim = Victim::default();
    let ended = tokio::time::timeout(
        patience,
        run(&Place::default(), proxy.address(), args, &victim),
    )
    .await;
    Ended {
        struck: proxy.struck() > 0,
        ..ended.unwrap_or_else(|_| Ended::stuck())
    }
}

/// Runs the binary through a proxy with those faults.
pub(crate) async fn spoiled(
    containerd: &Path,
    args: &[&str],
    faults: impl IntoIterator<Item = Fault>,
    victim: &Victim,
) -> Ended {
    spoiled_at(&Place::default(), containerd, args, faults, victim).await
}

/// As [`spoiled`], at that place.
pub(crate) async fn spoiled_at(
    place: &Place,
    containerd: &Path,
    args: &[&str],
    faults: impl IntoIterator<Item = Fault>,
    victim: &Victim,
) -> Ended {
    let faults: Vec<Fault> = faults.into_iter().collect();
    let waits = |it: &Fault| matches!(it.act, Act::Hang | Act::Silence);
    let deadline = faults.iter().any(waits).then_some(DEADLINE);
    let proxy = FaultProxy::start(containerd, faults);
    let ended = run_with(place, proxy.address(), args, victim, deadline).await;
    Ended {
        struck: proxy.struck() > 0,
        ..ended
    }
}

async fn run(place: &Place, address: &str, args: &[&str], victim: &Victim) -> Ended {
    run_with(place, address, args, victim, None).await
}

/// Runs the binary, which waits no longer than so many milliseconds for an answer.
async fn run_with(
    place: &Place,
    address: &str,
    args: &[&str],
    victim: &Victim,
    deadline: Option<&'static str>,
) -> Ended {
    let child = place
        .command()
        .envs(deadline.map(|it| ("RECLAIM_TEST_DEADLINE_MS", it)))
        .envs(deadline.map(|_| ("RECLAIM_PATIENCE", PATIENCE)))
        .args(args)
        .env("CONTAINERD_ADDRESS", address)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    victim.0.set(child.id().unwrap()).unwrap();
    let output = tokio::time::timeout(STUCK, child.wait_with_output()).await;
    let Ok(output) = output else {
        return Ended::stuck();
    };
    let output = output.unwrap();
    Ended {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
        struck: false,
    }
}
