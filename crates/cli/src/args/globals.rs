//! Options of every command: containerd, daemon, log.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anstream::ColorChoice;
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, ValueEnum};
use reclaim_daemon::DEFAULT_ADDRESS;
use reclaim_daemon::config::{Config, ConfigSource, DEFAULT_KUBELET, DEFAULT_STATE};
use reclaim_engine::{AuditLog, ContainerdConfig, Engine, this_process};
use reclaim_model::{EntryPoint, Namespace, NamespaceError};
use tracing_subscriber::EnvFilter;

use crate::text::Truncation;
use crate::text::images::NamespaceColumn;

/// Paths of containerd's own configuration, by its address.
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

/// The name of the directory with the lock files of runs.
const LOCKS: &str = "locks";

/// The variable with the address of a collector, which other programs read, too.
pub(crate) const OTLP_VARIABLE: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

/// The default namespace, as for ctr and nerdctl.
const DEFAULT_NAMESPACE: &str = "default";

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Colour {
    Auto,
    Always,
    Never,
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Options of every command")]
#[expect(clippy::struct_excessive_bools, reason = "one for each switch")]
pub(crate) struct Globals {
    /// Address of containerd: a path, or unix:// and a path
    ///
    /// [default: /run/containerd/containerd.sock; commands that run policies use the configured
    /// address]
    #[arg(
        long,
        global = true,
        env = "CONTAINERD_ADDRESS",
        value_name = "ADDRESS"
    )]
    address: Option<String>,

    /// Do not read containerd's files: it runs on another machine
    ///
    /// For a forwarded socket. By default Reclaim reads containerd's files directly where it can,
    /// because that is faster, and checks them against their digests. But it would take a
    /// filesystem at the same path on this machine for containerd's.
    #[arg(long, global = true)]
    pub(crate) remote: bool,

    /// containerd's own configuration file, which names the sandbox image of pods
    ///
    /// A prune of namespace `k8s.io` keeps the images that it names. `serve`, `maintain` and the
    /// `policy` commands take the path from Reclaim's configuration instead. [default: by the
    /// address: /etc/containerd/config.toml, or the file of k3s, RKE2 or microk8s]
    #[arg(long, global = true, env = "CONTAINERD_CONFIG", value_name = "FILE")]
    containerd_config: Option<PathBuf>,

    /// The kubelet's directory, with its pull records [default: /var/lib/kubelet]
    ///
    /// They say which pods may use a private image; `undo` does not restore one whose record is gone.
    /// `serve`, `maintain` and the `policy` commands take the path from Reclaim's configuration
    /// instead.
    #[arg(long, global = true, env = "KUBELET_DIRECTORY", value_name = "DIR")]
    kubelet_directory: Option<PathBuf>,

    /// Namespace of the images [default: default]
    ///
    /// Docker uses `moby`, the kubelet `k8s.io`. Other namespaces are read too, because they share
    /// content, but nothing in them is removed.
    #[arg(
        short,
        long,
        global = true,
        env = "CONTAINERD_NAMESPACE",
        value_name = "NAME"
    )]
    namespace: Option<String>,

    /// Whether --namespace was given, not only its variable; see [`Globals::note_origin`].
    #[arg(skip)]
    is_namespace_given: bool,

    /// The configuration file [default: /etc/reclaim/config.toml, if it exists]
    ///
    /// `serve`, `maintain` and the `policy` and `config` commands read it. Commands that use
    /// containerd directly keep the images that its `[protect]` section protects.
    #[arg(long, global = true, env = "RECLAIM_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,

    /// Do not read the configuration file, also if --config names one
    ///
    /// `serve`, `maintain` and the `policy` and `config` commands then use the default of every
    /// key. In commands that use containerd directly, `[protect]` then protects no image.
    #[arg(long, global = true)]
    no_config: bool,

    /// Send the command to a running `reclaim serve` at `unix:///PATH`
    ///
    /// Without it the command uses containerd directly.
    #[arg(long, global = true, env = "RECLAIM_HOST", value_name = "ADDRESS")]
    host: Option<String>,

    /// When to use colours; auto is on a terminal, unless `NO_COLOR` is set
    #[arg(long, global = true, value_enum, default_value_t = Colour::Auto)]
    color: Colour,

    /// Do not shorten IDs and digests, and list every holder
    ///
    /// By default tables and messages show the first 12 digits of an ID and three holders of an
    /// image. JSON always has everything.
    #[arg(long, global = true)]
    no_trunc: bool,

    /// Directory of the lock files of runs, by which other processes see that a run is over
    #[arg(
        long,
        global = true,
        env = "RECLAIM_LOCK_DIR",
        value_name = "DIR",
        hide = true
    )]
    lock_dir: Option<PathBuf>,

    /// Directory in which commands without a daemon record what they change, for tests
    #[arg(
        long,
        global = true,
        env = "RECLAIM_AUDIT_DIR",
        value_name = "DIR",
        hide = true
    )]
    audit_dir: Option<PathBuf>,

    /// Seconds to wait for containerd at the end of a run if it is away, for tests
    #[arg(
        long,
        global = true,
        env = "RECLAIM_PATIENCE",
        value_name = "SECONDS",
        hide = true
    )]
    patience: Option<u64>,

    /// IDs of the machine and of its boot, for tests
    #[arg(
        long,
        global = true,
        env = "RECLAIM_MACHINE",
        value_name = "ID/BOOT",
        hide = true
    )]
    machine: Option<String>,

    /// Log level on standard error, or filters such as `reclaim_engine=debug`
    #[arg(
        long,
        global = true,
        env = "RECLAIM_LOG",
        default_value = "warn",
        value_name = "FILTER",
        value_parser = log_filter
    )]
    pub(crate) log_level: String,

    /// Log format
    #[arg(
        long,
        global = true,
        env = "RECLAIM_LOG_FORMAT",
        value_enum,
        default_value_t = LogFormat::Text
    )]
    pub(crate) log_format: LogFormat,

    /// Send spans to this OpenTelemetry collector (OTLP over gRPC): `http://HOST:PORT`
    ///
    /// Needs a build with the feature `otel`, as in the Debian package and the container image.
    #[arg(long, global = true, env = OTLP_VARIABLE, value_name = "URL")]
    otlp_endpoint: Option<String>,

    /// Whether --otlp-endpoint was given, not only its variable; see [`Globals::note_origin`].
    #[arg(skip)]
    is_otlp_endpoint_given: bool,

    /// Deadline of calls to containerd in milliseconds, for tests
    #[arg(
        long,
        global = true,
        env = "RECLAIM_TEST_DEADLINE_MS",
        hide = true,
        value_name = "MILLISECONDS"
    )]
    pub(crate) test_deadline: Option<u64>,
}

