//! The binary is killed during a call of a slim, and during a call of its undo.

use std::time::Duration;

use reclaim_testkit::fault::{Call, Fault, FaultProxy, Moment};
use reclaim_testkit::select_faults;
use tokio::time::Instant;

use super::{Seen, Slims, WINDOW};
use crate::matrix::{Case, Violations, announce, cases};
use crate::run::{PRUNE_DANGLING, RunOutput, Victim, reclaim, run_with_faults};

/// A slim of every part, as [`super::slimming`] requests. `--remote` makes every read of a document a
/// call, and hides whether a mirror serves the layers.
const SLIM: [&str; 11] = [
    "image",
    "slim",
    "--snapshots",
    "--layers",
    "--mirrored-layers",
    "--platforms",
    "--all",
    "--force",
    "--grace=0s",
    "--format=json",
    "--remote",
];

const UNDO: [&str; 1] = ["undo"];

/// What is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Killed {
    Slim,
    /// The undo of a slim that ended.
    Undo,
}

fn slim(window: Duration) -> Vec<String> {
    let mut args = SLIM.map(str::to_owned).to_vec();
    args.push(format!("--undo-window={}s", window.as_secs()));
    args
}

/// Calls of the binary on the containerd of the images.
struct Binary<'a> {
    slims: &'a Slims,
    window: Duration,
    killed: Killed,
}

impl<'a> Binary<'a> {
    fn new(slims: &'a Slims, killed: Killed, window: Duration) -> Self {
        Self {
            slims,
            window,
            killed,
        }
    }

    fn address(&self) -> &str {
        self.slims.containerd.address()
    }

    fn args(&self) -> Vec<String> {
        match self.killed {
            Killed::Slim => slim(self.window),
            Killed::Undo => UNDO.map(str::to_owned).to_vec(),
        }
    }

    /// Calls the binary without a fault.
    async fn call(&self, args: &[String]) -> RunOutput {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        reclaim(self.address(), &args).await
    }

    /// Brings the store into the state in which a process is killed.
    async fn prepare(&self) -> Result<(), String> {
        self.slims.refill().await?;
        if self.killed == Killed::Undo {
            let ended = self.call(&slim(self.window)).await;
            demand(&ended, "the slim to undo")?;
        }
        Ok(())
    }

    /// Returns the calls of an undisturbed process.
    async fn calls(&self) -> Vec<Call> {
        self.prepare().await.unwrap();
        let proxy = FaultProxy::start(self.slims.containerd.socket(), []);
        let args = self.args();
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let ended = reclaim(proxy.address(), &args).await;
        demand(&ended, "an undisturbed process").unwrap();
        proxy.calls()
    }

    async fn check(&self, case: &Case<()>) -> Result<Violations, String> {
        self.prepare().await?;
        let victim = Victim::default();
        let fault = Fault {
            call: case.call.clone(),
            moment: case.moment,
            act: victim.kill(),
        };
        let (socket, args) = (self.slims.containerd.socket(), self.args());
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let ended = run_with_faults(socket, &args, [fault], &victim).await;
        let mut violations = Violations::new();
        if ended.code.is_some() {
            violations.push(format!("is not killed: {ended:?}"));
        }
        // containerd may collect before the next run.
        let namespace = &self.slims.namespace;
        namespace.collect().await.unwrap();
        let after = Seen::of(namespace).await;
        violations.extend(self.slims.sound(&after));
        violations.extend(self.restored(&after).await?);
        let ended = self.call(&slim(Duration::ZERO)).await;
        demand(&ended, "a following slim")?;
        let end = Seen::of(namespace).await;
        let differences = end.differences(&self.slims.end).into_iter();
        violations.extend(differences.map(|it| format!("after a following slim: {it}")));
        Ok(violations)
    }

    /// The next run of any kind restores what the killed process held, and an undo what a finished
    /// run holds. What is not held was released on purpose.
    async fn restored(&self, after: &Seen) -> Result<Violations, String> {
        let ended = self.call(&PRUNE_DANGLING.map(str::to_owned)).await;
        demand(&ended, "the next run")?;
        let namespace = &self.slims.namespace;
        if Seen::of(namespace).await.has_hold() {
            let ended = self.call(&UNDO.map(str::to_owned)).await;
            demand(&ended, "the undo")?;
        }
        namespace.collect().await.unwrap();
        let now = Seen::of(namespace).await;
        let leases = now.state.leases.keys();
        let mut violations: Violations = leases.map(|id| format!("has lease {id}")).collect();
        // A killed undo has written everything back before it releases the hold.
        let has_all = after.has_hold() || self.killed == Killed::Undo;
        if has_all {
            violations.extend(now.differences(&self.slims.before));
        }
        let lacks = self.slims.images.iter().flat_map(|image| now.lacks(image));
        violations.extend(lacks);
        Ok(violations
            .into_iter()
            .map(|it| format!("restored, {it}"))
            .collect())
    }
}

/// Fails unless a process ended with 0.
fn demand(ended: &RunOutput, what: &str) -> Result<(), String> {
    if ended.code == Some(0) {
        Ok(())
    } else {
        Err(format!("{what}: {ended:?}"))
    }
}

async fn kill_everywhere(title: &str, killed: Killed, window: Duration) {
    let began = Instant::now();
    let mut slims = Box::pin(Slims::start(window, false)).await;
    let calls = Box::pin(Binary::new(&slims, killed, window).calls()).await;
    let harms = [(Moment::Before, ()), (Moment::After, ())];
    let cases = select_faults(title, cases(&calls, &harms));
    let size = cases.len();
    let mut violations = Vec::new();
    for case in cases {
        let binary = Binary::new(&slims, killed, window);
        let found = Box::pin(binary.check(&case)).await;
        let mut found = found.unwrap_or_else(|violation| vec![violation]);
        if !found.is_empty() {
            found.insert(0, format!("{case:?}"));
            violations.push(found);
            // A store with violations is not used for other cases.
            slims = Box::pin(Slims::start(window, false)).await;
        }
    }
    announce(title, size, calls.len(), began.elapsed());
    let bad = violations.len();
    assert!(
        bad == 0,
        "{title}: {bad} of {size} cases fail: {violations:#?}"
    );
}

/// A slim that is killed loses no layer, and the next run restores the labels, unless the slim had
/// released them. Then another slim frees the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_slim_loses_no_layer() {
    kill_everywhere("killed slims", Killed::Slim, Duration::ZERO).await;
}

/// With an undo window the labels come back in each case, by the next run or by `undo`.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_slim_with_an_undo_window_can_be_undone() {
    kill_everywhere("killed slims that are held", Killed::Slim, WINDOW).await;
}

/// After a killed undo another one writes the other labels back.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_undo_of_a_slim_loses_nothing() {
    kill_everywhere("killed undos of slims", Killed::Undo, WINDOW).await;
}
