//! Options of a prune run: undo window, grace period and pace.

use std::time::Duration;

use clap::Args;
use reclaim_daemon::config::duration_within;
use reclaim_engine::{Grace, RunOptions};

/// Options of a command that runs a prune.
#[derive(Debug, Args)]
pub(crate) struct HowArgs {
    #[command(flatten)]
    pace: PaceArgs,

    /// Wait for another prune of the namespace to end instead of failing with status 4
    #[arg(long)]
    wait: bool,

    /// Treat protected images like others
    ///
    /// These are the images of `[protect]` in the configuration, and the sandbox image of pods.
    /// Without this option they are kept, also with --force. The report and the log name each
    /// protected image that is removed or slimmed. A daemon accepts this option from root on its Unix socket
    /// only.
    #[arg(long)]
    pub(crate) lift_protection: bool,
}

impl HowArgs {
    /// Returns the options of the run.
    pub(crate) fn options(&self) -> RunOptions {
        RunOptions {
            wait: self.wait,
            ..self.pace.options()
        }
    }

    /// Returns for how long removed images are held.
    pub(crate) fn undo_window(&self) -> Duration {
        self.pace.undo_window
    }
}

/// Options of each run of a command or daemon.
#[derive(Debug, Args)]
pub(crate) struct PaceArgs {
    /// Hold what is removed for this long, such as 1h30m, so that it can be restored
    ///
    /// `reclaim undo` restores it. No space is freed until the window ends and containerd
    /// collects, or until `reclaim release`. At most 720h.
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration)]
    pub(crate) undo_window: Duration,

    /// Time to wait after the last removal before checking for new users
    ///
    /// A client that resolved the image's name just before the removal, and creates a container
    /// from it within this time, gets the image or its parts back. `auto` is 100ms, and up to 1s if
    /// containerd is slow. At most 1m.
    #[arg(long, value_name = "DURATION", default_value = "auto", value_parser = grace)]
    pub(crate) grace: Grace,

    /// Remove at most this many images per second
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) max_deletes_per_second: Option<u32>,
}

impl PaceArgs {
    /// Returns the options of a run that does not wait for another.
    pub(crate) fn options(&self) -> RunOptions {
        RunOptions {
            grace: self.grace,
            undo_window: self.undo_window,
            max_deletes_per_second: self.max_deletes_per_second,
            ..RunOptions::default()
        }
    }
}

/// The longest undo window that is accepted. A hold allows an undo; it is not a backup.
const MAX_DURATION: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Parses the grace period.
fn grace(text: &str) -> Result<Grace, String> {
    if text.parse() == Ok(Grace::Adapted) {
        return Ok(Grace::Adapted);
    }
    let fixed = duration_within(text, &(Duration::ZERO..=RunOptions::MAX_GRACE));
    fixed
        .map(Grace::Fixed)
        .map_err(|problem| format!("it is not `auto`, and the {problem}"))
}

/// Parses an undo window, written as for Go and docker.
fn duration(text: &str) -> Result<Duration, String> {
    duration_within(text, &(Duration::ZERO..=MAX_DURATION))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grace_is_at_most_a_minute() {
        assert_eq!(grace("auto"), Ok(Grace::Adapted));
        assert_eq!(grace("1m"), Ok(Grace::Fixed(RunOptions::MAX_GRACE)));
        let refused = grace("61s").unwrap_err();
        assert!(refused.contains("from 0s to 1m"), "{refused}");
    }
}