/// The switch of commands that can be about every namespace.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct AllNamespacesArgs {
    /// Every namespace that containerd has, instead of one
    ///
    /// Overrides the variable `CONTAINERD_NAMESPACE`.
    #[arg(short = 'A', long)]
    all_namespaces: bool,
}

impl AllNamespacesArgs {
    /// Returns whether tables say in which namespace each row is.
    pub(crate) fn column(self) -> NamespaceColumn {
        if self.all_namespaces {
            NamespaceColumn::Shown
        } else {
            NamespaceColumn::Hidden
        }
    }
}

/// The namespaces that a command is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Scope {
    /// All that containerd has.
    All,
    /// One.
    One {
        namespace: Namespace,
        /// Whether the user named it, by the option or its variable. If not, it need not exist.
        is_named: bool,
    },
}

/// Why it is not clear which namespaces a command is about.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ScopeError {
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    #[error("cannot use --namespace with --all-namespaces")]
    Both,
}

/// The format of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Text for people
    Text,
    /// One JSON object per line
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

    /// Returns the path of containerd's own configuration, for a command that uses containerd
    /// directly. An empty variable counts as unset.
    pub(crate) fn containerd_config(&self) -> ContainerdConfig {
        let named = self.containerd_config.as_ref();
        if let Some(path) = named.filter(|path| !path.as_os_str().is_empty()) {
            return ContainerdConfig::At(path.clone());
        }
        if self.remote {
            return ContainerdConfig::Unseen;
        }
        let address = self.address();
        let socket = address.strip_prefix("unix://").unwrap_or(address);
        let usual: Vec<&Path> = CONTAINERD_CONFIGS
            .iter()
            .filter(|(of, _)| *of == socket)
            .map(|(_, path)| Path::new(path))
            .collect();
        let existing = usual.iter().find(|path| path.exists());
        match existing.or(usual.first()) {
            Some(path) => ContainerdConfig::At(path.to_path_buf()),
            None => ContainerdConfig::Unseen,
        }
    }

    /// Returns the kubelet's directory, for a command that uses containerd directly; `None` if it
    /// cannot be seen from here. An empty variable counts as unset.
    pub(crate) fn kubelet_directory(&self) -> Option<&Path> {
        let named = self.kubelet_directory.as_deref();
        let named = named.filter(|path| !path.as_os_str().is_empty());
        named.or((!self.remote).then_some(Path::new(DEFAULT_KUBELET)))
    }

    /// Returns when to use colours.
    pub(crate) fn colours(&self) -> ColorChoice {
        match self.color {
            Colour::Auto => ColorChoice::Auto,
            Colour::Always => ColorChoice::Always,
            Colour::Never => ColorChoice::Never,
        }
    }

    /// Returns whether to shorten IDs.
    pub(crate) fn truncation(&self) -> Truncation {
        if self.no_trunc {
            Truncation::Off
        } else {
            Truncation::On
        }
    }

    /// Gives an engine its lock directory, by which other processes see whether its runs are over.
    /// `state` is the state directory of a daemon.
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
        match self.machine.as_deref().and_then(|ids| ids.split_once('/')) {
            Some((machine, boot)) => engine.with_machine(machine, boot),
            None => engine,
        }
    }

    /// Returns the directory with the records of changes, of a command without a daemon.
    pub(crate) fn audit_directory<'a>(&'a self, config: Option<&'a Config>) -> &'a Path {
        let configured = config.map(|config| config.state.as_path());
        let named = self.audit_dir.as_deref();
        named.or(configured).unwrap_or(Path::new(DEFAULT_STATE))
    }

    /// Returns the state directory of the daemon of this host, for a command that reads what it records.
    pub(crate) fn state_directory(&self, config: Option<&Config>) -> PathBuf {
        self.audit_directory(config).to_owned()
    }

    /// Records what a command without a daemon changes.
    pub(crate) fn audited(&self, engine: &Engine, config: Option<&Config>) -> Engine {
        let engine = engine.called_by(this_process(EntryPoint::CommandLine));
        match self.audit_log(config) {
            Some(log) => engine.with_audit(log),
            None => engine,
        }
    }

    /// Returns where a command without a daemon records what it changes, if the state directory exists.
    pub(crate) fn audit_log(&self, config: Option<&Config>) -> Option<AuditLog> {
        let directory = self.audit_directory(config);
        let limits = config.map(|config| config.audit).unwrap_or_default();
        directory.is_dir().then(|| AuditLog::new(directory, limits))
    }

    /// Returns the address of the daemon to use. An empty variable counts as unset.
    pub(crate) fn host(&self) -> Option<&str> {
        self.host.as_deref().filter(|host| !host.is_empty())
    }

    /// Returns the collector that spans are sent to. An empty variable counts as unset.
    pub(crate) fn otlp_endpoint(&self) -> Option<&str> {
        self.otlp_endpoint.as_deref().filter(|url| !url.is_empty())
    }

    /// Whether the collector was named by the option, not only by the variable.
    pub(crate) fn is_otlp_endpoint_given(&self) -> bool {
        self.is_otlp_endpoint_given
    }

    /// Returns the configuration file. An empty variable counts as unset.
    pub(crate) fn config(&self) -> ConfigSource {
        match &self.config {
            _ if self.no_config => ConfigSource::LeftOut,
            Some(path) if !path.as_os_str().is_empty() => ConfigSource::At(path.clone()),
            Some(_) | None => ConfigSource::Usual,
        }
    }

    /// Returns whether the configuration file is left out.
    pub(crate) fn leaves_out_config(&self) -> bool {
        self.no_config
    }

    /// Returns the namespace of commands that name none.
    pub(crate) fn default_namespace() -> Result<Namespace, NamespaceError> {
        DEFAULT_NAMESPACE.parse()
    }

    /// Returns the namespace, and whether it was named. An empty variable counts as unset.
    pub(crate) fn namespace(&self) -> Result<(Namespace, bool), NamespaceError> {
        match self.namespace.as_deref() {
            None | Some("") => Ok((Self::default_namespace()?, false)),
            Some(name) => Ok((name.parse()?, true)),
        }
    }

    /// Notes whether the namespace is from the command line, which --all-namespaces contradicts, or
    /// from the variable, which it overrides.
    pub(crate) fn note_origin(&mut self, matches: &ArgMatches) {
        let mut deepest = matches;
        while let Some((_, matches)) = deepest.subcommand() {
            deepest = matches;
        }
        let is_given = |id| deepest.value_source(id) == Some(ValueSource::CommandLine);
        self.is_namespace_given = is_given("namespace");
        self.is_otlp_endpoint_given = is_given("otlp_endpoint");
    }

    /// Returns the namespaces of a command that takes --all-namespaces.
    pub(crate) fn scope(&self, all: AllNamespacesArgs) -> Result<Scope, ScopeError> {
        match (all.all_namespaces, self.is_namespace_given) {
            (true, true) => Err(ScopeError::Both),
            (true, false) => Ok(Scope::All),
            (false, _) => {
                let (namespace, is_named) = self.namespace()?;
                Ok(Scope::One {
                    namespace,
                    is_named,
                })
            }
        }
    }

    /// Returns the namespace if one was named.
    pub(crate) fn explicit_namespace(&self) -> Result<Option<Namespace>, NamespaceError> {
        let (namespace, is_explicit) = self.namespace()?;
        Ok(is_explicit.then_some(namespace))
    }
}

/// Returns the lock directory of a command, which has no state directory: the one of a daemon with
/// the default state directory, which pods see too; else a private directory that is lost at reboot.
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

/// Checks a log filter.
fn log_filter(text: &str) -> Result<String, String> {
    match EnvFilter::builder().parse(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!(
            "{error}; accepted are off, error, warn, info, debug and trace, and filters such as \
             info,reclaim_engine=debug"
        )),
    }
}
