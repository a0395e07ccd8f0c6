//! Runs the binary through the fault proxy.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use reclaim_testkit::fault::{Act, Fault, FaultProxy, Hook, Outage, Then, kill_process};
use serde_json::Value;
use tokio::process::Command;
use tokio::sync::SetOnce;

/// The prune of the matrices. `--remote` makes every read of a document a call.
pub(crate) const PRUNE_ALL: [&str; 9] = [
    "image", "prune", "-a", "-f", "--grace", "0s", "--format", "json", "--remote",
];

/// A prune that must keep what only [`PRUNE_ALL`] removes.
pub(crate) const PRUNE_DANGLING: [&str; 7] =
    ["image", "prune", "-f", "--grace", "0s", "--format", "json"];

/// How long a run may take before it counts as stuck. All retries take seconds, and on a busy
/// machine up to a hundred times as long.
const STUCK: Duration = Duration::from_secs(900);

/// Deadline for answers in milliseconds, instead of 10 s to 25 s, if a fault withholds an answer.
const DEADLINE: &str = "1000";

/// How many seconds such a run tries to finish, instead of minutes.
const PATIENCE: &str = "5";

/// Exit status and output of a run of the binary.
#[derive(Debug)]
pub(crate) struct RunOutput {
    /// `None` if it was killed.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// Whether a fault took effect.
    pub(crate) struck: bool,
}

impl RunOutput {
    fn stuck() -> Self {
        Self {
            code: Some(-1),
            stdout: String::new(),
            stderr: "the run is stuck".to_owned(),
            struck: false,
        }
    }

    /// Parses the report, which a run prints if it exits with 0 or 3.
    #[track_caller]
    pub(crate) fn report(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }
}

/// Where the binary runs, as far as other runs can tell.
#[derive(Debug, Clone, Default)]
pub(crate) struct Place {
    /// Whether it has its own PID namespace, so that other runs cannot see its process.
    pub(crate) is_unseen: bool,
    pub(crate) variables: Vec<(&'static str, String)>,
}

impl Place {
    fn command(&self) -> Command {
        let binary = env!("CARGO_BIN_EXE_reclaim");
        let mut command = if self.is_unseen {
            // Killing `unshare` kills the binary.
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

/// The process that a hook kills. Its ID is known once it has started.
#[derive(Debug, Clone, Default)]
pub(crate) struct Victim(Arc<SetOnce<u32>>);

impl Victim {
    /// Returns an act that kills the process and closes its connection.
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

/// Runs the binary on the containerd at `address`.
pub(crate) async fn reclaim(address: &str, args: &[&str]) -> RunOutput {
    reclaim_at(&Place::default(), address, args).await
}

/// Like [`reclaim`], at this place.
pub(crate) async fn reclaim_at(place: &Place, address: &str, args: &[&str]) -> RunOutput {
    run(place, address, args, &Victim::default()).await
}

/// Runs the binary on a containerd with a permanent outage. It counts as stuck after `patience`.
pub(crate) async fn run_with_outage(
    containerd: &Path,
    args: &[&str],
    outage: Outage,
    patience: Duration,
) -> RunOutput {
    let proxy = FaultProxy::with_outages(containerd, [outage]);
    let victim = Victim::default();
    let ended = tokio::time::timeout(
        patience,
        run(&Place::default(), proxy.address(), args, &victim),
    )
    .await;
    RunOutput {
        struck: proxy.struck() > 0,
        ..ended.unwrap_or_else(|_| RunOutput::stuck())
    }
}

/// Runs the binary through a proxy with these faults.
pub(crate) async fn run_with_faults(
    containerd: &Path,
    args: &[&str],
    faults: impl IntoIterator<Item = Fault>,
    victim: &Victim,
) -> RunOutput {
    run_with_faults_at(&Place::default(), containerd, args, faults, victim).await
}

/// Like [`run_with_faults`], at this place.
pub(crate) async fn run_with_faults_at(
    place: &Place,
    containerd: &Path,
    args: &[&str],
    faults: impl IntoIterator<Item = Fault>,
    victim: &Victim,
) -> RunOutput {
    let faults: Vec<Fault> = faults.into_iter().collect();
    let waits = |fault: &Fault| matches!(fault.act, Act::Hang | Act::Silence);
    let deadline = faults.iter().any(waits).then_some(DEADLINE);
    let proxy = FaultProxy::start(containerd, faults);
    let ended = run_with_deadline(place, proxy.address(), args, victim, deadline).await;
    RunOutput {
        struck: proxy.struck() > 0,
        ..ended
    }
}

async fn run(place: &Place, address: &str, args: &[&str], victim: &Victim) -> RunOutput {
    run_with_deadline(place, address, args, victim, None).await
}

/// Runs the binary, which waits no longer than `deadline` milliseconds for an answer.
async fn run_with_deadline(
    place: &Place,
    address: &str,
    args: &[&str],
    victim: &Victim,
    deadline: Option<&'static str>,
) -> RunOutput {
    let child = place
        .command()
        .envs(deadline.map(|deadline| ("RECLAIM_TEST_DEADLINE_MS", deadline)))
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
        return RunOutput::stuck();
    };
    let output = output.unwrap();
    RunOutput {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
        struck: false,
    }
}
