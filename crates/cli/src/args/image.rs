//! The `image` commands.

use clap::{Args, Subcommand};
use reclaim_model::{FreeTarget, Namespace};

use super::Format;
use super::how::HowArgs;

#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// Remove unused images
    ///
    /// Without --all only dangling images go: those that nobody gave a name. What will go is
    /// listed, and you are asked before it does.
    ///
    /// An image stays if a container of any state was created from it, if a live snapshot
    /// stands on its layers, if an unexpired lease holds it, if it is pinned, or if it cannot
    /// be told. Every image that stays has its reason in the output of --dry-run.
    ///
    /// Exit status: 0 done, nothing to do, or declined; 1 failed; 2 wrong usage; 3 some images
    /// could not be removed; 4 another prune is running; 5 --target-free cannot be met; 130 or 143
    /// SIGINT or SIGTERM cut it short, and what was done is reported.
    Prune(PruneArgs),

    /// Remove images by name, as docker does
    ///
    /// A name that is not the image's only one is taken away; with its last name the image
    /// goes, unless a container uses it. By its ID an image goes with all its names. An ID is the
    /// digest of an image or of its configuration, as `crictl images` shows it.
    ///
    /// Exit status: 0 done; 1 an image was not removed (with --force, one that is not there is
    /// none); 2 wrong usage; 3 the run could not be brought to its end; 4 another prune is
    /// running.
    #[command(visible_alias = "remove")]
    Rm(RmArgs),

    /// List images with their sizes and what a prune --all would do with them
    ///
    /// An image is one row; its other names follow below the first, as the three that the CRI
    /// plugin keeps. What a prune would do stands beside a name where it is not the same for all.
    Ls(LsArgs),
}

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "one for each switch")]
pub(crate) struct PruneArgs {
    /// Remove all unused images, not just dangling ones
    #[arg(short, long)]
    pub(crate) all: bool,

    /// Free at least so much (20GB, 512MB, 10GiB, 5%), and remove no more than that takes
    ///
    /// Needs --all. The oldest images go first, by when their record was created. A percentage
    /// is one of the filesystem that holds the content. If removing everything that may go
    /// would not free that much, nothing is removed, and what holds the rest is shown.
    #[arg(long, value_name = "SIZE|PERCENT", requires = "all")]
    pub(crate) target_free: Option<FreeTarget>,

    /// Do not ask for confirmation
    #[arg(short, long)]
    pub(crate) force: bool,

    /// Only images that match: until=TIME, label=KEY[=VALUE], label!=KEY[=VALUE]
    ///
    /// May be given several times; all must match. TIME is an age (10m, 1h30m), a date or time
    /// (2026-01-02, 2026-01-02T15:04:05), or Unix seconds, and is compared with when the
    /// record was created. Labels are those of the image's configuration.
    #[arg(long = "filter", value_name = "KEY=VALUE")]
    pub(crate) filters: Vec<String>,

    /// Show what would go and why the rest stays, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// How to print the report
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,

    #[command(flatten)]
    pub(crate) how: HowArgs,

    /// Let go of unpacked layers that only build history holds
    ///
    /// Builders that keep their results by leases that never expire hold what was unpacked of an
    /// image long after it was removed. The configuration of such an image loses the label that
    /// refers to it. The configuration stays, and the lease; nothing is let go that an image, a
    /// container or a lease that expires holds. --dry-run says how much it is.
    #[arg(long, conflicts_with = "target_free")]
    pub(crate) unpin_build_history: bool,

    /// Allow leaving a namespace that has containers without a single image
    ///
    /// A plan that would is refused otherwise: more often than not it means that the
    /// containers were created by something that cannot be seen. Must name the namespace.
    #[arg(long, value_name = "NAMESPACE")]
    pub(crate) allow_empty: Option<Namespace>,
}

#[derive(Debug, Args)]
pub(crate) struct RmArgs {
    /// Remove also what can only be removed by force
    ///
    /// An image that a container uses then loses its name, and stays without one for the
    /// container's sake.
    #[arg(short, long)]
    pub(crate) force: bool,

    /// Leave parents that the classic builder made and that have no name
    #[arg(long)]
    pub(crate) no_prune: bool,

    /// Show what would go, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// How to print the report
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,

    #[command(flatten)]
    pub(crate) how: HowArgs,

    /// Names, names with a digest, IDs, or the beginnings of IDs
    #[arg(required = true, value_name = "IMAGE")]
    pub(crate) images: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct LsArgs {
    /// How to print the list
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,

    /// Print one row for each name, as docker does; JSON always has one entry for each
    #[arg(long)]
    pub(crate) flat: bool,
}
