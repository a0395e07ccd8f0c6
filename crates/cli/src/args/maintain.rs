//! The words of `reclaim maintain` and `reclaim policy`.

use clap::{Args, Subcommand};
use reclaim_model::PolicyName;

use super::Format;
use super::serve::HostArgs;

#[derive(Debug, Args)]
pub(crate) struct MaintainArgs {
    /// Run each policy once, now, and end: for cron and systemd timers
    ///
    /// A policy with marks still does nothing unless one is exceeded. When each image was used last
    /// is remembered from one time to the next.
    #[arg(long)]
    pub(crate) once: bool,

    /// Only this policy; may be given several times [default: all that are enabled]
    #[arg(long = "policy", value_name = "NAME")]
    pub(crate) policies: Vec<PolicyName>,

    /// Show what would go, and change nothing
    #[arg(long, requires = "once")]
    pub(crate) dry_run: bool,

    /// How to print what was done
    #[arg(long, value_enum, default_value_t = Format::Table, requires = "once")]
    pub(crate) format: Format,

    #[command(flatten)]
    pub(crate) host: HostArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Show each policy, what it would free right now, and what is odd about it
    ///
    /// Nothing is changed. Each policy is looked at by itself, as if the others did nothing. Beside a
    /// daemon it needs --host: the daemon has what is known of last use.
    Explain(ExplainArgs),

    /// List the runs of policies: what each found, freed and left
    History(PolicyHistoryArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// Only these policies [default: all that are enabled]
    #[arg(value_name = "NAME")]
    pub(crate) policies: Vec<PolicyName>,

    /// Show each image too, with the reason why it goes or stays
    #[arg(short, long)]
    pub(crate) verbose: bool,

    /// How to print it
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,

    #[command(flatten)]
    pub(crate) host: HostArgs,
}

#[derive(Debug, Args)]
pub(crate) struct PolicyHistoryArgs {
    /// Only these policies [default: all]
    #[arg(value_name = "NAME")]
    pub(crate) policies: Vec<PolicyName>,

    /// How to print it
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,

    /// Where the daemon keeps its state [default: /var/lib/reclaim, or what the configuration says]
    #[arg(long, value_name = "DIR")]
    pub(crate) state: Option<std::path::PathBuf>,
}
