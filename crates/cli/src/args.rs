//! Command-line arguments. `--help`, the man pages and completions are made from these comments.

pub(crate) mod check;
pub(crate) mod format;
mod globals;
pub(crate) mod how;
pub(crate) mod image;
pub(crate) mod inhibit;
pub(crate) mod maintain;
pub(crate) mod project;
pub(crate) mod serve;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use format::{ListFormat, UsageFields};
pub(crate) use globals::{AllNamespacesArgs, Globals, LogFormat, OTLP_VARIABLE, Scope, ScopeError};
use image::ImageCommand;

/// Remove unused container images from a containerd host
///
/// Reclaim finds the images that no container, snapshot or lease uses, shows what removing them
/// frees, and removes them with one garbage collection of containerd.
#[derive(Debug, Parser)]
#[command(name = "reclaim", version, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) globals: Globals,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Manage images
    #[command(subcommand, arg_required_else_help = true)]
    Image(ImageCommand),

    /// Remove or list the images of Compose projects
    #[command(subcommand, arg_required_else_help = true)]
    Project(project::ProjectCommand),

    /// Keep images from every prune, policy and removal until they are unpinned
    ///
    /// A pin is two labels on the image record: the CRI plugin's `io.cri-containerd.pinned`, which
    /// the kubelet respects too, and `reclaim/pinned`, which marks the pin as Reclaim's and holds
    /// the time. If the CRI plugin manages the image, all its records are pinned together. Pulling
    /// the image again can drop the pin. To keep it regardless, list it under `[protect]` in the
    /// configuration.
    ///
    /// Exit status: 0 done, or already pinned; 1 an image was not pinned; 2 wrong usage; 4 a prune
    /// is running (--wait waits for it).
    Pin(image::PinArgs),

    /// Remove the pin of images
    ///
    /// Pins that `reclaim pin` did not set, such as the CRI plugin's on the sandbox image, are
    /// removed only with --force.
    ///
    /// Exit status: same as `reclaim pin`.
    Unpin(image::UnpinArgs),

    /// Show disk usage, and how much a prune would free
    ///
    /// Every byte of the content store and of the snapshotters is counted once: as in use, as
    /// freed by a prune, as garbage that waits for a collection, as held by leases, and so on.
    /// Where containerd's directories are visible, its own files and the overlayfs and native
    /// directories without a record are counted too, so that the total is what `du` counts.
    /// Content that several namespaces share counts in each of them, and once in the total.
    ///
    /// A second table has what each step alone would free now: the garbage that the next collection
    /// frees; unpacked layers that only build history holds, snapshots of unused images, layers of
    /// unpacked images, and platforms that the machine does not run (`reclaim image slim`); and
    /// unused images (`reclaim image prune --all`). The steps overlap, so they do not add up.
    ///
    /// With --namespace only that namespace is listed; the total still covers all namespaces. Without it,
    /// or with --all-namespaces, all are listed.
    Df(DfArgs),

    /// Check how full the filesystems of images are, for monitoring
    ///
    /// Prints one line as a Nagios plugin does, with performance data. With --host the daemon adds when
    /// a filesystem is full at the present rate, from what it measured during the last week. In case of a
    /// problem the line also has how much `image prune --all` and the policies would free now.
    ///
    /// Exit status: 0 OK; 1 warning; 2 critical; 3 unknown, also for wrong usage. With --npd: 0 no
    /// problem; 1 a warning or worse; 3 unknown.
    Check(check::CheckArgs),

    /// Look through images on a screen, mark some, and remove them
    ///
    /// The screen shows images as a table or as a tree, down to each layer and who shares it. Mark
    /// images with space, and see what removing them together frees. Nothing is removed before the
    /// plan was shown and confirmed. `?` lists the keys. It needs a terminal, also over ssh.
    ///
    /// Exit status: 0 done; 1 failed; 2 wrong usage.
    Browse(BrowseArgs),

    /// Show what occupies the disk in a browser
    ///
    /// Serves the page of `df --html` on a loopback port of this machine until it is stopped, and
    /// prints the address. The address works once, for the browser that opens it first. Each reload
    /// reads the store again. The page changes nothing.
    Ui(UiArgs),

    /// Show what keeps an image, content or a snapshot
    ///
    /// Prints the shortest reference path from each holder, and what makes each reference: the key of
    /// the label, a lease, a container, the parent of a snapshot, or the target of an image. If there
    /// is no holder, prints when containerd will collect it. For an image, also prints what
    /// `image prune` and `image prune --all` would do with it.
    Why(WhyArgs),

    /// List runs that can be undone, or with --all every change and its caller
    ///
    /// Runs that can be undone have an undo window that has not ended, or were cut off.
    ///
    /// With --all, --since or --until it lists what each prune, removal, policy run, undo, release and
    /// pin changed: when, on whose request, and each image with the reason and its bytes. These are the
    /// records of every namespace, unless --namespace names one. They are in the state directory, which
    /// only root can read, and in a daemon's.
    History(HistoryArgs),

    /// Restore images that a prune with an undo window removed
    ///
    /// The records come back with their name, target and labels. Nothing is pulled, because the
    /// content was held. A name that now points to a different image is not changed. On a Kubernetes
    /// node, private images whose pull record the kubelet has deleted are not restored.
    ///
    /// Exit status: 0 done; 1 failed; 2 wrong usage; 3 an image was not restored.
    Undo(UndoArgs),

    /// Free what a prune with an undo window holds, before the window ends
    Release(ReleaseArgs),

    /// Print a completion script for a shell
    ///
    /// For bash: `reclaim completions bash > /etc/bash_completion.d/reclaim`
    Completions(CompletionsArgs),

    /// Write the man pages, one per command
    #[command(hide = true)]
    ManPages(ManPagesArgs),

    /// Run the daemon: Docker's image API, gRPC, and the configured policies
    ///
    /// Point `docker image prune` and other Docker clients at the socket with `DOCKER_HOST`;
    /// engines can forward their POST /images/prune to it. One prune runs at a time. A client that
    /// disconnects does not end it.
    ///
    /// The policies of the configuration run when they are due. SIGHUP reloads the configuration;
    /// if it has an error, the daemon keeps the old one.
    ///
    /// SIGTERM and SIGINT stop a prune after the removals under way, and then the daemon.
    Serve(Box<serve::ServeArgs>),

    /// Check that a running `reclaim serve` is ready, or with --live that it answers
    ///
    /// For probes: sends one request to the daemon at --host (default
    /// `unix:///run/reclaim/reclaim.sock`). It does not contact containerd.
    ///
    /// Exit status: 0 ready, or with --live the daemon answers; 1 not ready, no answer, or timeout;
    /// 2 wrong usage.
    Health(serve::HealthArgs),

    /// Run the configured policies without serving an API
    ///
    /// Without --once it runs each policy when it is due, until it is stopped. If a daemon runs on
    /// the host, --once needs --host: `reclaim serve` then runs the policies between its own runs.
    ///
    /// Exit status of --once: 0 done, or nothing to do; 1 a policy could not run; 2 wrong usage;
    /// 3 some images could not be removed; 4 another prune is running, or `reclaim inhibit`
    /// forbids it; 5 a low watermark was not
    /// reached; 130 or 143 stopped by SIGINT or SIGTERM.
    Maintain(maintain::MaintainArgs),

    /// Explain policies, list policy runs, or try policies on the last weeks
    #[command(subcommand, arg_required_else_help = true)]
    Policy(maintain::PolicyCommand),

    /// Keep policies from running while a command runs
    ///
    /// Runs COMMAND with its arguments. Until it ends, no policy on this containerd removes
    /// anything; with --all no prune or removal does, whichever command or API requests it. Dry
    /// runs always work. A run that has removed images and not freed them yet restores them. When
    /// the command ends, policies that became due meanwhile run at their next check.
    ///
    /// The inhibitor is a lease of containerd that is renewed. It needs access to containerd's
    /// socket. If this process is killed, the inhibitor ends after at most 5 minutes.
    ///
    /// Exit status: that of COMMAND, or 128 and the signal that ended it; 1 nothing can be
    /// inhibited, and COMMAND did not run; 2 wrong usage; 126 COMMAND cannot be started; 127
    /// COMMAND does not exist. SIGINT and SIGTERM are passed on to COMMAND.
    Inhibit(inhibit::InhibitArgs),

    /// Write, check or print the configuration, or print its schema
    #[command(subcommand, arg_required_else_help = true)]
    Config(ConfigCommand),
}

