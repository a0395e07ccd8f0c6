//! How a run goes about its work, apart from what it is asked to remove.

use std::time::Duration;

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
