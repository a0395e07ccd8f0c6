//! What a caller sets for a run apart from what it removes: options, progress, cancellation.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

/// How a caller steers a run.
#[derive(Clone, Copy)]
pub struct Controls<'a> {
    /// How the run goes about its work.
    pub options: &'a RunOptions,
    /// Hears what the run is at.
    pub progress: &'a ProgressSink<'a>,
    /// Stops the run.
    pub cancel: &'a CancellationToken,
}

impl fmt::Debug for Controls<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = formatter.debug_struct("Controls");
        debug.field("options", self.options);
        debug.field("cancel", self.cancel).finish_non_exhaustive()
    }
}

/// Options of a run that change the how, never the what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunOptions {
    /// How long to wait between the last removal and the second look.
    ///
    /// Whoever had resolved an image's name before it was removed, and goes on to create a
    /// container from it, is seen by the second look if it takes no longer than this.
    pub grace: Duration,
    /// How long what was removed is held, so that it can be restored; zero frees it at once.
    pub undo_window: Duration,
    /// How many records may be removed in a second; `None` is as fast as containerd goes.
    pub max_deletes_per_second: Option<u32>,
    /// Whether to wait for another run to end rather than to give up.
    pub wait: bool,
}

impl RunOptions {
    /// The grace unless told otherwise: what a client takes from resolving a name to preparing
    /// a snapshot, with room.
    pub const DEFAULT_GRACE: Duration = Duration::from_secs(1);

    /// The longest grace that a caller from outside of the process may ask for: a run that has
    /// begun waits it out even when it is cancelled.
    pub const MAX_GRACE: Duration = Duration::from_secs(60);
}

impl Default for RunOptions {
    fn default() -> Self {
        Self {
            grace: Self::DEFAULT_GRACE,
            undo_window: Duration::ZERO,
            max_deletes_per_second: None,
            wait: false,
        }
    }
}

/// How far a run has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "snake_case")]
pub enum Progress {
    /// The store is being listed.
    Observing,
    /// The plan is made.
    Planned {
        /// Records to remove.
        steps: usize,
        /// Records that stay.
        kept: usize,
    },
    /// One more record has been dealt with.
    #[serde(rename = "removing")]
    Step {
        /// So many so far.
        done: usize,
        /// Of so many.
        steps: usize,
    },
    /// The store is being looked at for what became used.
    LookingAgain,
    /// containerd collects.
    Collecting,
    /// The store is being looked at again.
    Measuring,
}

/// Receives progress. Called between steps, so it must not block.
pub type ProgressSink<'a> = dyn Fn(Progress) + Send + Sync + 'a;

/// Drops all progress, for callers that show none.
pub fn no_progress(_: Progress) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controls_can_be_looked_at() {
        let controls = Controls {
            options: &RunOptions::default(),
            progress: &no_progress,
            cancel: &CancellationToken::new(),
        };
        let text = format!("{controls:?}");
        assert!(
            text.starts_with("Controls { options: RunOptions { grace: 1s"),
            "{text}"
        );
    }
}