#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub(crate) shell: clap_complete::Shell,
}

#[derive(Debug, Args)]
pub(crate) struct ManPagesArgs {
    /// An existing directory to write to
    pub(crate) directory: PathBuf,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Write a commented configuration file to begin with; its policies only report
    ///
    /// Prints it, or writes it to FILE. Each policy has `dry_run = true`: it removes nothing until you
    /// delete that line. `reclaim policy explain --config FILE` shows what the policies would free now.
    Init(ConfigInitArgs),
    /// Check the file: print errors with their line and what is accepted
    ///
    /// If containerd answers, it also warns of content and snapshots whose filesystem cannot be
    /// measured, so that no watermark of a policy counts them.
    Check,
    /// Print the file with every default filled in
    Show,
    /// Print a JSON Schema of the file, with the meaning of every key
    Schema,
}

#[derive(Debug, Args)]
pub(crate) struct ConfigInitArgs {
    /// What the machine is
    #[arg(value_enum)]
    pub(crate) preset: ConfigPreset,

    /// Where to write it [default: the standard output]
    pub(crate) file: Option<PathBuf>,

    /// Overwrite FILE
    #[arg(short, long, requires = "file")]
    pub(crate) force: bool,
}

/// A configuration to begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ConfigPreset {
    /// A person's machine: images built here are kept, and space matters when the disk is nearly full
    Laptop,
    /// A machine that runs jobs: every unused image may go, and a full disk fails jobs
    Ci,
    /// A Kubernetes node: removes images before the kubelet does
    Kubernetes,
}

