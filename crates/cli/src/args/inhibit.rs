//! Arguments of `reclaim inhibit`.

use std::ffi::OsString;
use std::time::Duration;

use clap::Args;
use reclaim_engine::InhibitRequest;
use reclaim_model::is_printable;

use super::Format;

#[derive(Debug, Args)]
pub(crate) struct InhibitArgs {
    /// The reason, which `policy explain`, --list and refused removals show
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    pub(crate) why: Option<String>,

    /// Also refuse prunes and removals by any command or API, except dry runs
    #[arg(long)]
    pub(crate) all: bool,

    /// List the commands that inhibit something at the moment
    #[arg(long, conflicts_with_all = ["why", "all", "command"])]
    pub(crate) list: bool,

    /// Output format of --list
    #[arg(long, value_enum, default_value_t = Format::Table, requires = "list")]
    pub(crate) format: Format,

    /// Lifetime of the lease in milliseconds, for tests
    #[arg(
        long,
        env = "RECLAIM_TEST_INHIBIT_MS",
        hide = true,
        value_name = "MILLISECONDS"
    )]
    test_lifetime: Option<u64>,

    /// The command and its arguments
    #[arg(
        value_name = "COMMAND",
        required_unless_present = "list",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    pub(crate) command: Vec<OsString>,
}

impl InhibitArgs {
    /// Returns how long the inhibitor lasts if this process is killed.
    pub(crate) fn lifetime(&self) -> Duration {
        self.test_lifetime
            .map_or(InhibitRequest::LIFETIME, Duration::from_millis)
    }
}

/// Checks a reason, which is shown on one line.
fn reason(text: &str) -> Result<String, String> {
    const LONGEST: usize = InhibitRequest::MAX_TEXT;
    if text.is_empty() || text.len() > LONGEST || !text.chars().all(is_printable) {
        return Err(format!(
            "accepted are 1 to {LONGEST} bytes of text without control characters"
        ));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_one_line_of_limited_length() {
        assert_eq!(reason("nightly build").unwrap(), "nightly build");
        for text in ["", "a\nb", "\u{1b}[31m", &"a".repeat(1001)] {
            let refused = reason(text).unwrap_err();
            assert!(refused.contains("1 to 1000 bytes"), "{refused}");
        }
    }
}
