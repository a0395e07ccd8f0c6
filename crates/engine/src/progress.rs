//! What a run tells while it is under way.

use serde::{Deserialize, Serialize};

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
