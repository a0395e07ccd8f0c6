//! Arguments of `reclaim image`, `reclaim pin` and `reclaim unpin`.

use clap::{Args, Subcommand, ValueEnum};
use reclaim_model::{FilterArgs, FilterError, FreeTarget, ImageConditions, Namespace, Platform};

use super::format::{ImageFields, ListFormat};
use super::how::HowArgs;
use super::{AllNamespacesArgs, Format};

#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// Remove unused images
    ///
    /// Without --all only dangling images are removed: those without a usable name. The images to
    /// be removed are listed before you confirm.
    ///
    /// An image is kept if a container in any state was created from it, if a live snapshot is
    /// based on its layers, if an unexpired lease holds it, if it is pinned, or if its use cannot
    /// be determined. --dry-run prints the reason for every image that is kept.
    ///
    /// With --all-namespaces there is one question for all namespaces, and then one run for each. A
    /// namespace that cannot be pruned does not stop the others. The exit status is the worst of all: 1
    /// before 4, 3 and 0.
    ///
    /// Exit status: 0 done, nothing to do, or declined; 1 failed; 2 wrong usage; 3 some images, or
    /// directories of their layers, could not be removed; 4 another prune is running, or
    /// `reclaim inhibit` forbids it; 5 --target-free cannot be met; 130 or 143 stopped by SIGINT or SIGTERM, with a report of
    /// what was done.
    Prune(PruneArgs),

    /// Remove images by name or ID, as docker does
    ///
    /// If the image has other names, only the given name is removed. With its last name the image
    /// is removed, unless a container uses it. An ID removes the image with all its names. An ID
    /// is the digest of an image or of its config, as `crictl images` shows it.
    ///
    /// Exit status: 0 done; 1 an image was not removed (with --force, a missing image is not an
    /// error); 2 wrong usage; 3 the run did not finish; 4 another prune is running,
    /// or `reclaim inhibit` forbids it.
    #[command(visible_alias = "remove")]
    Rm(RmArgs),

    /// Free snapshots, layers or platforms of images that stay
    ///
    /// containerd has each layer of an image twice: compressed, as it was pulled, and unpacked, as a
    /// snapshot. This frees one of the two, or platforms that the machine does not run. The images stay,
    /// and so does everything that a container uses. --dry-run prints what each image would lose, and
    /// why the others stay as they are.
    ///
    /// Without --snapshots, --layers, --platforms or --build-history it frees snapshots. No image loses
    /// both its snapshots and its layers, even by several runs.
    ///
    /// Exit status: 0 done, nothing to do, or declined; 1 failed, or a name is not that of an image;
    /// 2 wrong usage; 3 parts of some images could not be freed; 4 another prune is running, or
    /// `reclaim inhibit` forbids it; 130 or 143 stopped by SIGINT or SIGTERM, with a report of what
    /// was done.
    Slim(SlimArgs),

    /// Fetch the layers again that images lost
    ///
    /// Fetches from their registries the compressed layers that images lack, by digest, and gives them
    /// to containerd without unpacking them: after `reclaim image slim --layers`, or where containerd
    /// discards layers when it has unpacked them. A pull does not fetch them as long as the image is
    /// unpacked. The hosts and mirrors of a registry are those of containerd's hosts configuration.
    ///
    /// Credentials are those of --user, or else those that `docker login` wrote to Docker's
    /// configuration (`DOCKER_CONFIG`, or `~/.docker`). They are sent to the registry itself, not to its
    /// mirrors. Credential helpers are programs, and are not run.
    ///
    /// Exit status: 0 done, or nothing is missing; 1 a name is not that of an image, or nothing could be
    /// fetched; 2 wrong usage; 3 a part could not be fetched; 130 or 143 stopped by SIGINT or SIGTERM:
    /// what was fetched stays.
    Restore(RestoreArgs),

    /// List images, their sizes, and what `image prune --all` would do with them
    ///
    /// Each image is one row, with its other names below the first; the CRI plugin keeps three per
    /// image. If a prune would treat the names differently, each name shows its own result.
    ///
    /// USED is when the image was last used, at the latest, as `reclaim serve` records it: with --host, or
    /// from its file in the state directory if that can be read and no daemon has it open.
    ///
    /// VERDICT is what `image prune --all` would do: it removes images that are `unused`, `dangling` or
    /// `torn`, and duplicate names of images in use (`duplicate`).
    ///
    /// LAYERS is `packed` if all layers are here compressed, `unpacked` if the image is unpacked and
    /// has no layer compressed, `both`, or how many layers are missing. `reclaim image slim` frees
    /// one of the two.
    Ls(LsArgs),
}

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "one for each switch")]
pub(crate) struct PruneArgs {
    /// Remove all unused images, not just dangling ones
    #[arg(short, long)]
    pub(crate) all: bool,

    #[command(flatten)]
    pub(crate) namespaces: AllNamespacesArgs,

