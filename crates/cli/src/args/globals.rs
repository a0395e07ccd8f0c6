//! Options of every command: which containerd, which daemon, what is logged.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};
use reclaim_daemon::DEFAULT_ADDRESS;
use reclaim_daemon::config::DEFAULT_STATE;
use reclaim_engine::{ContainerdConfig, Engine};
use reclaim_model::Namespace;
use tracing_subscriber::EnvFilter;

use crate::text::Ids;

/// Where containerd's own configuration is, by its address.
const CONTAINERD_CONFIGS: [(&str, &str); 4] = [
    (DEFAULT_ADDRESS, "/etc/containerd/config.toml"),
    (
        "/run/k3s/containerd/containerd.sock",
        "/var/lib/rancher/k3s/agent/etc/containerd/config.toml",
    ),
    (
        "/run/k3s/containerd/containerd.sock",
        "/var/lib/rancher/rke2/agent/etc/containerd/config.toml",
    ),
    (
        "/var/snap/microk8s/common/run/containerd.sock",
        "/var/snap/microk8s/current/args/containerd.toml",
    ),
];

/// The directory of the lock files of runs.
const LOCKS: &str = "locks";

/// The namespace used unless told otherwise, as for ctr and nerdctl.
const DEFAULT_NAMESPACE: &str = "default";

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

    /// containerd's own configuration file, which names the sandbox image of pods
    ///
    /// A prune of namespace `k8s.io` keeps the images it names. `serve`, `maintain` and the `policy`
    /// commands take the file from Reclaim's configuration instead. [default: the file that goes
    /// with the address: /etc/containerd/config.toml, or the one of k3s, RKE2 or microk8s]
    #[arg(long, global = true, env = "CONTAINERD_CONFIG", value_name = "FILE")]
    containerd_config: Option<PathBuf>,

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

    /// Show IDs and digests whole, and every holder
    ///
    /// Tables and messages have the first 12 digits of an ID otherwise, and name three holders of
    /// an image. JSON always has everything.
    #[arg(long, global = true)]
    no_trunc: bool,
    /// Where the lock files of runs are, by which other processes see that a run is over
    #[arg(
        long,
        global = true,
        env = "RECLAIM_LOCK_DIR",
        value_name = "DIR",
        hide = true
    )]
    lock_dir: Option<PathBuf>,

    /// Wait so many seconds for a containerd that is away at the end of a run: for tests
    #[arg(
        long,
        global = true,
        env = "RECLAIM_PATIENCE",
        value_name = "SECONDS",
        hide = true
    )]
    patience: Option<u64>,

    /// Take these for the IDs of the machine and of its boot, with a slash between: for tests
    #[arg(
        long,
        global = true,
        env = "RECLAIM_MACHINE",
        value_name = "ID/BOOT",
        hide = true
    )]
    machine: Option<String>,

    /// What to log to standard error: a level, or filters as in `reclaim_engine=debug`
    #[arg(
        long,
        global = true,
        env = "RECLAIM_LOG",
        default_value = "warn",
        value_name = "FILTER",
        value_parser = log_filter
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

    /// How many milliseconds an answer of containerd's is waited for, in tests
    #[arg(
        long,
        global = true,
        env = "RECLAIM_TEST_DEADLINE_MS",
        hide = true,
        value_name = "MILLISECONDS"
    )]
    pub(crate) test_deadline: Option<u64>,
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
    /// Returns the address of containerd for a command without a configuration.
    pub(crate) fn address(&self) -> &str {
        self.named_address().unwrap_or(DEFAULT_ADDRESS)
    }

    /// Returns the address of containerd that the options name. An empty variable counts as unset.
    pub(crate) fn named_address(&self) -> Option<&str> {
        self.address.as_deref().filter(|it| !it.is_empty())
    }

    /// Returns where containerd's own configuration is, for a command that works on containerd
    /// itself. An empty variable counts as unset.
    pub(crate) fn containerd_config(&self) -> ContainerdConfig {
        let named = self.containerd_config.as_ref();
        if let Some(path) = named.filter(|path| !path.as_os_str().is_empty()) {
            return ContainerdConfig::At(path.clone());
        }
        if self.remote {
            return ContainerdConfig::Unseen;
        }
        let address = self.address();
        let address = address.strip_prefix("unix://").unwrap_or(address);
        let usual = CONTAINERD_CONFIGS.iter().filter(|(of, _)| *of == address);
        let usual: Vec<&Path> = usual.map(|(_, path)| Path::new(path)).collect();
        let there = usual.iter().find(|path| path.exists());
        match there.or(usual.first()) {
            Some(path) => ContainerdConfig::At(path.to_path_buf()),
            None => ContainerdConfig::Unseen,
        }
    }

    /// Returns how much of IDs is shown.
    pub(crate) fn ids(&self) -> Ids {
        if self.no_trunc {
            Ids::Whole
        } else {
            Ids::Short
        }
    }

    /// Gives an engine what proves to other processes whether its runs go on. `state` is the
    /// directory of a daemon's state.
    pub(crate) fn identified(&self, engine: Engine, state: Option<&Path>) -> Engine {
        let named = self.lock_dir.clone();
        let usual = || state.map_or_else(runtime_locks, |state| Some(state.join(LOCKS)));
        let engine = match named.or_else(usual) {
            Some(directory) => engine.with_lock_directory(directory),
            None => engine,
        };
        let engine = match self.patience {
            Some(seconds) => engine.with_patience(Duration::from_secs(seconds)),
            None => engine,
        };
        let machine = self.machine.as_deref().and_then(|it| it.split_once('/'));
        match machine {
            Some((machine, boot)) => engine.with_machine(machine, boot),
            None => engine,
        }
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

/// Returns where the locks of a command are that has no state: with those of a daemon that keeps
/// its state at the usual place, which a pod sees, too; else in a private directory that does not
/// outlive the boot.
fn runtime_locks() -> Option<PathBuf> {
    if !rustix::process::geteuid().is_root() {
        let runtime = PathBuf::from(std::env::var_os("XDG_RUNTIME_DIR")?);
        return runtime
            .is_absolute()
            .then(|| runtime.join(format!("reclaim-{LOCKS}")));
    }
    let state = Path::new(DEFAULT_STATE);
    Some(if state.is_dir() {
        state.join(LOCKS)
    } else {
        PathBuf::from(format!("/run/reclaim-{LOCKS}"))
    })
}

/// Takes what can be read as a filter of the log.
fn log_filter(text: &str) -> Result<String, String> {
    match EnvFilter::builder().parse(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!(
            "{error}; accepted are off, error, warn, info, debug and trace, and filters such as \
             info,reclaim_engine=debug"
        )),
    }
}
