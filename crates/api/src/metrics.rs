//! Metrics for Prometheus.
//!
//! [`Metrics`] counts every run, of the APIs and of policies, and what the scheduler of the policies
//! observes. [`router`] serves `/metrics`, `/ready` and `/live`. All are read-only, and no metric
//! contains the name of an image.

mod families;

use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;
use jiff::Timestamp;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use reclaim_engine::{Engine, Health, now};
use reclaim_maintenance::{
    Filesystems, LastUseIndex, Measure, PolicyOutcome, PolicyRun, SchedulerObserver,
};
use reclaim_model::{Filesystem, KeepReason, PolicyName, Report};
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use crate::health;
pub use families::FAMILIES;
use families::{
    DataLabels, Families, FilesystemLabel, PolicyFilesystem, PolicyKind, PolicyLabel, PolicyReason,
    RunLabels,
};

/// The content type of the metrics.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The metrics of this process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    families: Families,
    index: Option<Arc<LastUseIndex>>,
    health: Arc<Health>,
}

impl Metrics {
    /// Creates all metrics. `index` counts images that were pulled again, `health` reports whether
    /// containerd answers.
    pub fn new(version: &str, index: Option<Arc<LastUseIndex>>, health: Arc<Health>) -> Self {
        let mut registry = Registry::with_prefix("reclaim");
        let families = Families::registered(&mut registry);
        families.set_version(version);
        Self {
            registry,
            families,
            index,
            health,
        }
    }

    /// Counts the runs of an engine until `cancel` is cancelled.
    pub async fn count_runs(&self, engine: &Engine, cancel: &CancellationToken) {
        let mut reports = engine.reports();
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

    /// Whether containerd has answered lately.
    pub fn is_ready(&self) -> bool {
        self.health.is_up()
    }

    /// Renders all metrics as `OpenMetrics` text.
    pub fn render(&self) -> String {
        if let Some(index) = &self.index {
            self.families.set_repulls(index.repulls());
        }
        self.families.containerd_up.set(i64::from(self.is_ready()));
        let damaged = reclaim_engine::state::damaged_files();
        self.families.set_damaged_state_files(damaged);
        let mut text = String::new();
        // Writing to a string cannot fail.
        if encode(&mut text, &self.registry).is_err() {
            text.clear();
        }
        text
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
            } else if report.removed.is_empty() {
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

impl SchedulerObserver for Metrics {
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
