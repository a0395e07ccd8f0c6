//! What can be typed. The words here are the manual: `--help` and the man page come from them.

mod globals;
pub(crate) mod health;
pub(crate) mod how;
pub(crate) mod image;
pub(crate) mod maintain;
pub(crate) mod pin;
pub(crate) mod project;
pub(crate) mod serve;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
pub(crate) use globals::{Globals, LogFormat};
use image::ImageCommand;

/// Remove container images that nobody uses, exactly and safely
///
/// Reclaim talks to containerd. It finds the images that no container, snapshot or lease uses,
/// shows what removing them frees, and removes them with one collection.
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

    /// Remove and list the images of Compose projects
    #[command(subcommand, arg_required_else_help = true)]
    Project(project::ProjectCommand),

    /// Keep images from every prune, policy and removal, until they are unpinned
    ///
    /// A pin is two labels of the image's record: the CRI plugin's `io.cri-containerd.pinned`,
    /// which the kubelet respects too, and `reclaim/pinned`, which says that it is Reclaim's and
    /// since when. Of an image that the CRI plugin manages all its records are pinned together. A
    /// pull that writes the record anew may take the pin away; what must stay whatever is pulled
    /// belongs into `[protect]` of the configuration.
    ///
    /// Exit status: 0 done, or pinned before; 1 an image was not pinned; 2 wrong usage; 4 a prune
    /// is running, unless it is waited for.
    Pin(pin::PinArgs),

    /// Let pinned images go again
    ///
    /// Only those that `reclaim pin` has pinned: what the CRI plugin or somebody else has pinned,
    /// such as the image of pod sandboxes, must be forced.
    ///
    /// Exit status: as of `reclaim pin`.
    Unpin(pin::UnpinArgs),

    /// Show where the disk space is, and how much a prune would free
    ///
    /// Every byte of the content store and of the snapshotters is counted once: as in use, as
    /// what a prune frees, as garbage that waits for a collection, as held by leases, and so on.
    /// Directories of overlayfs and native that no record knows are counted where they can be
    /// seen, and containerd's own files, so that the total is what `du` counts.
    /// Content that several namespaces share counts in each of them and once in the total.
    /// With --namespace only that namespace is listed; the total is of all.
    Df(DfArgs),

    /// Show what keeps an image, content or a snapshot, and how
    ///
    /// For each holder the shortest way from it to the thing is shown; or, if there is none,
    /// when the thing will go. For an image also what a prune and a prune --all would do.
    Why(WhyArgs),

    /// List prunes of which something is held and can be undone
    History(HistoryArgs),

    /// Restore images that a prune with an undo window removed
    ///
    /// The records come back as they were, with name, target and labels, and nothing is
    /// fetched: their content was held. A name that points at another image by now is left
    /// alone.
    Undo(UndoArgs),

    /// Free now what a prune with an undo window holds
    Release(ReleaseArgs),

    /// Print what a shell needs to complete commands and options
    ///
    /// For bash: `reclaim completions bash > /etc/bash_completion.d/reclaim`
    Completions(CompletionsArgs),

    /// Write the man pages, one for each command
    #[command(hide = true)]
    ManPages(ManPagesArgs),

    /// Serve the Docker Engine API, as far as it is about images
    ///
    /// `docker image prune` and other clients of Docker can be pointed at the socket
    /// (`DOCKER_HOST`), and engines can hand their POST /images/prune on to it. One prune at a time
    /// is run, whoever asks; a client that goes away does not end it.
    ///
    /// The policies of the configuration run when they are due. SIGHUP has the configuration read
    /// again; one with an error is refused, and the old one goes on.
    ///
    /// SIGTERM and SIGINT end a prune after the removals under way, and the daemon after that.
    Serve(Box<serve::ServeArgs>),

    /// Check that a running `reclaim serve` is ready, or that it answers at all
    ///
    /// For probes: it sends one request to the daemon at --host, by default
    /// `unix:///run/reclaim/reclaim.sock`, and ends within its timeout. It does not contact
    /// containerd.
    ///
    /// Exit status: 0 the daemon is ready, or with --live it answers; 1 it is not, does not, or not
    /// in time; 2 wrong usage.
    Health(health::HealthArgs),

    /// Run the maintenance policies of the configuration, as `serve` does
    ///
    /// Without --once it goes on until it is stopped, and looks at each policy when it is due. Beside
    /// a daemon `--once` needs --host: `reclaim serve` then runs them between its own runs.
    ///
    /// Exit status of --once: 0 all did what they are for, or had nothing to do; 1 a policy could
    /// not run; 2 wrong usage; 3 some images could not be removed; 4 another prune is running; 5 a
    /// low mark could not be reached; 130 or 143 SIGINT or SIGTERM cut it short.
    Maintain(maintain::MaintainArgs),

    /// Explain maintenance policies and list their runs
    #[command(subcommand, arg_required_else_help = true)]
    Policy(maintain::PolicyCommand),

    /// Check, show or describe the configuration file
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
    /// Where to: a directory that exists
    pub(crate) directory: PathBuf,
}

#[derive(Debug, Clone, Copy, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Check the file, and say where it is wrong and what is accepted
    Check,
    /// Print the file with every default filled in
    Show,
    /// Print a JSON Schema of the file, with the meaning of every key
    Schema,
}

#[derive(Debug, Args)]
pub(crate) struct DfArgs {
    /// Show each image and lease too: its size, what it shares, and what removing it would free
    ///
    /// Of a lease: what it holds that nothing else needs, since when, and until when.
    #[arg(short, long)]
    pub(crate) verbose: bool,

    /// How to print it
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct WhyArgs {
    /// An image, a digest or the beginning of one, or a snapshot: SNAPSHOTTER/KEY or KEY
    #[arg(value_name = "REF|DIGEST|SNAPSHOT")]
    pub(crate) thing: String,

    /// How to print it
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct HistoryArgs {
    /// How to print the list
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct UndoArgs {
    /// The run, or the beginning of its ID [default: the latest]
    pub(crate) run: Option<String>,

    /// Only these images, by their full names [default: all of the run]
    pub(crate) images: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ReleaseArgs {
    /// The run, or the beginning of its ID
    pub(crate) run: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Table,
    /// One JSON object; its form is a contract
    Json,
}
