//! The configuration: what a file means, checked as a whole.

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use reclaim_maintenance::settings::{SizeOrAuto, Text};
use reclaim_maintenance::{HeadroomSize, Policy};
use reclaim_model::{ByteSize, LabelFilter, Protection};

use super::file::{ConfigFile, HeadroomSection, ProtectSection};
use super::fleet::Fleet;

/// Names of images that pods and the node itself need.
const INFRASTRUCTURE: [&str; 7] = [
    "registry.k8s.io/pause:*",
    "k8s.gcr.io/pause:*",
    "*/pause:*",
    "*/mirrored-pause:*",
    "*/kube-proxy:*",
    "*/coredns:*",
    "*/reclaim:*",
];

/// Whether the node's own images are protected from all policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Infrastructure {
    /// They are.
    Protected,
    /// They are not.
    Free,
}

/// The configuration, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// The address of containerd, if the file names one.
    pub address: Option<String>,
    /// The path of containerd's own configuration.
    pub containerd_toml: PathBuf,
    /// The path of the kubelet's own configuration.
    pub kubelet_yaml: PathBuf,
    /// The state directory.
    pub state: PathBuf,
    /// The address of the metrics server, if there is one.
    pub metrics: Option<SocketAddr>,
    /// The file that is deleted when the filesystem is full.
    pub headroom: Headroom,
    /// Whether the node's own images are protected.
    pub infrastructure: Infrastructure,
    /// What no policy removes, without the images that containerd's configuration names.
    pub protection: Protection,
    /// The cluster in which this node takes turns, if any.
    pub fleet: Option<Fleet>,
    /// Enabled policies, in their order.
    pub policies: Vec<Policy>,
    /// The file with every default filled in.
    effective: String,
}

/// The settings of the headroom file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Headroom {
    /// Its size; `None` for no file.
    pub size: Option<HeadroomSize>,
    /// Its path, unless it is in the state directory.
    pub file: Option<PathBuf>,
}

/// An error in values that are valid each by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeaningError {
    place: String,
    problem: String,
}

impl fmt::Display for MeaningError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.place, self.problem)
    }
}

impl MeaningError {
    pub(super) fn new(place: &str, problem: String) -> Self {
        Self {
            place: place.to_owned(),
            problem,
        }
    }
}

impl Config {
    /// Checks a file.
    pub(super) fn new(file: ConfigFile) -> Result<Self, MeaningError> {
        let effective = toml::to_string(&file).expect("every value has a form in TOML");
        let ConfigFile {
            containerd,
            kubernetes,
            state,
            metrics,
            headroom,
            protect,
            fleet,
            policy: policies,
        } = file;
        let namespaces = plain(containerd.namespaces);
        let mut names = BTreeSet::new();
        let mut checked = Vec::new();
        for settings in policies {
            let name = settings.name.0.to_string();
            let is_enabled = settings.enabled;
            let invalid = |problem| MeaningError::new(&format!("policy `{name}`"), problem);
            let policy = settings.policy(&namespaces).map_err(invalid)?;
            if !names.insert(name.clone()) {
                return Err(invalid("there are two of that name".to_owned()));
            }
            if is_enabled {
                checked.push(policy);
            }
        }
        let infrastructure = if protect.infrastructure {
            Infrastructure::Protected
        } else {
            Infrastructure::Free
        };
        Ok(Self {
            address: containerd.address,
            containerd_toml: containerd.config,
            kubelet_yaml: kubernetes.kubelet_config,
            headroom: meaning_of_headroom(headroom),
            state: state.directory,
            metrics: metrics.listen,
            infrastructure,
            protection: protection(protect)?,
            fleet: Fleet::new(fleet)?,
            policies: checked,
            effective,
        })
    }

    /// Returns the file with every default filled in.
    pub fn effective(&self) -> &str {
        &self.effective
    }
}

fn plain<T>(texts: Vec<Text<T>>) -> Vec<T> {
    texts.into_iter().map(|it| it.0).collect()
}

fn meaning_of_headroom(section: HeadroomSection) -> Headroom {
    let HeadroomSection { size, file } = section;
    let size = match size.0 {
        SizeOrAuto::Auto => Some(HeadroomSize::Auto),
        SizeOrAuto::Size(ByteSize(bytes)) => some(bytes).map(HeadroomSize::Bytes),
    };
    Headroom { size, file }
}

fn protection(section: ProtectSection) -> Result<Protection, MeaningError> {
    let ProtectSection {
        references,
        digests,
        labels,
        namespaces,
        infrastructure,
    } = section;
    let mut references = plain(references);
    if infrastructure {
        references.extend(INFRASTRUCTURE.map(|it| it.parse().expect("a glob")));
    }
    let labels = labels.iter().map(|label| LabelFilter::parse(true, label));
    let labels = labels.collect::<Result<_, _>>();
    Ok(Protection {
        references,
        digests: plain(digests).into_iter().collect(),
        labels: labels.map_err(|error| MeaningError::new("protect.labels", error.to_string()))?,
        namespaces: plain(namespaces).into_iter().collect(),
        sandbox_images: Vec::new(),
    })
}

/// Returns `None` for zero.
fn some<T: PartialEq + Default>(number: T) -> Option<T> {
    (number != T::default()).then_some(number)
}
