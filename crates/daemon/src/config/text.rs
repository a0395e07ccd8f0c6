//! The file as it is typed. Each section is strict: an unknown key is an error that lists those
//! that are known. What every key means is in [`super::keys`].

use std::net::SocketAddr;
use std::path::PathBuf;

use reclaim_model::{ByteSize, Digest, Namespace, Pattern, PolicyName, Watermark};
use serde::{Deserialize, Serialize};

use super::fleet::FleetText;
use super::values::{Age, Count, Period, SizeOrAuto, Span, Text, Wait};

#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ConfigText {
    pub(crate) containerd: ContainerdText,
    pub(crate) kubernetes: KubernetesText,
    pub(crate) state: StateText,
    pub(crate) metrics: MetricsText,
    pub(crate) headroom: HeadroomText,
    pub(crate) protect: ProtectText,
    pub(crate) fleet: FleetText,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) policy: Vec<PolicyText>,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ContainerdText {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) address: Option<String>,
    pub(crate) namespaces: Vec<Text<Namespace>>,
    pub(crate) config: PathBuf,
}

impl Default for ContainerdText {
    fn default() -> Self {
        let default = "default".parse().expect("a namespace");
        Self {
            address: None,
            namespaces: vec![Text(default)],
            config: PathBuf::from("/etc/containerd/config.toml"),
        }
    }
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct KubernetesText {
    pub(crate) kubelet_config: PathBuf,
}

impl Default for KubernetesText {
    fn default() -> Self {
        Self {
            kubelet_config: PathBuf::from("/var/lib/kubelet/config.yaml"),
        }
    }
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct StateText {
    pub(crate) directory: PathBuf,
}

impl Default for StateText {
    fn default() -> Self {
        Self {
            directory: PathBuf::from(super::DEFAULT_STATE),
        }
    }
}

#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct MetricsText {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) listen: Option<SocketAddr>,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct HeadroomText {
    pub(crate) size: Text<SizeOrAuto>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) file: Option<PathBuf>,
}

impl Default for HeadroomText {
    fn default() -> Self {
        Self {
            size: Text(SizeOrAuto::Auto),
            file: None,
        }
    }
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ProtectText {
    pub(crate) references: Vec<Text<Pattern>>,
    pub(crate) digests: Vec<Text<Digest>>,
    pub(crate) labels: Vec<String>,
    pub(crate) namespaces: Vec<Text<Namespace>>,
    pub(crate) infrastructure: bool,
}

impl Default for ProtectText {
    fn default() -> Self {
        Self {
            references: Vec::new(),
            digests: Vec::new(),
            labels: Vec::new(),
            namespaces: Vec::new(),
            infrastructure: true,
        }
    }
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "one for each switch")]
pub(crate) struct PolicyText {
    pub(crate) name: Text<PolicyName>,
    #[serde(default = "yes")]
    pub(crate) enabled: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) namespaces: Option<Vec<Text<Namespace>>>,
    #[serde(default)]
    pub(crate) all: bool,
    #[serde(default)]
    pub(crate) filters: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cron: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) time_zone: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) interval: Option<Span<Period>>,
    #[serde(default)]
    pub(crate) jitter: Span<Wait>,
    #[serde(default)]
    pub(crate) startup_delay: Span<Wait>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) high: Option<Text<Watermark>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) low: Option<Text<Watermark>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) inodes_high: Option<Text<Watermark>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) inodes_low: Option<Text<Watermark>>,
    #[serde(default = "none")]
    pub(crate) max_used: Text<ByteSize>,
    #[serde(default = "none")]
    pub(crate) reserved: Text<ByteSize>,
    #[serde(default = "two_minutes")]
    pub(crate) min_age: Span<Age>,
    #[serde(default)]
    pub(crate) unused_for: Span<Age>,
    #[serde(default)]
    pub(crate) max_unused: Span<Age>,
    #[serde(default)]
    pub(crate) keep_newest: Count<0, 1_000>,
    #[serde(default)]
    pub(crate) last_copies: bool,
    #[serde(default)]
    pub(crate) max_images: Count<0, 1_000_000>,
    #[serde(default = "none")]
    pub(crate) max_bytes: Text<ByteSize>,
    #[serde(default)]
    pub(crate) max_deletes_per_second: Count<0, 10_000>,
    #[serde(default)]
    pub(crate) max_io_pressure: Count<0, 99>,
    #[serde(default)]
    pub(crate) undo_window: Span<Wait>,
    #[serde(default)]
    pub(crate) unpin_build_history: bool,
    #[serde(default)]
    pub(crate) dry_run: bool,
}

fn yes() -> bool {
    true
}

fn none() -> Text<ByteSize> {
    Text(ByteSize(0))
}

fn two_minutes() -> Span<Age> {
    Span::of_secs(120)
}
