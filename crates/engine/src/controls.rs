//! What a caller sets for a run apart from what it removes: options, progress, cancellation.

use std::fmt;
use std::fs;
use std::time::Duration;

use reclaim_model::{Caller, EntryPoint, Peer, PeerProcess};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::grace::Grace;

/// The controls of a run: options, progress and cancellation.
#[derive(Clone, Copy)]
pub struct Controls<'a> {
    /// The options.
    pub options: &'a RunOptions,
    /// Receives the progress.
    pub progress: &'a ProgressSink<'a>,
    /// Cancels the run.
    pub cancel: &'a CancellationToken,
}

impl fmt::Debug for Controls<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = formatter.debug_struct("Controls");
        debug.field("options", self.options);
        debug.field("cancel", self.cancel).finish_non_exhaustive()
    }
}

/// Options of a run. They never change which images it removes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunOptions {
    /// How long to wait between the last removal and the second look.
    ///
    /// A client that resolved an image's name before the removal, and then creates a container
    /// from it within this time, is seen by the second look.
    pub grace: Grace,
    /// How long removed images can be restored; zero frees them at once.
    pub undo_window: Duration,
    /// The maximum number of removals per second; `None` is unlimited.
    pub max_deletes_per_second: Option<u32>,
    /// Whether to wait for another run to end instead of returning [`Busy`](crate::Busy).
    pub wait: bool,
}

/// Returns the process itself as a caller at an entry point.
pub fn this_process(entry_point: EntryPoint) -> Caller {
    let process = PeerProcess {
        uid: rustix::process::getuid().as_raw(),
        gid: Some(rustix::process::getgid().as_raw()),
        pid: Some(rustix::process::getpid().as_raw_nonzero().get()),
        command: command_of("self"),
    };
    Caller::new(entry_point).with_peer(Peer {
        process: Some(process),
        ..Peer::default()
    })
}

/// Returns the name of a process's command: a hint, because it can be changed.
pub fn command_name(pid: i32) -> Option<String> {
    command_of(&pid.to_string())
}

fn command_of(process: &str) -> Option<String> {
    let name = fs::read(format!("/proc/{process}/comm")).ok()?;
    let name = name.strip_suffix(b"\n").unwrap_or(&name);
    Some(String::from_utf8_lossy(name).into_owned())
}

impl RunOptions {
    /// The longest grace period that an API client may request.
    pub const MAX_GRACE: Duration = Duration::from_secs(60);
}

impl Default for RunOptions {
    fn default() -> Self {
        Self {
            grace: Grace::default(),
            undo_window: Duration::ZERO,
            max_deletes_per_second: None,
            wait: false,
        }
    }
}

/// The progress of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "snake_case")]
pub enum Progress {
    /// The run lists containerd's records.
    Observing,
    /// The plan is complete.
    Planned {
        /// Records to remove.
        steps: usize,
        /// Records that stay.
        kept: usize,
    },
    /// One more record is removed, refused or failed.
    #[serde(rename = "removing")]
    Step {
        /// Records so far.
        done: usize,
        /// Records in total.
        steps: usize,
    },
    /// The run looks for removed images that are now in use.
    LookingAgain,
    /// containerd collects garbage.
    Collecting,
    /// The run lists what is gone.
    Measuring,
}

/// A receiver of progress. The run calls it between steps, so it must not block.
pub type ProgressSink<'a> = dyn Fn(Progress) + Send + Sync + 'a;

/// Ignores all progress.
pub fn no_progress(_: Progress) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controls_have_a_debug_form() {
        let controls = Controls {
            options: &RunOptions::default(),
            progress: &no_progress,
            cancel: &CancellationToken::new(),
        };
        let text = format!("{controls:?}");
        assert!(
            text.starts_with("Controls { options: RunOptions { grace: Adapted"),
            "{text}"
        );
    }
}
