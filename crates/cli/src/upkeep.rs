//! What everything that runs policies is made of: the engine with all containers of the host, what
//! is known of last use, and the policies of the configuration.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use reclaim_engine::{
    ContainerdConfig, DockerContainers, Engine, RegisteredContainers, UnlistedDocker,
};
use reclaim_maintenance::{
    ClusterLock, Headroom, HeadroomSize, LastUseIndex, Maintenance, Policy, PolicySet, RunHistory,
};
use reclaim_model::{PolicyName, chain};
use reclaim_store::Containerd;
use tracing::warn;

use crate::args::Globals;
use crate::args::serve::HostArgs;
use crate::commands::{self, containerd};
use crate::config::{self, Config};
use crate::exit::CommandError;

/// What the file of the headroom is called in the state directory.
const HEADROOM: &str = "headroom";

/// What to do where containerd is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// It is an error.
    None,
    /// Begin without it.
    Waits,
}

/// One host, as a process knows it that removes images by itself.
pub(crate) struct Host {
    /// The configuration.
    pub(crate) config: Config,
    /// A second connection, on which health checks contact containerd.
    pub(crate) second_connection: Containerd,
    /// The engine, with all containers.
    pub(crate) engine: Arc<Engine>,
    /// Containers that engines registered.
    pub(crate) registered: Arc<RegisteredContainers>,
    /// When each image was used last.
    pub(crate) index: Arc<LastUseIndex>,
    /// The runs of policies.
    pub(crate) history: Arc<RunHistory>,
    /// Where the state is.
    state: PathBuf,
}

impl Host {
    /// Reads the configuration and the state, and connects to containerd, or waits for it with
    /// what needs it.
    pub(crate) async fn open(
        command: &'static str,
        globals: &Globals,
        args: &HostArgs,
        patience: Patience,
    ) -> Result<Self, CommandError> {
        if globals.host().is_some() {
            return Err(CommandError::NotWithHost(command));
        }
        let config = config::find(globals.config())?;
        let state = args.state.clone().unwrap_or_else(|| config.state.clone());
        let registered = Arc::new(registered(&state)?);
        let second_connection =
            Containerd::connect_lazily(globals.address(config.address.as_deref()))?;
        let store = match containerd(globals, config.address.as_deref()).await {
            Err(CommandError::Connect(error))
                if patience == Patience::Waits && error.is_transient() =>
            {
                warn!(error = %chain(&error), "cannot connect to containerd; starting without it");
                commands::local_or_remote(globals, second_connection.clone())
            }
            store => store?,
        };
        let engine = globals.identified(Engine::new(store), Some(&state));
        let engine = with_docker(engine, args)?;
        let engine = engine.with_containers(Arc::clone(&registered) as _);
        let engine = engine.with_containerd_config(match config.infrastructure {
            config::Infrastructure::Free => ContainerdConfig::Ignored,
            config::Infrastructure::Protected if globals.remote => ContainerdConfig::Unseen,
            config::Infrastructure::Protected => {
                ContainerdConfig::At(config.containerd_toml.clone())
            }
        });
        let index = Arc::new(LastUseIndex::open(&state)?);
        let engine = engine.with_last_use(Arc::clone(&index) as _);
        Ok(Self {
            index,
            history: Arc::new(RunHistory::open(&state)?),
            engine: Arc::new(engine),
            registered,
            second_connection,
            config,
            state,
        })
    }

    /// Returns what policies run with, by a configuration and by containerd's own. Whoever runs
    /// them waits for a turn where the configuration has it so.
    pub(crate) fn maintenance(&self, config: &Config) -> Maintenance {
        let (protection, warnings) = config::protection_with_sandboxes(config);
        for warning in warnings {
            warn!(%warning, "sandbox image unknown; protecting every image that could be one");
        }
        Maintenance {
            engine: Arc::clone(&self.engine),
            index: Arc::clone(&self.index),
            protection: Arc::new(protection),
            headroom: self.headroom(config),
            cluster_lock: cluster_lock(config),
            kubelet_config: Some(config.kubelet_yaml.clone()),
        }
    }

    fn headroom(&self, config: &Config) -> Option<Headroom> {
        let headroom = &config.headroom;
        let usual = || self.state.join(HEADROOM);
        Some(Headroom {
            size: headroom.size?,
            file: headroom.file.clone().unwrap_or_else(usual),
        })
    }

    /// Removes the headroom that was taken in the state directory, where a configuration has none.
    /// A file that the configuration names stays.
    pub(crate) fn drop_headroom(&self, config: &Config) {
        if config.headroom.size.is_some() || config.headroom.file.is_some() {
            return;
        }
        let file = self.state.join(HEADROOM);
        let left = Headroom {
            size: HeadroomSize::Auto,
            file,
        };
        if let Err(error) = left.free() {
            warn!(file = %left.file.display(), %error, "cannot remove headroom");
        }
    }

    /// Returns what a scheduler works by: all policies of a configuration, or those that are
    /// named.
    pub(crate) fn set(
        &self,
        config: &Config,
        names: &[PolicyName],
    ) -> Result<PolicySet, CommandError> {
        let chosen = Policy::chosen(&config.policies, names)?;
        self.drop_headroom(config);
        Ok(PolicySet {
            maintenance: self.maintenance(config),
            policies: chosen.into_iter().cloned().collect(),
        })
    }
}

/// Returns the lock that the nodes of a cluster share.
#[cfg(feature = "fleet")]
fn cluster_lock(config: &Config) -> Option<Arc<dyn ClusterLock>> {
    let fleet = config.fleet.clone()?;
    Some(Arc::new(crate::fleet::FleetLock::new(fleet)))
}

#[cfg(not(feature = "fleet"))]
fn cluster_lock(config: &Config) -> Option<Arc<dyn ClusterLock>> {
    if config.fleet.is_some() {
        warn!("built without the `fleet` feature: [fleet] is ignored");
    }
    None
}

/// Opens what engines have registered.
fn registered(state: &Path) -> Result<RegisteredContainers, CommandError> {
    let directory = state.join("containers");
    let opened = RegisteredContainers::open(directory.clone());
    opened.map_err(|error| CommandError::State { directory, error })
}

/// Adds what knows the containers of Docker.
fn with_docker(engine: Engine, args: &HostArgs) -> Result<Engine, CommandError> {
    if args.trust_leases {
        return Ok(engine);
    }
    Ok(engine.with_containers(if args.docker.is_empty() {
        Arc::new(UnlistedDocker)
    } else {
        Arc::new(DockerContainers::new(&args.docker)?)
    }))
}
