//! The families of metrics, their labels and their help texts.
//!
//! The number of series is bounded: policies, filesystems, snapshotters and namespaces are the
//! operator's, methods and codes are those of containerd's API, and all other labels have a fixed list
//! of values. No client chooses a label.

use std::path::Path;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use reclaim_maintenance::PolicyOutcome;
use reclaim_model::{KeepReason, Namespace, PolicyPart};

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
pub(super) struct PolicyPartLabel {
    policy: String,
    part: &'static str,
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
pub(super) struct NamespaceLabel {
    namespace: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct MethodLabel {
    method: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct MethodCode {
    method: String,
    code: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct KindLabel {
    pub(super) kind: &'static str,
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

impl PolicyPartLabel {
    pub(super) fn of(policy: &str, part: PolicyPart) -> Self {
        Self {
            policy: policy.to_owned(),
            part: part.key(),
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

impl NamespaceLabel {
    pub(super) fn of(namespace: &Namespace) -> Self {
        Self {
            namespace: namespace.to_string(),
        }
    }
}

impl MethodLabel {
    pub(super) fn of(method: &str) -> Self {
        Self {
            method: method.to_owned(),
        }
    }
}

impl MethodCode {
    pub(super) fn of(method: &str, code: &str) -> Self {
        Self {
            method: method.to_owned(),
            code: code.to_owned(),
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
        pub const FAMILIES: &[(&str, &[&str])] = &[$(($shown, &$labels)),+];
    };
}

families! {
    build_info: Family<VersionLabel, Gauge> = Family::default(), "reclaim_build_info", "reclaim_build_info" ["version"],
        "The version of this process; always 1";
    containerd_up: Gauge = Gauge::default(), "reclaim_containerd_up", "reclaim_containerd_up" [],
        "Whether containerd has answered recently; 1 if it has";
    containerd_last_answer: Gauge = Gauge::default(), "reclaim_containerd_last_answer_timestamp_seconds", "reclaim_containerd_last_answer_timestamp_seconds" [],
        "Time of containerd's last answer to the check of whether it answers; 0 if none";
    call_seconds: Family<MethodLabel, Histogram> = Family::new_with_constructor(call_histogram), "reclaim_containerd_call_seconds", "reclaim_containerd_call_seconds" ["method", "le"],
        "Duration of calls to containerd until the answer is complete, by method; without streams of events";
    call_errors: Family<MethodCode, Counter> = Family::default(), "reclaim_containerd_call_errors", "reclaim_containerd_call_errors_total" ["method", "code"],
        "Calls to containerd that failed, by method and gRPC code; Cancelled if this process stopped waiting";
    event_stream_up: Gauge = Gauge::default(), "reclaim_event_stream_up", "reclaim_event_stream_up" [],
        "Whether containerd's events are received; 1 if so";
    unreadable: Family<NamespaceLabel, Gauge> = Family::default(), "reclaim_images_unreadable", "reclaim_images_unreadable" ["namespace"],
        "Image records that are kept because their image cannot be read, in the last scan";
    runs: Family<RunLabels, Counter> = Family::default(), "reclaim_runs", "reclaim_runs_total" ["policy", "trigger", "outcome"],
        "Runs by policy (empty for runs of API clients), trigger and outcome";
    removed: Counters = Family::default(), "reclaim_images_removed", "reclaim_images_removed_total" ["policy"],
        "Image records removed";
    slimmed: Family<PolicyPartLabel, Counter> = Family::default(), "reclaim_images_slimmed", "reclaim_images_slimmed_total" ["policy", "part"],
        "Image records that stayed and whose images lost snapshots, layers or platforms, by part";
    refused: Counters = Family::default(), "reclaim_images_refused", "reclaim_images_refused_total" ["policy"],
        "Image records kept because they or their use changed after planning";
    failed: Counters = Family::default(), "reclaim_images_failed", "reclaim_images_failed_total" ["policy"],
        "Image records whose removal failed";
    kept: Family<PolicyReason, Gauge> = Family::default(), "reclaim_images_kept", "reclaim_images_kept" ["policy", "reason"],
        "Image records kept by the last run, by reason";
    reclaimed: Family<PolicyKind, Counter> = Family::default(), "reclaim_reclaimed_bytes", "reclaim_reclaimed_bytes_total" ["policy", "kind"],
        "Bytes of content and snapshots measured as freed by runs";
    part_reclaimed: Family<PolicyPartLabel, Counter> = Family::default(), "reclaim_policy_reclaimed_bytes", "reclaim_policy_reclaimed_bytes_total" ["policy", "part"],
        "Bytes measured as freed by policies, by what they freed: a part of images, or images";
    estimated: Family<PolicyKind, Gauge> = Family::default(), "reclaim_estimated_bytes", "reclaim_estimated_bytes" ["policy", "kind"],
        "Bytes that the last run was estimated to free";
    target: Family<PolicyFilesystem, Gauge> = Family::default(), "reclaim_target_bytes", "reclaim_target_bytes" ["policy", "filesystem"],
        "Bytes to free on a filesystem to reach the low watermark, at the last run of the policy";
    size: FilesystemGauges = Family::default(), "reclaim_filesystem_size_bytes", "reclaim_filesystem_size_bytes" ["filesystem"],
        "Size of a filesystem with content or snapshots";
    available: FilesystemGauges = Family::default(), "reclaim_filesystem_available_bytes", "reclaim_filesystem_available_bytes" ["filesystem"],
        "Available bytes of the filesystem";
    inodes: FilesystemGauges = Family::default(), "reclaim_filesystem_inodes", "reclaim_filesystem_inodes" ["filesystem"],
        "Inodes of the filesystem";
    inodes_free: FilesystemGauges = Family::default(), "reclaim_filesystem_inodes_free", "reclaim_filesystem_inodes_free" ["filesystem"],
        "Free inodes of the filesystem";
    full_in: FilesystemGauges = Family::default(), "reclaim_filesystem_full_in_seconds", "reclaim_filesystem_full_in_seconds" ["filesystem"],
        "Time until the filesystem is full at the present rate; no series if it does not fill, or if there are too few measurements";
    unmeasured: Family<DataLabels, Gauge> = Family::default(), "reclaim_unmeasured", "reclaim_unmeasured" ["kind", "snapshotter"],
        "Whether the filesystem of content or of a snapshotter cannot be measured, so that no watermark counts it; 1 if so";
    run_seconds: Histogram = Histogram::new(exponential_buckets(0.05, 2.0, 16)), "reclaim_run_seconds", "reclaim_run_seconds" ["le"],
        "Duration of runs";
    collection_seconds: Histogram = Histogram::new(exponential_buckets(0.005, 2.0, 16)), "reclaim_collection_seconds", "reclaim_collection_seconds" ["le"],
        "Duration of containerd's garbage collections at the end of runs";
    run_start: Gauge = Gauge::default(), "reclaim_run_start_timestamp_seconds", "reclaim_run_start_timestamp_seconds" [],
        "Time at which the run in progress began, or another operation that holds the guard; 0 if none";
    refused_as_busy: Counter = Counter::default(), "reclaim_busy", "reclaim_busy_total" [],
        "Operations refused because another run was in progress";
    held: Gauge = Gauge::default(), "reclaim_held_bytes", "reclaim_held_bytes" [],
        "Bytes that are held for undo, by the estimates of the runs that removed them";
    lock_wait: Gauge = Gauge::default(), "reclaim_cluster_lock_wait_start_timestamp_seconds", "reclaim_cluster_lock_wait_start_timestamp_seconds" [],
        "Time since which a policy waits for the cluster lock; 0 if none does";
    lock_failures: Counter = Counter::default(), "reclaim_cluster_lock_failures", "reclaim_cluster_lock_failures_total" [],
        "Failures to acquire the cluster lock, each of which skipped a policy run";
    failed_state_writes: Counter = Counter::default(), "reclaim_state_write_failures", "reclaim_state_write_failures_total" [],
        "Failed writes to the state directory";
    last_state_write: Gauge = Gauge::default(), "reclaim_state_last_write_timestamp_seconds", "reclaim_state_last_write_timestamp_seconds" [],
        "Time of the last successful write to the state directory; 0 if none";
    damaged_state_files: Counter = Counter::default(), "reclaim_damaged_state_files", "reclaim_damaged_state_files_total" [],
        "Damaged files of the state directory that were set aside";
    repulls: Counter = Counter::default(), "reclaim_repulls", "reclaim_repulls_total" [],
        "Images pulled again after a run removed them";
    last_success: Family<PolicyLabel, Gauge> = Family::default(), "reclaim_policy_last_success_timestamp_seconds", "reclaim_policy_last_success_timestamp_seconds" ["policy"],
        "Time of a policy's last success, including runs with nothing to do; 0 if none";
    next: Family<PolicyLabel, Gauge> = Family::default(), "reclaim_policy_next_timestamp_seconds", "reclaim_policy_next_timestamp_seconds" ["policy"],
        "Time at which a policy is next due; 0 if it runs on demand only";
    inhibited: Gauge = Gauge::default(), "reclaim_policies_inhibited", "reclaim_policies_inhibited" [],
        "Whether the last policy that was due waits for the end of `reclaim inhibit`; 1 if it does";
    reload_success: Gauge = Gauge::default(), "reclaim_config_reload_success", "reclaim_config_reload_success" [],
        "Whether the last configuration was accepted; 1 if it was";
    reload_success_time: Gauge = Gauge::default(), "reclaim_config_reload_success_timestamp_seconds", "reclaim_config_reload_success_timestamp_seconds" [],
        "Time at which a configuration was last accepted";
    tls_reload_success: Gauge = Gauge::default(), "reclaim_tls_reload_success", "reclaim_tls_reload_success" [],
        "Whether the TLS files could be used when they were last read; 1 if so, and without TLS";
    tls_expiry: Family<KindLabel, Gauge> = Family::default(), "reclaim_tls_expiry_timestamp_seconds", "reclaim_tls_expiry_timestamp_seconds" ["kind"],
        "Time at which the first of the TLS files' certificates (server), client CAs (client_ca) or revocation lists (crl) expires";
    cpu_seconds: Counter<f64, AtomicU64> = Counter::default(), "process_cpu_seconds", "process_cpu_seconds_total" [],
        "CPU time of this process, user and system";
    resident_memory: Gauge = Gauge::default(), "process_resident_memory_bytes", "process_resident_memory_bytes" [],
        "Resident memory of this process";
    virtual_memory: Gauge = Gauge::default(), "process_virtual_memory_bytes", "process_virtual_memory_bytes" [],
        "Virtual memory of this process";
    open_fds: Gauge = Gauge::default(), "process_open_fds", "process_open_fds" [],
        "Open file descriptors of this process";
    max_fds: Gauge = Gauge::default(), "process_max_fds", "process_max_fds" [],
        "Limit of open file descriptors of this process";
    threads: Gauge = Gauge::default(), "process_threads", "process_threads" [],
        "Threads of this process";
    start_time: Gauge = Gauge::default(), "process_start_time_seconds", "process_start_time_seconds" [],
        "Time at which this process started";
}

impl Families {
    pub(super) fn set_version(&self, version: &str) {
        let label = VersionLabel {
            version: version.to_owned(),
        };
        self.build_info.get_or_create(&label).set(1);
    }
}

/// Returns the histogram of one method: from a millisecond, which most calls take, to the longest
/// deadline.
fn call_histogram() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 4.0, 9))
}

/// Raises a counter to the total that is counted elsewhere.
pub(super) fn raise(counter: &Counter, total: u64) {
    counter.inc_by(total.saturating_sub(counter.get()));
}
