//! Metrics for Prometheus.
//!
//! [`Metrics`] counts every run, of the APIs and of policies, and what the scheduler of the policies
//! observes. [`router`] serves `/metrics`, `/ready` and `/live`. All are read-only, and no metric
//! contains the name of an image.

mod families;
mod process;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;
use jiff::{SignedDuration, Timestamp};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use reclaim_engine::{CallObserver, EndedCall, Engine, Health, now, state};
use reclaim_maintenance::{
    Filesystems, FillForecast, LastUseIndex, MaintenanceObserver, Measure, PolicyOutcome, PolicyRun,
};
use reclaim_model::{Filesystem, KeepReason, Namespace, PolicyName, Report};
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use crate::health;
use crate::listen::TlsExpiry;
pub use families::FAMILIES;
use families::{
    DataLabels, Families, FilesystemLabel, KindLabel, MethodCode, MethodLabel, NamespaceLabel,
    PolicyFilesystem, PolicyKind, PolicyLabel, PolicyPartLabel, PolicyReason, RunLabels, raise,
};

/// The content type of the metrics.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The metrics of this process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    families: Families,
    engine: Arc<Engine>,
    index: Arc<LastUseIndex>,
    health: Arc<Health>,
}

impl Metrics {
    /// Creates all metrics. `index` counts images that were pulled again, `health` reports whether
    /// containerd answers.
    pub fn new(
        version: &str,
        engine: Arc<Engine>,
        index: Arc<LastUseIndex>,
        health: Arc<Health>,
    ) -> Self {
        let mut registry = Registry::default();
        let families = Families::registered(&mut registry);
        families.set_version(version);
        families.set_start_time();
        Self {
            registry,
            families,
            engine,
            index,
            health,
        }
    }

    /// Counts the runs of the engine until `cancel` is cancelled.
    pub async fn count_runs(&self, cancel: &CancellationToken) {
        let mut reports = self.engine.reports();
        loop {
            let received = tokio::select! {
                () = cancel.cancelled() => return,
                received = reports.recv() => received,
            };
            match received {
                Ok(report) => self.count(&report),
                // The oldest reports were dropped because this task fell behind; the next ones count.
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            }
        }
    }

    /// Records whether a new configuration was accepted.
    pub fn reloaded(&self, is_accepted: bool) {
        self.families.reload_success.set(i64::from(is_accepted));
        if is_accepted {
            let now = now().as_second();
            self.families.reload_success_time.set(now);
        }
    }

    /// Records whether the TLS files could be read and used.
    pub fn tls_reloaded(&self, is_accepted: bool) {
        let success = &self.families.tls_reload_success;
        success.set(i64::from(is_accepted));
    }

    /// Records when the TLS files in force expire.
    pub fn tls_expires(&self, expiry: &TlsExpiry) {
        let family = &self.families.tls_expiry;
        family.clear();
        for (kind, at) in [
            ("server", expiry.server),
            ("client_ca", expiry.client_ca),
            ("crl", expiry.crl),
        ] {
            if let Some(at) = at {
                let gauge = family.get_or_create(&KindLabel { kind });
                gauge.set(at.as_second());
            }
        }
    }

    /// Whether containerd has answered lately.
    pub fn is_ready(&self) -> bool {
        self.health.is_up()
    }

    /// Renders all metrics as `OpenMetrics` text.
    pub fn render(&self) -> String {
        self.read();
        let mut text = String::new();
        // Writing to a string cannot fail.
        if encode(&mut text, &self.registry).is_err() {
            text.clear();
        }
        text
    }

    /// Sets the metrics of what others count.
    fn read(&self) {
        let families = &self.families;
        families.containerd_up.set(i64::from(self.is_ready()));
        let last_answer = &families.containerd_last_answer;
        last_answer.set(begin_of(self.health.age()));
        families.run_start.set(begin_of(self.engine.running_for()));
        raise(&families.refused_as_busy, self.engine.refused_as_busy());
        raise(&families.repulls, self.index.repulls());
        raise(&families.damaged_state_files, state::damaged_files());
        let writes = state::writes();
        raise(&families.failed_state_writes, writes.failed);
        families.last_state_write.set(seconds(writes.last_success));
        families.set_process_usage();
    }

