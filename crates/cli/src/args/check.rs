//! Arguments of `reclaim check`.

use std::time::Duration;

use clap::Args;
use reclaim_maintenance::settings::duration_within;
use reclaim_model::Watermark;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Warn above this mark: a used part such as 80%, or a size that must be left such as 20GB
    #[arg(long, value_name = "MARK", default_value = "80%")]
    pub(crate) warn: Watermark,

    /// Critical above this mark
    #[arg(long, value_name = "MARK", default_value = "90%")]
    pub(crate) crit: Watermark,

    /// Warn if a filesystem is full within this time at the present rate, such as 7d or 12h
    #[arg(long, value_name = "DURATION", value_parser = within)]
    pub(crate) warn_within: Option<Duration>,

    /// Critical if a filesystem is full within this time at the present rate
    #[arg(long, value_name = "DURATION", value_parser = within)]
    pub(crate) crit_within: Option<Duration>,

    /// Time for all of it, 100ms to 1m
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "10s",
        value_parser = super::serve::timeout
    )]
    pub(crate) timeout: Duration,

    /// Print and exit as Node Problem Detector expects: 80 bytes; 0 no problem, 1 a warning or worse
    #[arg(long)]
    pub(crate) npd: bool,
}

/// Parses a time in whole days, or as for Go and docker.
fn within(text: &str) -> Result<Duration, String> {
    const SHORTEST: Duration = Duration::from_secs(60);
    const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);
    let days = text.strip_suffix('d').filter(|days| !days.starts_with('+'));
    let days = days.and_then(|days| days.parse::<u32>().ok());
    match days.and_then(|days| DAY.checked_mul(days)) {
        Some(time) if (SHORTEST..=LONGEST).contains(&time) => Ok(time),
        _ => duration_within(text, &(SHORTEST..=LONGEST))
            .map_err(|error| format!("{error}; or days, such as 7d, up to 365d")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_durations_are_read() {
        for (text, seconds) in [
            ("7d", 7 * 86_400),
            ("365d", 365 * 86_400),
            ("12h", 12 * 3_600),
            ("1m", 60),
        ] {
            assert_eq!(within(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in [
            "",
            "d",
            "0d",
            "+1d",
            "-1d",
            "366d",
            "1s",
            "99999999999d",
            "1.5d",
            "7",
        ] {
            let error = within(text).unwrap_err();
            assert!(error.contains("up to 365d"), "{text}: {error}");
        }
    }
}
