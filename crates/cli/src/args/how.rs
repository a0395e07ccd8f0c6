//! How a run goes about its work.

use std::time::Duration;

use clap::Args;
use reclaim_daemon::config::duration_within;
use reclaim_engine::RunOptions;

/// How a run goes about its work.
#[derive(Debug, Args)]
pub(crate) struct HowArgs {
    #[command(flatten)]
    pace: PaceArgs,

    /// Wait for another prune of the namespace to end, rather than fail with status 4
    #[arg(long)]
    wait: bool,
}

impl HowArgs {
    /// Returns the options of the run.
    pub(crate) fn options(&self) -> RunOptions {
        RunOptions {
            wait: self.wait,
            ..self.pace.options()
        }
    }

    /// Whether what is removed is to be held.
    pub(crate) fn undo_window(&self) -> Duration {
        self.pace.undo_window
    }
}

/// How careful a run is, and how fast.
#[derive(Debug, Args)]
pub(crate) struct PaceArgs {
    /// Hold what is removed for so long (30m, 1h30m), so that `reclaim undo` can restore it
    ///
    /// Nothing is freed until then. The space is free when the time is over and containerd
    /// collects, or at once by `reclaim release`.
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration)]
    pub(crate) undo_window: Duration,

    /// How long to wait after the last removal before looking again
    ///
    /// Whoever resolved an image's name just before it was removed, and goes on to create a
    /// container from it within this time, gets the image back. At most 1m.
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = grace)]
    pub(crate) grace: Duration,

    /// Remove at most so many images in a second
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
            wait: false,
        }
    }
}

/// The longest duration that is accepted. A hold is meant for second thoughts, not for backups.
const MAX_DURATION: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Parses how long to wait before looking again.
fn grace(text: &str) -> Result<Duration, String> {
    duration_within(text, &(Duration::ZERO..=RunOptions::MAX_GRACE))
}

/// Parses a duration as Go and docker write it.
fn duration(text: &str) -> Result<Duration, String> {
    duration_within(text, &(Duration::ZERO..=MAX_DURATION))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grace_is_at_most_a_minute() {
        assert_eq!(grace("1m"), Ok(RunOptions::MAX_GRACE));
        let refused = grace("61s").unwrap_err();
        assert!(refused.contains("from 0s to 1m"), "{refused}");
    }
}