    /// Counts one run.
    fn count(&self, report: &Report) {
        let families = &self.families;
        let policy = report.policy.as_ref().map_or("", PolicyName::as_str);
        let label = PolicyLabel::of(policy);
        let add = |family: &families::Counters, number: usize| {
            family.get_or_create(&label).inc_by(number as u64);
        };
        add(&families.removed, report.removed.len());
        for part in report.slimmed.iter().flat_map(|it| it.parts.keys()) {
            let label = PolicyPartLabel::of(policy, (*part).into());
            families.slimmed.get_or_create(&label).inc();
        }
        if let Some(part) = report.part {
            let label = PolicyPartLabel::of(policy, part);
            let bytes = report.reclaimed.0.total_bytes();
            let reclaimed = families.part_reclaimed.get_or_create(&label);
            reclaimed.inc_by(bytes);
        }
        add(&families.refused, report.refused.len());
        add(&families.failed, report.failed.len());
        for reason in KeepReason::ALL {
            let kept = report
                .kept
                .iter()
                .filter(|kept| kept.reason == *reason)
                .count();
            let label = PolicyReason::of(policy, *reason);
            let kept = i64::try_from(kept).unwrap_or(i64::MAX);
            families.kept.get_or_create(&label).set(kept);
        }
        let (reclaimed, estimate) = (report.reclaimed.0, report.estimate.0);
        for (kind, reclaimed, estimate) in [
            ("content", reclaimed.content_bytes, estimate.content_bytes),
            (
                "snapshots",
                reclaimed.snapshot_bytes,
                estimate.snapshot_bytes,
            ),
        ] {
            let label = PolicyKind::of(policy, kind);
            families.reclaimed.get_or_create(&label).inc_by(reclaimed);
            families
                .estimated
                .get_or_create(&label)
                .set(signed(estimate));
        }
        families.run_seconds.observe(report.took.as_secs_f64());
        if let Some(collection) = report.collection {
            families
                .collection_seconds
                .observe(collection.as_secs_f64());
        }
        if policy.is_empty() {
            let outcome = if report.is_partial() {
                PolicyOutcome::Partial
            } else if !report.has_changes() {
                PolicyOutcome::Nothing
            } else {
                PolicyOutcome::Done
            };
            let labels = RunLabels::of("", "api", outcome);
            families.runs.get_or_create(&labels).inc();
        }
    }
}

impl Metrics {
    fn filesystems(&self, filesystems: &[Filesystem]) {
        let families = &self.families;
        for filesystem in filesystems {
            let label = FilesystemLabel::of(&filesystem.mount_point);
            let set = |family: &families::FilesystemGauges, number: u64| {
                family.get_or_create(&label).set(signed(number));
            };
            set(&families.size, filesystem.bytes.total);
            set(&families.available, filesystem.bytes.left);
            set(&families.inodes, filesystem.inodes.total);
            set(&families.inodes_free, filesystem.inodes.left);
        }
    }
}

impl MaintenanceObserver for Metrics {
    fn measured(&self, found: Option<&Filesystems>) {
        if let Some(found) = found {
            self.filesystems(&found.seen);
            // A snapshotter that is gone loses its series.
            let family = &self.families.unmeasured;
            family.clear();
            for filesystem in &found.seen {
                let snapshotters = filesystem.snapshotters.iter().map(|it| Some(&**it));
                let content = filesystem.has_content.then_some(None);
                for data in snapshotters.chain(content) {
                    family.get_or_create(&DataLabels::of(data)).set(0);
                }
            }
            for unmeasured in &found.unmeasured {
                let labels = DataLabels::of(unmeasured.snapshotter.as_deref());
                family.get_or_create(&labels).set(1);
            }
        }
    }

