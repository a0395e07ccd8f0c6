//! What can be typed. The words here are the manual: `--help` and the man page come from them.

pub(crate) mod maintain;
pub(crate) mod pin;
pub(crate) mod project;
pub(crate) mod serve;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use reclaim_engine::RunOptions;
use reclaim_model::{FreeTarget, Namespace, parse_go_duration};

/// Where containerd listens unless told otherwise, as for ctr and nerdctl.
const DEFAULT_ADDRESS: &str = "/run/containerd/containerd.sock";
/// The namespace used unless told otherwise, as for ctr and nerdctl.
const DEFAULT_NAMESPACE: &str = "default";

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

/// Options of every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Globals {
    /// Address of containerd: a path, or unix:// and a path
    ///
    /// [default: /run/containerd/containerd.sock, or for what runs policies what the configuration
    /// says]
    #[arg(
        long,
        global = true,
        env = "CONTAINERD_ADDRESS",
        value_name = "ADDRESS"
    )]
    address: Option<String>,

    /// containerd runs elsewhere, as behind a forwarded socket: look at no file of its
    ///
    /// Without it files are read where they can be seen, which is quicker; what they say is proved
    /// by digests, but a filesystem of the same path here would be taken for its own.
    #[arg(long, global = true)]
    pub(crate) remote: bool,

    /// Namespace of the images [default: default]
    ///
    /// Docker's is `moby`, the kubelet's `k8s.io`. Other namespaces are read, because content
    /// is shared with them, but nothing in them is removed.
    #[arg(
        short,
        long,
        global = true,
        env = "CONTAINERD_NAMESPACE",
        value_name = "NAME"
    )]
    namespace: Option<String>,

    /// The configuration file [default: /etc/reclaim/config.toml, if there is one]
    ///
    /// Read by `serve`, `maintain`, and the `policy` and `config` commands; removing images by hand
    /// takes nothing from it.
    #[arg(long, global = true, env = "RECLAIM_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,

    /// Ask the daemon there to do it: `unix:///PATH`
    ///
    /// `reclaim serve` is one. Without it the command works on containerd itself.
    #[arg(long, global = true, env = "RECLAIM_HOST", value_name = "ADDRESS")]
    host: Option<String>,

    /// What to log to standard error: a level, or filters as in `reclaim_engine=debug`
    #[arg(
        long,
        global = true,
        env = "RECLAIM_LOG",
        default_value = "warn",
        value_name = "FILTER"
    )]
    pub(crate) log_level: String,

    /// How to log
    #[arg(
        long,
        global = true,
        env = "RECLAIM_LOG_FORMAT",
        value_enum,
        default_value_t = LogFormat::Text
    )]
    pub(crate) log_format: LogFormat,

    /// Collector of OpenTelemetry that spans are sent to, by OTLP over gRPC: `http://HOST:PORT`
    #[arg(
        long,
        global = true,
        env = "OTEL_EXPORTER_OTLP_ENDPOINT",
        value_name = "URL"
    )]
    otlp_endpoint: Option<String>,
}

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

impl Globals {
    /// Returns where containerd listens, by the options, by the configuration, or as usual. An
    /// empty variable is as good as none.
    pub(crate) fn address<'a>(&'a self, configured: Option<&'a str>) -> &'a str {
        let named = self.address.as_deref().filter(|it| !it.is_empty());
        named.or(configured).unwrap_or(DEFAULT_ADDRESS)
    }

    /// Returns the daemon that is to do the work. An empty variable is as good as none.
    pub(crate) fn host(&self) -> Option<&str> {
        self.host.as_deref().filter(|host| !host.is_empty())
    }

    /// Returns the collector that spans are sent to. An empty variable is as good as none.
    pub(crate) fn otlp_endpoint(&self) -> Option<&str> {
        self.otlp_endpoint.as_deref().filter(|url| !url.is_empty())
    }

    /// Returns the configuration file that was named. An empty variable is as good as none.
    pub(crate) fn config(&self) -> Option<&Path> {
        let named = self.config.as_deref();
        named.filter(|path| !path.as_os_str().is_empty())
    }

    /// Returns the namespace, and whether it was asked for by name. An empty variable is as
    /// good as none.
    pub(crate) fn namespace(&self) -> Result<(Namespace, bool), reclaim_model::NamespaceError> {
        match self.namespace.as_deref() {
            None | Some("") => Ok((DEFAULT_NAMESPACE.parse()?, false)),
            Some(name) => Ok((name.parse()?, true)),
        }
    }

    /// Returns the namespace that was asked for by name, if one was.
    pub(crate) fn asked_namespace(
        &self,
    ) -> Result<Option<Namespace>, reclaim_model::NamespaceError> {
        let (namespace, is_asked_for) = self.namespace()?;
        Ok(is_asked_for.then_some(namespace))
    }
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
    /// Show each image too: its size, what it shares, and what removing it alone would free
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
    /// goes, unless a container uses it. By its ID an image goes with all its names.
    ///
    /// Exit status: 0 done; 1 an image was not removed (with --force, one that is not there is
    /// none); 2 wrong usage; 3 the run could not be brought to its end; 4 another prune is
    /// running.
    #[command(visible_alias = "remove")]
    Rm(RmArgs),

    /// List images with their sizes and what a prune --all would do with them
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

/// How a run goes about its work.
#[derive(Debug, Args)]
pub(crate) struct HowArgs {
    #[command(flatten)]
    pace: PaceArgs,

    /// Wait for another prune of the namespace to end, rather than fail with status 4
    #[arg(long)]
    wait: bool,
}

impl HowArgs {
    /// Returns the options of the run.
    pub(crate) fn options(&self) -> RunOptions {
        RunOptions {
            wait: self.wait,
            ..self.pace.options()
        }
    }

    /// Whether what is removed is to be held.
    pub(crate) fn undo_window(&self) -> Duration {
        self.pace.undo_window
    }
}

/// How careful a run is, and how fast.
#[derive(Debug, Args)]
pub(crate) struct PaceArgs {
    /// Hold what is removed for so long (30m, 1h30m), so that `reclaim undo` can restore it
    ///
    /// Nothing is freed until then. The space is free when the time is over and containerd
    /// collects, or at once by `reclaim release`.
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration)]
    pub(crate) undo_window: Duration,

    /// How long to wait after the last removal before looking again
    ///
    /// Whoever resolved an image's name just before it was removed, and goes on to create a
    /// container from it within this time, gets the image back.
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = duration)]
    pub(crate) grace: Duration,

    /// Remove at most so many images in a second
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) max_deletes_per_second: Option<u32>,
}

impl PaceArgs {
    /// Returns the options of a run that does not wait for another.
    pub(crate) fn options(&self) -> RunOptions {
        RunOptions {
            grace: self.grace,
            undo_window: self.undo_window,
            max_deletes_per_second: self.max_deletes_per_second,
            wait: false,
        }
    }
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
}

/// The longest duration that is accepted. A hold is meant for second thoughts, not for backups.
const MAX_DURATION: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Parses a duration as Go and docker write it.
fn duration(text: &str) -> Result<Duration, String> {
    let parsed = parse_go_duration(text).map_err(|error| error.to_string())?;
    let unsigned = Duration::try_from(parsed)
        .ok()
        .filter(|it| *it <= MAX_DURATION);
    unsigned.ok_or_else(|| "accepted are 0s to 720h".to_owned())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Table,
    /// One JSON object; its form is a contract
    Json,
}
