//! Arguments of `reclaim maintain` and `reclaim policy`.

use clap::{Args, Subcommand};
use reclaim_model::PolicyName;

use super::Format;
use super::serve::HostArgs;

#[derive(Debug, Args)]
pub(crate) struct MaintainArgs {
    /// Run each policy once and exit, for cron and systemd timers
    ///
    /// A policy with watermarks still does nothing unless one is exceeded. The last use of each
    /// image is remembered between calls.
    #[arg(long)]
    pub(crate) once: bool,

    /// Run only this policy; repeatable [default: all enabled policies]
    #[arg(long = "policy", value_name = "NAME")]
    pub(crate) policies: Vec<PolicyName>,

    /// Show what would be removed; change nothing
    #[arg(long, requires = "once")]
    pub(crate) dry_run: bool,

    /// Output format
    #[arg(long, value_enum, default_value_t = Format::Table, requires = "once")]
    pub(crate) format: Format,

    #[command(flatten)]
    pub(crate) host: HostArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Show each policy, what it would free now, and warnings about it
    ///
    /// Changes nothing. Each policy is evaluated on its own, as if the others did nothing. If a
    /// daemon runs on the host, this needs --host, because the daemon has the record of last use.
    Explain(ExplainArgs),

    /// List policy runs: what each found, freed and left
    History(PolicyHistoryArgs),

    /// Replay the last weeks against the policies of a configuration file
    ///
    /// Shows what they would have removed and when, what of that would have been pulled again, and how
    /// full the filesystems would have been. Changes nothing. It reads what the daemon or `maintain`
    /// recorded of the last four weeks: in the state directory, or with --host from the daemon.
    Try(TryArgs),
}

#[derive(Debug, Args)]
pub(crate) struct TryArgs {
    /// A whole configuration file; the running one is a start
    pub(crate) file: std::path::PathBuf,

    /// Try only this policy; repeatable [default: all enabled policies of FILE]
    #[arg(long = "policy", value_name = "NAME")]
    pub(crate) policies: Vec<PolicyName>,

    /// List every image that would have been removed
    #[arg(short, long)]
    pub(crate) verbose: bool,

    /// Write the result as a page for a browser to this file; `-` is standard output
    #[arg(long, value_name = "FILE", conflicts_with_all = ["format", "verbose"])]
    pub(crate) html: Option<std::path::PathBuf>,

    /// Output format
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,

    /// State directory with the records [default: as FILE says, else /var/lib/reclaim]
    #[arg(long, value_name = "DIR")]
    pub(crate) state: Option<std::path::PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// Explain only these policies [default: all enabled policies]
    #[arg(value_name = "NAME")]
    pub(crate) policies: Vec<PolicyName>,

    /// Show each image too, with the reason why it is removed or kept
    #[arg(short, long)]
    pub(crate) verbose: bool,

    /// Output format
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,

    #[command(flatten)]
    pub(crate) host: HostArgs,
}

#[derive(Debug, Args)]
pub(crate) struct PolicyHistoryArgs {
    /// List only runs of these policies [default: all]
    #[arg(value_name = "NAME")]
    pub(crate) policies: Vec<PolicyName>,

    /// Output format
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,

    /// State directory of the daemon [default: as configured, else /var/lib/reclaim]
    #[arg(long, value_name = "DIR")]
    pub(crate) state: Option<std::path::PathBuf>,
}
