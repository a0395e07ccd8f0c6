//! Being interrupted.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::exit::CommandError;
use crate::output;

/// The first SIGINT or SIGTERM lets the run stop where it is and report; a second one ends the
/// process at once.
pub(crate) fn cancel_on_signals() -> Result<CancellationToken, CommandError> {
    let cancel = CancellationToken::new();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let token = cancel.clone();
    tokio::spawn(async move {
        let mut next = async || {
            tokio::select! {
                _ = interrupt.recv() => 130,
                _ = terminate.recv() => 143,
            }
        };
        next().await;
        output::words("stopping after the removals under way; once more to stop at once");
        token.cancel();
        let status = next().await;
        end_at_once(status);
    });
    Ok(cancel)
}

#[expect(
    clippy::exit,
    reason = "the user insists; nothing that matters is unwritten"
)]
fn end_at_once(status: i32) -> ! {
    std::process::exit(status)
}
