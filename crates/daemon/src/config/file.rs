//! The file as written. Unknown keys are errors that list the known ones.
//!
//! Sections whose values are checked together are in modules of their own.

use std::net::SocketAddr;
use std::path::PathBuf;

use reclaim_maintenance::settings::{Key, Text};
use reclaim_maintenance::{PolicySettings, settings};
use reclaim_model::Namespace;
use serde::de::DeserializeOwned;
use serde::de::value::{Error, MapDeserializer};
use serde::{Deserialize, Serialize};

use super::access::AccessSection;
use super::audit::AuditSection;
use super::events::EventsSection;
use super::fleet::FleetSection;
use super::forward::ForwardSection;
use super::headroom::HeadroomSection;
use super::protect::ProtectSection;

/// The file as written.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ConfigFile {
    #[serde(default = "empty")]
    pub(super) containerd: ContainerdSection,
    #[serde(default = "empty")]
    pub(super) kubernetes: KubernetesSection,
    #[serde(default = "empty")]
    pub(super) state: StateSection,
    #[serde(default = "empty")]
    pub(super) audit: AuditSection,
    #[serde(default = "empty")]
    pub(super) metrics: MetricsSection,
    #[serde(default = "empty")]
    pub(super) events: EventsSection,
    #[serde(default = "empty")]
    pub(super) access: AccessSection,
    #[serde(default = "empty")]
    pub(super) forward: ForwardSection,
    #[serde(default = "empty")]
    pub(super) headroom: HeadroomSection,
    #[serde(default = "empty")]
    pub(super) protect: ProtectSection,
    #[serde(default = "empty")]
    pub(super) fleet: FleetSection,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) policy: Vec<PolicySettings>,
}

impl ConfigFile {
    /// Returns the keys of all sections, including those of a `[[policy]]`.
    pub(super) fn keys() -> Vec<Key> {
        let sections = [
            ContainerdSection::keys(),
            KubernetesSection::keys(),
            StateSection::keys(),
            AuditSection::keys(),
            MetricsSection::keys(),
            EventsSection::keys(),
            AccessSection::keys(),
            ForwardSection::keys(),
            HeadroomSection::keys(),
            ProtectSection::keys(),
            FleetSection::keys(),
            PolicySettings::keys(),
        ];
        sections.into_iter().flatten().collect()
    }
}

/// Returns a section with the default of every key.
fn empty<T: DeserializeOwned>() -> T {
    let keys = std::iter::empty::<(&str, &str)>();
    T::deserialize(MapDeserializer::<_, Error>::new(keys)).expect("no key of a section is required")
}

settings! {
    pub(super) struct ContainerdSection in "containerd" {
        /// Where containerd listens. --address and CONTAINERD_ADDRESS take precedence.
        address: Option<String>, accepts "a path, or unix:// and a path";
        /// Namespaces in which policies may remove images. All namespaces are read.
        namespaces: Vec<Text<Namespace>> = vec![Text("default".parse().expect("a namespace"))],
            accepts "names of namespaces";
        /// containerd's own configuration, which names the sandbox image of pods. It may be missing.
        config: PathBuf = PathBuf::from("/etc/containerd/config.toml");
        /// Whether this machine serves images to other machines out of containerd's content, which is otherwise found from the hosts of registries. Then `image slim` keeps layers.
        serves_peers: bool = false;
    }
}

settings! {
    pub(super) struct KubernetesSection in "kubernetes" {
        /// The kubelet's own configuration, read to warn where it and a policy conflict. It may be missing.
        kubelet_config: PathBuf = PathBuf::from("/var/lib/kubelet/config.yaml");
        /// The kubelet's directory, read for its pull records: an undo restores no private image whose record is gone. It may be missing.
        kubelet_directory: PathBuf = PathBuf::from(super::DEFAULT_KUBELET);
    }
}

settings! {
    pub(super) struct StateSection in "state" {
        /// Where the daemon keeps the state that it needs after a restart.
        directory: PathBuf = PathBuf::from(super::DEFAULT_STATE);
    }
}

settings! {
    pub(super) struct MetricsSection in "metrics" {
        /// Where /metrics, /ready and /live are served. Not served unless set.
        listen: Option<SocketAddr>;
        /// Whether /page is served there, too: names of images, containers and policies, to everyone who can reach the port.
        page: bool = false;
    }
}