    fn forecast(&self, forecast: &FillForecast) {
        let family = &self.families.full_in;
        family.clear();
        for filesystem in &forecast.filesystems {
            if let Some(full_in) = filesystem.full_in_seconds {
                let label = FilesystemLabel::of(&filesystem.mount_point);
                family.get_or_create(&label).set(signed(full_in));
            }
        }
    }

    fn inhibited(&self, is_inhibited: bool) {
        self.families.inhibited.set(is_inhibited.into());
    }

    fn ran(&self, run: &PolicyRun) {
        let families = &self.families;
        let policy = run.policy.as_str();
        let labels = RunLabels::of(policy, run.trigger.word(), run.outcome);
        families.runs.get_or_create(&labels).inc();
        for filesystem in &run.before {
            let mount_point = &filesystem.mount_point;
            let label = PolicyFilesystem::of(policy, mount_point);
            families
                .target
                .get_or_create(&label)
                .set(signed(wanted(run, mount_point)));
        }
        // A rehearsal is not a success of a policy that should remove.
        if run.outcome.is_success() && !run.is_rehearsal() {
            let label = PolicyLabel::of(policy);
            let ended = run.ended.as_second();
            families.last_success.get_or_create(&label).set(ended);
        }
        self.filesystems(&run.after);
    }

    fn due(&self, policy: &PolicyName, at: Option<Timestamp>) {
        let label = PolicyLabel::of(policy.as_str());
        let due = at.map_or(0, Timestamp::as_second);
        // Creates the series: 0 means that the policy never succeeded.
        drop(self.families.last_success.get_or_create(&label));
        self.families.next.get_or_create(&label).set(due);
    }

    fn waits_for_lock(&self, since: Option<Timestamp>) {
        self.families.lock_wait.set(seconds(since));
    }

    fn lock_failed(&self) {
        self.families.lock_failures.inc();
    }

    fn event_stream(&self, is_connected: bool) {
        self.families.event_stream_up.set(is_connected.into());
    }

    fn scanned(&self, unreadable: &BTreeMap<Namespace, usize>) {
        // A namespace that is gone loses its series.
        let family = &self.families.unreadable;
        family.clear();
        for (namespace, images) in unreadable {
            let label = NamespaceLabel::of(namespace);
            family.get_or_create(&label).set(signed(*images as u64));
        }
    }

    fn held(&self, bytes: u64) {
        self.families.held.set(signed(bytes));
    }
}

impl CallObserver for Metrics {
    fn ended(&self, call: &EndedCall<'_>) {
        if let Some(took) = call.took {
            let label = MethodLabel::of(call.method);
            let durations = self.families.call_seconds.get_or_create(&label);
            durations.observe(took.as_secs_f64());
        }
        if let Some(code) = &call.error {
            let label = MethodCode::of(call.method, code);
            self.families.call_errors.get_or_create(&label).inc();
        }
    }
}

/// Returns the time in seconds since 1970; 0 for `None`.
fn seconds(time: Option<Timestamp>) -> i64 {
    time.map_or(0, Timestamp::as_second)
}

/// Returns when something of this age began, in seconds since 1970; 0 for `None`.
fn begin_of(age: Option<Duration>) -> i64 {
    let age = age.map(|age| SignedDuration::try_from(age).unwrap_or(SignedDuration::MAX));
    seconds(age.and_then(|age| now().saturating_sub(age).ok()))
}

/// Returns how many bytes a run had to free on a filesystem.
fn wanted(run: &PolicyRun, mount_point: &Path) -> u64 {
    run.wanted
        .iter()
        .find(|need| matches!(&need.of, Measure::Bytes(of) if of == mount_point))
        .map_or(0, |need| need.amount)
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Returns a router with `/metrics`, `/live` and `/ready`.
pub fn router(metrics: Arc<Metrics>) -> Router {
    let health = health::router(Arc::clone(&metrics.health));
    Router::new()
        .route("/metrics", get(metrics_text))
        .with_state(metrics)
        .merge(health)
}

async fn metrics_text(State(metrics): State<Arc<Metrics>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, OPEN_METRICS)], metrics.render())
}
