//! The families of metrics, their labels and their help texts.
//!
//! The number of series is bounded: policies, filesystems and snapshotters are the operator's, and all
//! other labels have a fixed list of values. No client chooses a label.

use std::path::Path;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use reclaim_maintenance::PolicyOutcome;
use reclaim_model::KeepReason;

pub(super) type Counters = Family<PolicyLabel, Counter>;
pub(super) type FilesystemGauges = Family<FilesystemLabel, Gauge>;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct PolicyLabel {
    policy: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct RunLabels {
    policy: String,
    trigger: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct PolicyReason {
    policy: String,
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct PolicyKind {
    policy: String,
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct PolicyFilesystem {
    policy: String,
    filesystem: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct FilesystemLabel {
    filesystem: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct DataLabels {
    kind: &'static str,
    /// Empty for content.
    snapshotter: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct VersionLabel {
    version: String,
}

impl PolicyLabel {
    pub(super) fn of(policy: &str) -> Self {
        Self {
            policy: policy.to_owned(),
        }
    }
}

impl RunLabels {
    pub(super) fn of(policy: &str, trigger: &'static str, outcome: PolicyOutcome) -> Self {
        Self {
            policy: policy.to_owned(),
            trigger,
            outcome: outcome.word(),
        }
    }
}

impl PolicyReason {
    pub(super) fn of(policy: &str, reason: KeepReason) -> Self {
        Self {
            policy: policy.to_owned(),
            reason: reason.key(),
        }
    }
}

impl PolicyKind {
    pub(super) fn of(policy: &str, kind: &'static str) -> Self {
        Self {
            policy: policy.to_owned(),
            kind,
        }
    }
}

impl DataLabels {
    /// Returns the labels of a snapshotter's snapshots; of content if that is `None`.
    pub(super) fn of(snapshotter: Option<&str>) -> Self {
        Self {
            kind: snapshotter.map_or("content", |_| "snapshots"),
            snapshotter: snapshotter.unwrap_or_default().to_owned(),
        }
    }
}

impl PolicyFilesystem {
    pub(super) fn of(policy: &str, filesystem: &Path) -> Self {
        Self {
            policy: policy.to_owned(),
            filesystem: filesystem.display().to_string(),
        }
    }
}

impl FilesystemLabel {
    pub(super) fn of(filesystem: &Path) -> Self {
        Self {
            filesystem: filesystem.display().to_string(),
        }
    }
}

macro_rules! families {
    ($($field:ident: $kind:ty = $new:expr, $name:literal, $shown:literal $labels:expr, $help:literal;)+) => {
        /// All families of metrics.
        #[derive(Debug, Clone)]
        pub(super) struct Families {
            $(pub(super) $field: $kind,)+
        }

        impl Families {
            /// Creates and registers all families.
            pub(super) fn registered(registry: &mut Registry) -> Self {
                let families = Self { $($field: $new,)+ };
                $(registry.register($name, $help, families.$field.clone());)+
                families
            }
        }

        /// The name in Prometheus and the labels of each family; histograms without the suffixes.
        pub const FAMILIES: &[(&str, &[&str])] = &[$((concat!("reclaim_", $shown), &$labels)),+];
    };
}

families! {
    build_info: Family<VersionLabel, Gauge> = Family::default(), "build_info", "build_info" ["version"],
        "The version of this process; always 1";
    containerd_up: Gauge = Gauge::default(), "containerd_up", "containerd_up" [],
        "Whether containerd has answered recently; 1 if it has";
    runs: Family<RunLabels, Counter> = Family::default(), "runs", "runs_total" ["policy", "trigger", "outcome"],
        "Runs by policy (empty for runs of API clients), trigger and outcome";
    removed: Counters = Family::default(), "images_removed", "images_removed_total" ["policy"],
        "Image records removed";
    refused: Counters = Family::default(), "images_refused", "images_refused_total" ["policy"],
        "Image records kept because they or their use changed after planning";
    failed: Counters = Family::default(), "images_failed", "images_failed_total" ["policy"],
        "Image records whose removal failed";
    kept: Family<PolicyReason, Gauge> = Family::default(), "images_kept", "images_kept" ["policy", "reason"],
        "Image records kept by the last run, by reason";
    reclaimed: Family<PolicyKind, Counter> = Family::default(), "reclaimed_bytes", "reclaimed_bytes_total" ["policy", "kind"],
        "Bytes of content and snapshots measured as freed by runs";
    estimated: Family<PolicyKind, Gauge> = Family::default(), "estimated_bytes", "estimated_bytes" ["policy", "kind"],
        "Bytes that the last run was estimated to free";
    target: Family<PolicyFilesystem, Gauge> = Family::default(), "target_bytes", "target_bytes" ["policy", "filesystem"],
        "Bytes to free on a filesystem to reach the low watermark, at the last run of the policy";
    size: FilesystemGauges = Family::default(), "filesystem_size_bytes", "filesystem_size_bytes" ["filesystem"],
        "Size of a filesystem with content or snapshots";
    available: FilesystemGauges = Family::default(), "filesystem_available_bytes", "filesystem_available_bytes" ["filesystem"],
        "Available bytes of the filesystem";
    inodes: FilesystemGauges = Family::default(), "filesystem_inodes", "filesystem_inodes" ["filesystem"],
        "Inodes of the filesystem";
    inodes_free: FilesystemGauges = Family::default(), "filesystem_inodes_free", "filesystem_inodes_free" ["filesystem"],
        "Free inodes of the filesystem";
    unmeasured: Family<DataLabels, Gauge> = Family::default(), "unmeasured", "unmeasured" ["kind", "snapshotter"],
        "Whether the filesystem of content or of a snapshotter cannot be measured, so that no watermark counts it; 1 if so";
    run_seconds: Histogram = Histogram::new(exponential_buckets(0.05, 2.0, 16)), "run_seconds", "run_seconds" ["le"],
        "Duration of runs";
    collection_seconds: Histogram = Histogram::new(exponential_buckets(0.005, 2.0, 16)), "collection_seconds", "collection_seconds" ["le"],
        "Duration of containerd's garbage collections at the end of runs";
    damaged_state_files: Counter = Counter::default(), "damaged_state_files", "damaged_state_files_total" [],
        "Damaged files of the state directory that were set aside";
    repulls: Counter = Counter::default(), "repulls", "repulls_total" [],
        "Images pulled again after a run removed them";
    last_success: Family<PolicyLabel, Gauge> = Family::default(), "policy_last_success_timestamp_seconds", "policy_last_success_timestamp_seconds" ["policy"],
        "Time of a policy's last success, including runs with nothing to do; 0 if none";
    next: Family<PolicyLabel, Gauge> = Family::default(), "policy_next_timestamp_seconds", "policy_next_timestamp_seconds" ["policy"],
        "Time at which a policy is next due; 0 if it runs on demand only";
    inhibited: Gauge = Gauge::default(), "policies_inhibited", "policies_inhibited" [],
        "Whether the last policy that was due waits for the end of `reclaim inhibit`; 1 if it does";
    reload_success: Gauge = Gauge::default(), "config_reload_success", "config_reload_success" [],
        "Whether the last configuration was accepted; 1 if it was";
    reload_success_time: Gauge = Gauge::default(), "config_reload_success_timestamp_seconds", "config_reload_success_timestamp_seconds" [],
        "Time at which a configuration was last accepted";
    tls_reload_success: Gauge = Gauge::default(), "tls_reload_success", "tls_reload_success" [],
        "Whether the TLS files could be used when they were last read; 1 if so, and without TLS";
}

impl Families {
    pub(super) fn set_version(&self, version: &str) {
        let label = VersionLabel {
            version: version.to_owned(),
        };
        self.build_info.get_or_create(&label).set(1);
    }

    /// Raises the counter to the total that is counted elsewhere.
    pub(super) fn set_damaged_state_files(&self, files: u64) {
        let more = files.saturating_sub(self.damaged_state_files.get());
        self.damaged_state_files.inc_by(more);
    }

    pub(super) fn set_repulls(&self, repulls: u64) {
        let more = repulls.saturating_sub(self.repulls.get());
        self.repulls.inc_by(more);
    }
}
