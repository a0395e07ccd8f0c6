//! SIGINT and SIGTERM.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use reclaim_model::{RefuseReason, Report};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::exit::{CommandError, Exit};
use crate::output;

/// Exit statuses, as a shell reports processes that a signal ended.
const SIGINT: u8 = 128 + 2;
const SIGTERM: u8 = 128 + 15;

/// The message at the first signal, if this process removes images.
pub(crate) const STOPPING: &str =
    "stopping after the removals under way; send the signal again to stop at once";

/// The request to stop that the first signal makes.
pub(crate) struct Stop {
    /// Cancelled by the first signal.
    pub(crate) token: CancellationToken,
    status: Arc<AtomicU8>,
}

impl Stop {
    /// Returns the exit status for the signal if it kept a run from doing all its steps.
    pub(crate) fn exit_if_early(&self, report: &Report) -> Option<Exit> {
        let is_early = report
            .refused
            .iter()
            .any(|refused| matches!(refused.reason, RefuseReason::Cancelled));
        self.status().filter(|_| is_early)
    }

    /// Waits for the first signal, and returns the exit status for it.
    pub(crate) async fn signalled(&self) -> Exit {
        self.token.cancelled().await;
        self.status()
            .expect("the status is stored before the token is cancelled")
    }

    /// Returns the exit status for the first signal, if one was received.
    pub(crate) fn status(&self) -> Option<Exit> {
        let status = self.status.load(Ordering::Acquire);
        (status != 0).then_some(Exit::Stopped(status))
    }
}

/// Handles SIGINT and SIGTERM: the first makes the run stop and report, the second ends the process
/// at once. Prints `message` at the first.
pub(crate) fn stop_on_signals(message: Option<&'static str>) -> Result<Stop, CommandError> {
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
        if let Some(message) = message {
            output::message(message);
        }
        token.cancel();
        let status = next().await;
        end_at_once(status);
    });
    Ok(stop)
}

#[expect(
    clippy::exit,
    reason = "a second signal; an unfinished run is restored by the next"
)]
fn end_at_once(status: u8) -> ! {
    std::process::exit(status.into())
}
