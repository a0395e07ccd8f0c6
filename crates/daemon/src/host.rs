//! The host of a daemon: its configuration and state, and the engine with all containers.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use reclaim_engine::{
    AuditLog, ContainerdConfig, DockerAddress, DockerContainers, DockerError, Engine,
    RegisteredContainers, UnlistedDocker, read_registry_hosts, read_sandbox_images, this_process,
};
use reclaim_maintenance::{
    FillHistory, LastUseIndex, LateRoom, Maintenance, Policy, PolicyRun, PolicySet, Registries,
    RegistrySource, RunHistory, RunRecord, SharedLock,
};
use reclaim_model::{EntryPoint, PolicyName, chain};
use reclaim_store::{ConnectError, Containerd};
use tokio::time::Instant;
use tracing::warn;

use crate::config::{self, Config, ConfigSource};
use crate::error::DaemonError;
use crate::events::EventSender;

/// The default address of containerd, as for ctr and nerdctl.
pub const DEFAULT_ADDRESS: &str = "/run/containerd/containerd.sock";

/// Whether a host is opened for a command that ends, or for a daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// Opening fails if containerd does not answer.
    None,
    /// Opening succeeds, and each operation waits for containerd. The daemon ends holds itself.
    Waits,
}

/// The options of a command that runs policies.
#[derive(Debug, Clone, Default)]
pub struct HostOptions {
    /// The configuration file.
    pub config: ConfigSource,
    /// The address of containerd, instead of the configured one.
    pub address: Option<String>,
    /// Whether containerd runs on another host, so that its files cannot be read here.
    pub is_remote: bool,
    /// Addresses of Docker Engines whose containers keep their images.
    pub docker: Vec<String>,
    /// A directory with certificates for connections to them over TCP.
    pub docker_tls: Option<PathBuf>,
    /// Whether to prune Docker's namespaces without a list of containers from a Docker Engine.
    pub trust_leases: bool,
    /// The state directory, instead of the configured one.
    pub state: Option<PathBuf>,
}

/// A host on which policies run.
#[derive(Debug)]
pub struct Host {
    /// The configuration.
    pub config: Config,
    /// The engine, which knows all containers.
    pub engine: Arc<Engine>,
    /// The Docker Engines whose containers keep their images, if any are named.
    pub docker: Option<Arc<DockerContainers>>,
    /// When each image was last used.
    pub index: Arc<LastUseIndex>,
    /// The runs of policies.
    pub history: Arc<RunHistory>,
    /// How full the filesystems were.
    pub(crate) filling: Arc<FillHistory>,
    /// The configuration file.
    pub(crate) file: ConfigSource,
    /// Whether containerd runs on another host.
    is_remote: bool,
    /// A second connection to containerd, for health checks.
    pub(crate) health_connection: Containerd,
    /// Containers that engines registered.
    pub(crate) registered: Arc<RegisteredContainers>,
    /// What policies freed and the filesystems do not show yet.
    late: Arc<LateRoom>,
    /// The state directory.
    state: PathBuf,
}

impl Host {
    /// Reads the configuration and the state, and connects to containerd. `adapt` gives the engine
    /// the options of the command; it receives the state directory.
    ///
    /// # Errors
    ///
    /// [`DaemonError`] if any of that fails.
    pub async fn open(
        options: HostOptions,
        patience: Patience,
        adapt: impl FnOnce(Engine, &Path) -> Engine,
    ) -> Result<Self, DaemonError> {
        let config = config::read(&options.config)?;
        let state = options.state.unwrap_or_else(|| config.state.clone());
        let registered = Arc::new(registered(&state)?);
        let address = options
            .address
            .as_deref()
            .or(config.address.as_deref())
            .unwrap_or(DEFAULT_ADDRESS);
        let health_connection = Containerd::connect_lazily(address)?;
        let engine = match connect(address, options.is_remote).await {
            Err(error) if patience == Patience::Waits && error.is_transient() => {
                warn!(error = %chain(&error), "containerd is not running; waiting for it");
                Engine::new(placed(health_connection.clone(), options.is_remote))
            }
            connected => connected?,
        };
        let adapted = match patience {
            Patience::None => {
                adapt(engine, &state).called_by(this_process(EntryPoint::CommandLine))
            }
            // A daemon is there to end them.
            Patience::Waits => adapt(engine, &state)
                .keeping_holds()
                .called_by(this_process(EntryPoint::Schedule)),
        };
        let adapted = adapted.with_audit(AuditLog::new(&state, config.audit));
        let index = Arc::new(LastUseIndex::open(&state)?);
        let docker = docker(&options.docker, options.docker_tls.as_deref())?;
        let engine = with_docker(adapted, docker.as_ref(), options.trust_leases)
            .with_containers(Arc::clone(&registered) as _)
            .with_last_use(Arc::clone(&index) as _)
            .with_layer_source(Arc::new(
                RegistrySource::new((!options.is_remote).then(|| config.containerd_toml.clone()))
                    .serving_peers(config.serves_peers),
            ));
        let engine = if options.is_remote {
            engine
        } else {
            engine.with_kubelet_directory(&config.kubelet_directory)
        };
        let history = RunHistory::open(&state)?;
        let late = LateRoom::of_runs(&history.runs(), engine.store().now(), Instant::now());
        let host = Self {
            docker,
            index,
            history: Arc::new(history),
            filling: Arc::new(FillHistory::open(&state)),
            late: Arc::new(late),
            engine: Arc::new(engine),
            registered,
            health_connection,
            config,
            file: options.config,
            is_remote: options.is_remote,
            state,
        };
        host.protect(&host.config);
        Ok(host)
    }

