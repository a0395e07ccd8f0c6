//! Arguments of `reclaim health`.

use std::time::Duration;

use clap::Args;

use reclaim_daemon::config::duration_within;

#[derive(Debug, Args)]
pub(crate) struct HealthArgs {
    /// Check only that the daemon answers, even if containerd does not
    #[arg(long)]
    pub(crate) live: bool,

    /// Time to wait for the answer, 100ms to 1m
    #[arg(long, value_name = "DURATION", default_value = "3s", value_parser = timeout)]
    pub(crate) timeout: Duration,
}

fn timeout(text: &str) -> Result<Duration, String> {
    duration_within(
        text,
        &(Duration::from_millis(100)..=Duration::from_secs(60)),
    )
}
