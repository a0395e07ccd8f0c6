//! The families of metrics, their labels and their words.
//!
//! No label holds what a stranger chooses: policies and filesystems are the operator's, all
//! others are from short lists. So there are never many series.

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
        /// All families.
        #[derive(Debug, Clone)]
        pub(super) struct Families {
            $(pub(super) $field: $kind,)+
        }

        impl Families {
            /// Makes them and registers them.
            pub(super) fn registered(registry: &mut Registry) -> Self {
                let families = Self { $($field: $new,)+ };
                $(registry.register($name, $help, families.$field.clone());)+
                families
            }
        }

        /// The names by which Prometheus knows the families, a histogram's without its endings, and
        /// the labels of each.
        pub const FAMILIES: &[(&str, &[&str])] = &[$((concat!("reclaim_", $shown), &$labels)),+];
    };
}

families! {
    build_info: Family<VersionLabel, Gauge> = Family::default(), "build_info", "build_info" ["version"],
        "The version of this process; always 1";
    containerd_up: Gauge = Gauge::default(), "containerd_up", "containerd_up" [],
        "Whether containerd answered when it was last looked at";
    runs: Family<RunLabels, Counter> = Family::default(), "runs", "runs_total" ["policy", "trigger", "outcome"],
        "Runs by policy (empty for those that clients asked for), by what triggered them, and by how they ended";
    removed: Counters = Family::default(), "images_removed", "images_removed_total" ["policy"],
        "Image records that were removed";
    refused: Counters = Family::default(), "images_refused", "images_refused_total" ["policy"],
        "Image records that were to go and stayed because the store had moved on";
    failed: Counters = Family::default(), "images_failed", "images_failed_total" ["policy"],
        "Image records that could not be removed";
    kept: Family<PolicyReason, Gauge> = Family::default(), "images_kept", "images_kept" ["policy", "reason"],
        "Image records that the last run kept, by reason";
    reclaimed: Family<PolicyKind, Counter> = Family::default(), "reclaimed_bytes", "reclaimed_bytes_total" ["policy", "kind"],
        "Bytes that were found to be gone after runs, of content and of snapshots";
    estimated: Family<PolicyKind, Gauge> = Family::default(), "estimated_bytes", "estimated_bytes" ["policy", "kind"],
        "Bytes that the last run was foreseen to free";
    target: Family<PolicyFilesystem, Gauge> = Family::default(), "target_bytes", "target_bytes" ["policy", "filesystem"],
        "Bytes that had to go on a filesystem when the policy was last looked at, to reach its low mark";
    size: FilesystemGauges = Family::default(), "filesystem_size_bytes", "filesystem_size_bytes" ["filesystem"],
        "Size of a filesystem that holds content or snapshots";
    available: FilesystemGauges = Family::default(), "filesystem_available_bytes", "filesystem_available_bytes" ["filesystem"],
        "What is left of it";
    inodes: FilesystemGauges = Family::default(), "filesystem_inodes", "filesystem_inodes" ["filesystem"],
        "Its inodes";
    inodes_free: FilesystemGauges = Family::default(), "filesystem_inodes_free", "filesystem_inodes_free" ["filesystem"],
        "Inodes that are left of it";
    run_seconds: Histogram = Histogram::new(exponential_buckets(0.05, 2.0, 16)), "run_seconds", "run_seconds" ["le"],
        "How long runs took";
    collection_seconds: Histogram = Histogram::new(exponential_buckets(0.005, 2.0, 16)), "collection_seconds", "collection_seconds" ["le"],
        "How long containerd's collections took that runs asked for";
    damaged_state_files: Counter = Counter::default(), "damaged_state_files", "damaged_state_files_total" [],
        "Files of the state directory that were damaged and set aside";
    repulls: Counter = Counter::default(), "repulls", "repulls_total" [],
        "Images that came back after a run had removed them";
    last_success: Family<PolicyLabel, Gauge> = Family::default(), "policy_last_success_timestamp_seconds", "policy_last_success_timestamp_seconds" ["policy"],
        "When a policy last did what it is for, also if there was nothing to do";
    next: Family<PolicyLabel, Gauge> = Family::default(), "policy_next_timestamp_seconds", "policy_next_timestamp_seconds" ["policy"],
        "When a policy is due; 0 if only on demand";
    reload_success: Gauge = Gauge::default(), "config_reload_success", "config_reload_success" [],
        "Whether the last configuration was accepted";
    reload_success_time: Gauge = Gauge::default(), "config_reload_success_timestamp_seconds", "config_reload_success_timestamp_seconds" [],
        "When a configuration was last accepted";
}

impl Families {
    pub(super) fn set_version(&self, version: &str) {
        let label = VersionLabel {
            version: version.to_owned(),
        };
        self.build_info.get_or_create(&label).set(1);
    }

    /// Brings a counter up to a number that is counted elsewhere.
    pub(super) fn set_damaged_state_files(&self, files: u64) {
        let more = files.saturating_sub(self.damaged_state_files.get());
        self.damaged_state_files.inc_by(more);
    }

    pub(super) fn set_repulls(&self, repulls: u64) {
        let more = repulls.saturating_sub(self.repulls.get());
        self.repulls.inc_by(more);
    }
}
