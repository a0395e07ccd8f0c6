//! The file as written, section by section. An unknown key is an error that lists the known ones.

use std::net::SocketAddr;
use std::path::PathBuf;

use reclaim_maintenance::settings::{Count, Key, Lease, SizeOrAuto, Span, Text};
use reclaim_maintenance::{PolicySettings, settings};
use reclaim_model::{Digest, Namespace, Pattern};
use serde::de::DeserializeOwned;
use serde::de::value::{Error, MapDeserializer};
use serde::{Deserialize, Serialize};

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
    pub(super) metrics: MetricsSection,
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
    /// Returns the keys of all sections. Those of `policy` are of each `[[policy]]`.
    pub(super) fn keys() -> Vec<Key> {
        let sections = [
            ContainerdSection::keys(),
            KubernetesSection::keys(),
            StateSection::keys(),
            MetricsSection::keys(),
            HeadroomSection::keys(),
            ProtectSection::keys(),
            FleetSection::keys(),
            PolicySettings::keys(),
        ];
        sections.into_iter().flatten().collect()
    }
}

/// Returns a section that is not in the file.
fn empty<T: DeserializeOwned>() -> T {
    let keys = std::iter::empty::<(&str, &str)>();
    T::deserialize(MapDeserializer::<_, Error>::new(keys)).expect("no key of it is required")
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
    }
}

settings! {
    pub(super) struct KubernetesSection in "kubernetes" {
        /// The kubelet's own configuration, read to warn where it and a policy conflict. It may be missing.
        kubelet_config: PathBuf = PathBuf::from("/var/lib/kubelet/config.yaml");
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
    }
}

settings! {
    pub(super) struct HeadroomSection in "headroom" {
        /// Size of a reserve file, which a policy deletes on a full filesystem so that containerd has room for the writes that removing images takes. auto is 1% of the free space, from 4 MiB to 64 MiB; no file is made if that is less, or if the file would be on another filesystem than content and snapshots.
        size: Text<SizeOrAuto> = Text(SizeOrAuto::Auto), note "0 is none";
        /// Path of the reserve file. It must be on the filesystem of containerd's root.
        file: Option<PathBuf>, unset "headroom in the state directory";
    }
}

settings! {
    pub(super) struct ProtectSection in "protect" {
        /// Images that no policy removes, by name as containerd stores it or as Docker shows it.
        references: Vec<Text<Pattern>> = Vec::new(),
            accepts "globs, or ~ and a regular expression";
        /// Images that no policy removes, by target digest.
        digests: Vec<Text<Digest>> = Vec::new(), accepts "digests";
        /// Images that no policy removes, by a label of the record or of the image config.
        labels: Vec<String> = Vec::new(), accepts "KEY or KEY=VALUE";
        /// Namespaces in which no policy removes anything.
        namespaces: Vec<Text<Namespace>> = Vec::new(), accepts "names of namespaces";
        /// Whether to protect the images that a node needs: pause, kube-proxy, coredns, Reclaim, and the sandbox image of containerd.config.
        infrastructure: bool = true;
    }
}

settings! {
    pub(super) struct FleetSection in "fleet" {
        /// How many nodes of a Kubernetes cluster may remove images at once. Other nodes wait for a coordination Lease. Use the same number on all nodes.
        turns: Count<0, 1_000> = Count(0), note "0 is off";
        /// Namespace of the Leases.
        namespace: Option<String>, accepts "a Kubernetes namespace", unset "the pod's";
        /// Name of the Leases, to which - and a number are added.
        lease_name: String = "reclaim-turn".to_owned(),
            accepts "lower-case letters, digits and inner -, up to 200";
        /// Name of this node. Each node needs its own.
        node: Option<String>, unset "NODE_NAME, or the host's name";
        /// How long a node that died keeps its Lease.
        lease_duration: Span<Lease> = Span::of_secs(60);
    }
}
