//! Being interrupted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use reclaim_model::{RefuseReason, Report};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::exit::{CommandError, Exit};
use crate::output;

/// What a shell adds to the number of a signal that ended a process.
const SIGINT: u8 = 128 + 2;
const SIGTERM: u8 = 128 + 15;

/// What the first signal leads to.
pub(crate) const STOPPING: &str =
    "stopping after the removals under way; once more to stop at once";

/// Stops a run when a signal comes.
pub(crate) struct Stop {
    /// Cancelled by the first signal.
    pub(crate) token: CancellationToken,
    status: Arc<AtomicU8>,
}

impl Stop {
    /// Returns the exit status of a run that a signal has kept from doing all it had to do.
    pub(crate) fn cut_short(&self, report: &Report) -> Option<Exit> {
        let mut refused = report.refused.iter();
        let is_cut_short = refused.any(|it| matches!(it.reason, RefuseReason::Cancelled));
        self.status().filter(|_| is_cut_short)
    }

    /// Waits for the first signal, and returns the exit status that it makes.
    pub(crate) async fn signalled(&self) -> Exit {
        self.token.cancelled().await;
        self.status()
            .expect("the status is there before the token is cancelled")
    }

    /// Returns the exit status that the first signal makes, if one has come.
    pub(crate) fn status(&self) -> Option<Exit> {
        let status = self.status.load(Ordering::Acquire);
        (status != 0).then_some(Exit::Stopped(status))
    }
}

/// The first SIGINT or SIGTERM lets the run stop where it is and report; a second one ends the
/// process at once. `words` say so, where it is this process that runs.
pub(crate) fn stop_on_signals(words: Option<&'static str>) -> Result<Stop, CommandError> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let stop = Stop {
        token: CancellationToken::new(),
        status: Arc::default(),
    };
    let (token, first) = (stop.token.clone(), Arc::clone(&stop.status));
    tokio::spawn(async move {
        let mut next = async || {
            tokio::select! {
                _ = interrupt.recv() => SIGINT,
                _ = terminate.recv() => SIGTERM,
            }
        };
        first.store(next().await, Ordering::Release);
        if let Some(words) = words {
            output::words(words);
        }
        token.cancel();
        let status = next().await;
        end_at_once(status);
    });
    Ok(stop)
}

#[expect(
    clippy::exit,
    reason = "the user insists; nothing that matters is unwritten"
)]
fn end_at_once(status: u8) -> ! {
    std::process::exit(status.into())
}