#[derive(Debug, Args)]
pub(crate) struct DfArgs {
    #[command(flatten)]
    pub(crate) namespaces: AllNamespacesArgs,

    /// Show each image and lease too
    ///
    /// For an image: its size, how much it shares, and how much removing it alone would free. For a
    /// lease: how much it holds that nothing else needs, since when, and until when.
    #[arg(short, long)]
    pub(crate) verbose: bool,

    /// Write a page for a browser to FILE
    ///
    /// One HTML file that loads nothing: a picture of the store in which a shared layer is drawn once,
    /// disk usage, each image with the reason why it stays or goes, and what runs freed. `-` is the
    /// standard output.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["format", "verbose"])]
    pub(crate) html: Option<PathBuf>,

    /// Output format: table, json, ncdu, or a template such as '{{.Namespace}} {{.Size}}'
    ///
    /// `table` is text for people and may change. `json` is one JSON object; its form is stable. `ncdu` is
    /// every blob and snapshot below its images, for `ncdu -f -` and `gdu -f -`. A template is printed for
    /// each namespace, as docker's, with these fields: `Namespace`, `Images`, `Active`, `Size`, `Shared`,
    /// `Dangling`, `Reclaimable`; `{{json .}}` is all of them. After `table ` it has headings, and tabs separate columns.
    #[arg(long, value_name = "FORMAT", default_value = "table", value_parser = ListFormat::<UsageFields>::parse)]
    pub(crate) format: ListFormat<UsageFields>,
}

#[derive(Debug, Args)]
pub(crate) struct BrowseArgs {
    #[command(flatten)]
    pub(crate) pace: how::PaceArgs,
}

#[derive(Debug, Args)]
pub(crate) struct UiArgs {
    /// The port; 0 is any that is free
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    pub(crate) port: u16,
}

#[derive(Debug, Args)]
pub(crate) struct WhyArgs {
    /// An image, a digest or a prefix of one, or a snapshot as SNAPSHOTTER/KEY or KEY
    #[arg(value_name = "REF|DIGEST|SNAPSHOT")]
    pub(crate) thing: String,

    /// Output format
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct HistoryArgs {
    /// List every run that changed something, with its caller and its images
    #[arg(long)]
    pub(crate) all: bool,

    /// List the runs that began at this time or later, such as 12h (ago) or 2026-01-02T15:04Z
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,

    /// List the runs that began before this time
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<String>,

    /// Output format
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct UndoArgs {
    /// The ID of the run, or a prefix of it [default: the latest]
    pub(crate) run: Option<String>,

    /// Restore only these images, by full name [default: all of the run]
    pub(crate) images: Vec<String>,

    /// Also restore private images whose pull record the kubelet has deleted
    ///
    /// From Kubernetes 1.35 on, the kubelet's pull records say which pods may use an image. An image
    /// without a record may be used by every pod, so an undo does not restore it if it had one when it
    /// was removed.
    #[arg(long)]
    pub(crate) without_credentials: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ReleaseArgs {
    /// The ID of the run, or a prefix of it
    pub(crate) run: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Text for people; it may change
    Table,
    /// One JSON object; its form is stable
    Json,
}