    /// Protects the images that a configuration and containerd's own name, from now on.
    pub(crate) fn protect(&self, config: &Config) {
        let seen = if self.is_remote {
            ContainerdConfig::Unseen
        } else {
            ContainerdConfig::At(config.containerd_toml.clone())
        };
        let containerd_config = config.containerd_config(seen);
        if let ContainerdConfig::At(path) = &containerd_config {
            for warning in read_sandbox_images(path).warnings {
                warn!(%warning, "sandbox image unknown; protecting every image that could be one");
            }
        }
        self.engine
            .protect(config.protection.clone(), containerd_config);
    }

    /// Returns what policies need to run, from a configuration.
    pub fn maintenance(&self, config: &Config) -> Maintenance {
        Maintenance {
            engine: Arc::clone(&self.engine),
            index: Arc::clone(&self.index),
            headroom: config.headroom.reserve(&self.state),
            cluster_lock: cluster_lock(config),
            kubelet_config: Some(config.kubelet_yaml.clone()),
            late: Arc::clone(&self.late),
            quiet: Arc::default(),
            registries: if self.is_remote {
                Registries::default()
            } else {
                Registries::new(read_registry_hosts(&config.containerd_toml))
            },
        }
    }

    /// Returns the client of the receiver of events, if there is one.
    pub(crate) fn events(&self) -> Result<Option<EventSender>, DaemonError> {
        self.config.events.clone().map(EventSender::new).transpose()
    }

    /// Sends the events of runs that a command made. Waits for a limited time, and logs a failure.
    ///
    /// # Errors
    ///
    /// If the certificates of the system cannot be read.
    pub async fn send_events(&self, runs: &[PolicyRun]) -> Result<(), DaemonError> {
        if let Some(sender) = self.events()? {
            let records: Vec<RunRecord> = runs.iter().filter_map(PolicyRun::record).collect();
            sender.deliver_all(&records).await;
        }
        Ok(())
    }

    /// Deletes the reserve file that an earlier configuration left in the state directory.
    pub fn drop_headroom(&self, config: &Config) {
        if let Some(obsolete) = config.headroom.obsolete(&self.state)
            && let Err(error) = obsolete.free()
        {
            warn!(file = %obsolete.file.display(), %error, "cannot delete the headroom file");
        }
    }

    /// Returns the named policies of a configuration, or all, with what they need to run.
    pub(crate) fn policy_set(
        &self,
        config: &Config,
        names: &[PolicyName],
    ) -> Result<PolicySet, DaemonError> {
        let chosen = Policy::chosen(&config.policies, names)?;
        self.drop_headroom(config);
        Ok(PolicySet {
            maintenance: self.maintenance(config),
            policies: chosen.into_iter().cloned().collect(),
        })
    }
}

/// Connects to containerd.
///
/// # Errors
///
/// [`ConnectError`] if containerd does not answer.
pub async fn connect(address: &str, is_remote: bool) -> Result<Engine, ConnectError> {
    let store = Containerd::connect(address).await?;
    Ok(Engine::new(placed(store, is_remote)))
}

/// Marks a containerd that runs on another host.
fn placed(store: Containerd, is_remote: bool) -> Containerd {
    if is_remote { store.as_remote() } else { store }
}

/// Returns the lock that the nodes of a cluster share.
#[cfg(feature = "fleet")]
fn cluster_lock(config: &Config) -> Option<SharedLock> {
    let fleet = config.fleet.clone()?;
    Some(SharedLock {
        critical: fleet.critical,
        lock: Arc::new(crate::fleet_lock::FleetLock::new(fleet)),
    })
}

#[cfg(not(feature = "fleet"))]
fn cluster_lock(config: &Config) -> Option<SharedLock> {
    if config.fleet.is_some() {
        warn!("built without the `fleet` feature: [fleet] is ignored");
    }
    None
}

/// Reads the containers that engines registered.
fn registered(state: &Path) -> Result<RegisteredContainers, DaemonError> {
    let directory = state.join("containers");
    let opened = RegisteredContainers::open(directory.clone());
    opened.map_err(|error| DaemonError::State { directory, error })
}

/// Returns the store for the Docker Engines at these addresses, if there are any.
fn docker(
    addresses: &[String],
    certificates: Option<&Path>,
) -> Result<Option<Arc<DockerContainers>>, DockerError> {
    if addresses.is_empty() {
        return Ok(None);
    }
    let addresses = addresses.iter();
    let addresses = addresses.map(|address| DockerAddress::new(address, certificates));
    let addresses = addresses.collect::<Result<_, DockerError>>()?;
    Ok(Some(Arc::new(DockerContainers::new(addresses))))
}

/// Adds the containers of Docker Engines.
fn with_docker(
    engine: Engine,
    docker: Option<&Arc<DockerContainers>>,
    trust_leases: bool,
) -> Engine {
    match docker {
        Some(docker) => engine.with_containers(Arc::clone(docker) as _),
        None if trust_leases => engine,
        None => engine.with_containers(Arc::new(UnlistedDocker)),
    }
}
