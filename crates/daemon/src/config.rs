//! The configuration: the [file](mod@file) as written, and the checked [`Config`].
//!
//! Parsing checks each value by itself, so that an error has the line. Then [`Config::new`] checks
//! values that depend on each other, and the error has the key or the policy.

mod access;
mod audit;
mod events;
mod file;
mod fleet;
mod forward;
mod headroom;
mod protect;
mod schema;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::{fmt, fs, io};

use http::Uri;
use reclaim_api::access::AccessLists;
use reclaim_engine::{AuditLimits, ContainerdConfig};
use reclaim_maintenance::settings::Text;
use reclaim_maintenance::{Policy, PolicySettings};
use reclaim_model::{Namespace, Protection};

pub use fleet::Fleet;
pub use forward::ForwardConfig;
pub use headroom::HeadroomConfig;
pub use protect::Infrastructure;
pub use reclaim_maintenance::settings::{duration_text, duration_within};
pub use schema::schema;

use file::ConfigFile;

/// The default path of the file.
pub const DEFAULT_PATH: &str = "/etc/reclaim/config.toml";

/// The default state directory.
pub const DEFAULT_STATE: &str = "/var/lib/reclaim";

/// The default directory of the kubelet.
pub const DEFAULT_KUBELET: &str = "/var/lib/kubelet";

/// The checked configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// The address of containerd, if the file has one.
    pub address: Option<String>,
    /// The path of containerd's own configuration.
    pub containerd_toml: PathBuf,
    /// Whether this machine serves images to other machines out of containerd's content.
    pub serves_peers: bool,
    /// The path of the kubelet's own configuration.
    pub kubelet_yaml: PathBuf,
    /// The kubelet's directory, with its pull records.
    pub kubelet_directory: PathBuf,
    /// The state directory.
    pub state: PathBuf,
    /// How much the audit keeps.
    pub audit: AuditLimits,
    /// The address of the metrics server, if there is one.
    pub metrics: Option<SocketAddr>,
    /// Whether the metrics server has the page.
    pub metrics_page: bool,
    /// The receiver of events, if there is one.
    pub events: Option<Uri>,
    /// The roles of clients of the servers.
    pub access: AccessLists,
    /// Which requests are forwarded to a Docker Engine.
    pub forward: ForwardConfig,
    /// The reserve file.
    pub headroom: HeadroomConfig,
    /// Whether the images that a node needs are protected.
    pub infrastructure: Infrastructure,
    /// Images that are not removed.
    pub protection: Protection,
    /// The cluster in which this node takes turns, if any.
    pub fleet: Option<Fleet>,
    /// The enabled policies, in the order of the file.
    pub policies: Vec<Policy>,
    /// The file with every default filled in.
    effective: String,
}

impl Config {
    /// Checks a file.
    fn new(file: ConfigFile) -> Result<Self, InvalidSetting> {
        let effective = toml::to_string(&file).expect("every value can be written as TOML");
        let ConfigFile {
            containerd,
            kubernetes,
            state,
            audit: audit_section,
            metrics,
            events: events_section,
            access,
            forward,
            headroom,
            protect,
            fleet,
            policy: policies,
        } = file;
        let namespaces = containerd.namespaces;
        let (protection, infrastructure) = protect::protection(protect)?;
        Ok(Self {
            address: containerd.address,
            containerd_toml: containerd.config,
            serves_peers: containerd.serves_peers,
            kubelet_yaml: kubernetes.kubelet_config,
            kubelet_directory: kubernetes.kubelet_directory,
            state: state.directory,
            audit: audit::limits(audit_section)?,
            metrics: metrics.listen,
            metrics_page: metrics.page,
            events: events::url(events_section)?,
            access: access.into(),
            forward: forward.into(),
            headroom: headroom.into(),
            infrastructure,
            protection,
            fleet: Fleet::new(fleet)?,
            policies: enabled(policies, namespaces)?,
            effective,
        })
    }