    /// Free at least this much (20GB, 512MB, 10GiB, 5%), removing no more than needed
    ///
    /// Needs --all. Images with the oldest record are removed first. If removing every candidate
    /// would not free that much, nothing is removed, and the disk usage is printed.
    ///
    /// Only what is on one filesystem counts, and a percentage is of its size: the one that has PATH
    /// (5%:/var/lib/containerd), or else the fullest that holds content or snapshots. The output names
    /// it. If none can be measured, a size without PATH counts all content and snapshots.
    #[arg(
        long,
        value_name = "SIZE|PERCENT[:PATH]",
        requires = "all",
        conflicts_with = "all_namespaces"
    )]
    pub(crate) target_free: Option<FreeTarget>,

    /// Do not ask for confirmation
    #[arg(short, long)]
    pub(crate) force: bool,

    #[command(flatten)]
    pub(crate) conditions: ConditionArgs,

    /// Show what would be removed and why the rest is kept; change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// Output format
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,

    #[command(flatten)]
    pub(crate) how: HowArgs,

    /// Release unpacked layers that only build history holds
    ///
    /// A builder that keeps its results with leases that never expire also keeps the unpacked
    /// layers of an image long after the image was removed. This removes the label that refers to
    /// those layers from the image config. The config and the lease stay, and so do layers that an
    /// image, a container or an expiring lease holds. --dry-run shows how much it would free.
    #[arg(long, conflicts_with = "target_free")]
    pub(crate) unpin_build_history: bool,

    /// Allow removing every image of this namespace although it has containers
    ///
    /// Otherwise such a plan is refused, because it usually means that Reclaim cannot see which
    /// images the containers use. Must be the namespace that is pruned.
    #[arg(long, value_name = "NAMESPACE")]
    pub(crate) allow_empty: Option<Namespace>,
}

/// Which images a prune or a slim is about.
#[derive(Debug, Args)]
pub(crate) struct ConditionArgs {
    /// Select images by until, label, label!, reference, digest, larger-than or unused-for
    ///
    /// Repeatable. All must match, but several references or several digests are alternatives.
    ///
    /// until=TIME: the record was created before TIME: an age (10m, 1h30m), a date or time (2026-01-02,
    /// 2026-01-02T15:04:05), or Unix seconds. label=KEY[=VALUE] and label!=KEY[=VALUE]: labels of the image
    /// config.
    ///
    /// reference=PATTERN: the whole name, full or as docker shows it; `*` stands for any characters, and
    /// `?` for one; after a `~` it is a regular expression. digest=PREFIX: the beginning of the target
    /// digest. larger-than=SIZE: the least content of the image (100MB, 1GiB). unused-for=DURATION: not used
    /// for this long (24h). `reclaim serve` records when images are used: with --host it knows; otherwise
    /// its file in the state directory is read. An image of which nothing is known stays.
    #[arg(long = "filter", value_name = "KEY=VALUE")]
    pub(crate) filters: Vec<String>,

    /// Keep the N newest images of each repository, by when they were pulled or created
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) keep_newest: Option<u32>,
}

impl ConditionArgs {
    /// Whether an option has a condition of ours.
    pub(crate) fn are_any(&self) -> bool {
        let divided = self.divided();
        divided.is_ok_and(|(_, conditions)| !conditions.is_empty())
    }

    /// Divides the options into Docker's filters and conditions of ours.
    ///
    /// # Errors
    ///
    /// For a filter without a value.
    pub(crate) fn divided(&self) -> Result<(FilterArgs, ImageConditions), FilterError> {
        let (filters, mut conditions) = FilterArgs::divide(&self.filters)?;
        conditions.keep_newest = self.keep_newest.unwrap_or(0) as usize;
        Ok((filters, conditions))
    }
}

#[derive(Debug, Args)]
pub(crate) struct RmArgs {
    /// Also remove images that docker removes only by force
    ///
    /// An image that a container uses loses its name; its content stays for the container.
    #[arg(short, long)]
    pub(crate) force: bool,

    /// Keep untagged parent images, which the classic builder creates
    #[arg(long)]
    pub(crate) no_prune: bool,

    /// Show what would be removed; change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// Output format
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,

    #[command(flatten)]
    pub(crate) how: HowArgs,

    /// Names, names with a digest, IDs, or prefixes of IDs
    #[arg(required = true, value_name = "IMAGE")]
    pub(crate) images: Vec<String>,
}

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "one for each switch")]
pub(crate) struct SlimArgs {
    /// Free what was unpacked of images that nothing uses
    ///
    /// The engine unpacks it again for the next container. That needs no network, but room for the
    /// unpacked layers.
    #[arg(long)]
    pub(crate) snapshots: bool,

    /// Free the compressed layers of images that are unpacked, also of those in use
    ///
    /// Containers start without them. A push, an export or another snapshotter needs them, and a pull
    /// does not fetch them as long as the image is unpacked.
    #[arg(long)]
    pub(crate) layers: bool,

