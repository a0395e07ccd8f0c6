//! Arguments of `reclaim pin` and `reclaim unpin`.

use clap::Args;

use super::Format;

#[derive(Debug, Args)]
pub(crate) struct PinArgs {
    /// Output format
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,

    /// Wait for a prune of the namespace to end instead of failing with status 4
    #[arg(long)]
    pub(crate) wait: bool,

    /// Names, names with a digest, IDs, or prefixes of IDs
    #[arg(required = true, value_name = "IMAGE")]
    pub(crate) images: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct UnpinArgs {
    /// Also remove pins that Reclaim did not set
    #[arg(short, long)]
    pub(crate) force: bool,

    #[command(flatten)]
    pub(crate) pin: PinArgs,
}