    /// Returns containerd's own configuration, as far as it protects images. `seen` is where it can
    /// be seen from here.
    pub fn containerd_config(&self, seen: ContainerdConfig) -> ContainerdConfig {
        match self.infrastructure {
            Infrastructure::Protected => seen,
            Infrastructure::Free => ContainerdConfig::Ignored,
        }
    }

    /// Returns the file with every default filled in.
    pub fn effective(&self) -> &str {
        &self.effective
    }
}

/// Which configuration file is read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ConfigSource {
    /// The one at [`DEFAULT_PATH`], if it exists.
    #[default]
    Usual,
    /// This one.
    At(PathBuf),
    /// None.
    LeftOut,
}

/// Reads a configuration file. Without a file, returns the defaults.
///
/// # Errors
///
/// [`ConfigError`] if the file cannot be read or is invalid.
pub fn read(source: &ConfigSource) -> Result<Config, ConfigError> {
    let found = read_if_any(source)?;
    found.map_or_else(|| parse("", Path::new(DEFAULT_PATH)), Ok)
}

/// Reads a configuration file, if there is one.
///
/// # Errors
///
/// As [`read`].
pub fn read_if_any(source: &ConfigSource) -> Result<Option<Config>, ConfigError> {
    let path = match source {
        ConfigSource::Usual => Path::new(DEFAULT_PATH),
        ConfigSource::At(path) => path,
        ConfigSource::LeftOut => return Ok(None),
    };
    match fs::read_to_string(path) {
        Ok(text) => parse(&text, path).map(Some),
        Err(error) if *source == ConfigSource::Usual && error.kind() == io::ErrorKind::NotFound => {
            Ok(None)
        }
        Err(error) => Err(ConfigError::Read {
            path: path.to_owned(),
            source: error,
        }),
    }
}

fn parse(text: &str, path: &Path) -> Result<Config, ConfigError> {
    let file: ConfigFile = toml::from_str(text).map_err(|error| ConfigError::Syntax {
        path: path.to_owned(),
        problem: error.to_string().trim_end().to_owned(),
    })?;
    Config::new(file).map_err(|problem| ConfigError::Setting {
        path: path.to_owned(),
        problem,
    })
}

/// Checks all policies and returns the enabled ones.
fn enabled(
    policies: Vec<PolicySettings>,
    namespaces: Vec<Text<Namespace>>,
) -> Result<Vec<Policy>, InvalidSetting> {
    let namespaces: Vec<Namespace> = namespaces.into_iter().map(|text| text.0).collect();
    let mut names = BTreeSet::new();
    let mut enabled = Vec::new();
    for settings in policies {
        let name = settings.name.0.to_string();
        let is_enabled = settings.enabled;
        let invalid = |problem| InvalidSetting::new(&format!("policy `{name}`"), problem);
        let policy = settings.policy(&namespaces).map_err(invalid)?;
        if !names.insert(name.clone()) {
            return Err(invalid("another policy has this name".to_owned()));
        }
        if is_enabled {
            enabled.push(policy);
        }
    }
    Ok(enabled)
}

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("read configuration `{}`", path.display())]
    Read {
        /// The path of the file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The text is not TOML, a key is unknown, or a value is invalid.
    #[error("configuration `{}`: {problem}", path.display())]
    Syntax {
        /// The path of the file.
        path: PathBuf,
        /// The message of the parser, with the line.
        problem: String,
    },
    /// A value is invalid together with others.
    #[error("configuration `{}`: {problem}", path.display())]
    Setting {
        /// The path of the file.
        path: PathBuf,
        /// The key and the error.
        problem: InvalidSetting,
    },
}

/// An error in a value that is valid by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidSetting {
    /// The key, or the policy.
    place: String,
    problem: String,
}

impl fmt::Display for InvalidSetting {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.place, self.problem)
    }
}

impl InvalidSetting {
    fn new(place: &str, problem: String) -> Self {
        Self {
            place: place.to_owned(),
            problem,
        }
    }
}

#[cfg(test)]
mod tests;
