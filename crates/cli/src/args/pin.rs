//! What can be typed for `pin` and `unpin`.

use clap::Args;

use super::Format;

#[derive(Debug, Args)]
pub(crate) struct PinArgs {
    /// How to print what was done
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,

    /// Wait for a prune of the namespace to end, rather than fail with status 4
    #[arg(long)]
    pub(crate) wait: bool,

    /// Names, names with a digest, IDs, or the beginnings of IDs
    #[arg(required = true, value_name = "IMAGE")]
    pub(crate) images: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct UnpinArgs {
    /// Take pins away that Reclaim has not set, too
    #[arg(short, long)]
    pub(crate) force: bool,

    #[command(flatten)]
    pub(crate) pin: PinArgs,
}