    /// Free platforms that this machine does not run, of images for several
    ///
    /// Pulling the image for that platform fetches it again. A platform that a container uses stays.
    #[arg(long)]
    pub(crate) platforms: bool,

    /// With --platforms, free this platform, such as linux/arm64 or linux/arm/v7
    ///
    /// Repeatable. Only the named platforms are freed, also one that this machine runs, if no
    /// container uses it. The last platform of an image stays. A named image that has none of these
    /// platforms is an error.
    #[arg(
        long = "platform",
        value_name = "OS/ARCH[/VARIANT]",
        requires = "platforms"
    )]
    pub(crate) named_platforms: Vec<Platform>,

    /// Free unpacked layers that only build history holds; needs --all
    ///
    /// The same as --unpin-build-history of `reclaim image prune`.
    #[arg(long, conflicts_with = "images")]
    pub(crate) build_history: bool,

    /// Also free layers of Docker's images
    ///
    /// `docker save` leaves out layers that are missing, without an error, `docker push` may fail, and
    /// `docker image inspect` no longer shows the platform and the configuration.
    #[arg(long, requires = "layers")]
    pub(crate) docker_layers: bool,

    /// Also free layers that a registry mirror on this machine may serve to other machines
    ///
    /// Such a mirror, for example Spegel, serves them out of containerd's content. By default the images
    /// of a registry keep their layers if a host in its hosts.toml is this machine, or if the file cannot
    /// be read.
    #[arg(long, requires = "layers")]
    pub(crate) mirrored_layers: bool,

    #[command(flatten)]
    pub(crate) which: SlimmedArgs,

    #[command(flatten)]
    pub(crate) conditions: ConditionArgs,

    /// Do not ask for confirmation
    #[arg(short, long)]
    pub(crate) force: bool,

    /// Show what would be freed and why the rest stays; change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// Output format
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,

    #[command(flatten)]
    pub(crate) how: HowArgs,
}

/// Which images to slim. The command needs one of these.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct SlimmedArgs {
    /// Slim all images of the namespace
    #[arg(short, long)]
    pub(crate) all: bool,

    /// Names, names with a digest, IDs, or prefixes of IDs
    #[arg(value_name = "IMAGE")]
    pub(crate) images: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    #[command(flatten)]
    pub(crate) which: RestoredArgs,

    /// Only this platform, such as linux/arm64; may be repeated
    ///
    /// If the platform is absent, for example after `reclaim image slim --platforms`, its manifest and
    /// its config are fetched, too. [default: every platform whose manifest and config are present]
    #[arg(long = "platform", value_name = "OS/ARCH[/VARIANT]")]
    pub(crate) platforms: Vec<Platform>,

    /// The user of the registry
    #[arg(long, value_name = "NAME", requires = "password_stdin")]
    pub(crate) user: Option<String>,

    /// Read the user's password, or a token, from standard input
    #[arg(long, requires = "user")]
    pub(crate) password_stdin: bool,

    /// Show what would be fetched; change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// Output format
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
}

/// Which images to restore. The command needs one of these.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct RestoredArgs {
    /// Restore every image of the namespace that lacks layers
    #[arg(short, long)]
    pub(crate) all: bool,

    /// Names, names with a digest, IDs, or prefixes of IDs
    #[arg(value_name = "IMAGE")]
    pub(crate) images: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct LsArgs {
    #[command(flatten)]
    pub(crate) namespaces: AllNamespacesArgs,

    /// Output format: table, json, or a template such as '{{.Name}} {{.Size}}'
    ///
    /// `table` is text for people and may change. `json` is one JSON object; its form is stable. A
    /// template is printed for each name, as docker's, with these fields: `Namespace`, `Name`,
    /// `Repository`, `Tag`, `ID`, `Digest`, `Size`, `Content`, `Unpacked`, `Shared`, `Unique`,
    /// `CreatedSince`, `CreatedAt`, `UsedSince`, `UsedAt`, `Verdict`, `Layers`; `{{json .}}` is all of them.
    /// After `table ` it has headings, and tabs separate columns.
    #[arg(long, value_name = "FORMAT", default_value = "table", value_parser = ListFormat::<ImageFields>::parse)]
    pub(crate) format: ListFormat<ImageFields>,

    /// Print one row per name, as docker does; JSON always has one entry per name
    #[arg(long)]
    pub(crate) flat: bool,

    /// Select images by reference, digest, larger-than or unused-for
    ///
    /// As for `reclaim image prune`.
    #[arg(long = "filter", value_name = "KEY=VALUE")]
    pub(crate) filters: Vec<String>,

    /// Sort by this instead of the name; the largest or oldest image is first
    #[arg(long, value_enum)]
    pub(crate) sort: Option<ImageOrder>,
}

/// An order of images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ImageOrder {
    /// Content and unpacked layers
    Size,
    /// What no other image has of content and unpacked layers
    Unique,
    /// When the record was made; images of unknown age are last
    Age,
    /// When the image was last used, the longest unused first; images of unknown use are last
    Used,
}

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
