//! What is counted, for Prometheus, and whether the daemon is fit.
//!
//! [`Metrics`] hears every run, by whatever door it came, and what the scheduler of the policies
//! sees. [`router`] serves `/metrics` (text for Prometheus), `/ready` and `/live`; it lets nobody
//! change anything and tells no name of an image.

mod families;
mod serve;

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use reclaim_engine::{Engine, Health, now};
use reclaim_maintenance::{LastUseIndex, Measure, PolicyOutcome, PolicyRun, SchedulerObserver};
use reclaim_model::{Filesystem, KeepReason, PolicyName, Report};
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use families::RunLabels;
use families::{
    Families, FilesystemLabel, PolicyFilesystem, PolicyKind, PolicyLabel, PolicyReason,
};

pub use families::FAMILIES;
pub use serve::router;

/// Everything that is counted since this process began.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    families: Families,
    index: Option<Arc<LastUseIndex>>,
    health: Arc<Health>,
}

impl Metrics {
    /// Begins to count. `index` tells of images that came back, `health` whether containerd
    /// answers.
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

    /// Counts the runs of an engine until it is cancelled.
    pub async fn hear(&self, engine: &Engine, cancel: &CancellationToken) {
        let mut reports = engine.reports();
        loop {
            let heard = tokio::select! {
                () = cancel.cancelled() => return,
                heard = reports.recv() => heard,
            };
            match heard {
                Ok(report) => self.count(&report),
                // Some are lost to a listener that is too slow: those that come still count.
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            }
        }
    }

    /// Notes whether a new configuration was accepted.
    pub fn reloaded(&self, is_accepted: bool) {
        self.families.reload_success.set(i64::from(is_accepted));
        if is_accepted {
            let now = now().as_second();
            self.families.reload_success_time.set(now);
        }
    }

    /// Whether containerd has answered lately.
    pub fn is_ready(&self) -> bool {
        self.health.is_up()
    }

    /// Renders everything as `OpenMetrics` text.
    pub fn render(&self) -> String {
        if let Some(index) = &self.index {
            self.families.set_repulls(index.repulls());
        }
        self.families.containerd_up.set(i64::from(self.is_ready()));
        let damaged = reclaim_engine::state::damaged_files();
        self.families.set_damaged_state_files(damaged);
        let mut text = String::new();
        // Writing into a text cannot fail.
        if encode(&mut text, &self.registry).is_err() {
            text.clear();
        }
        text
    }

    /// Counts what one run did.
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
            let kept = report.kept.iter().filter(|it| it.reason == *reason).count();
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
            let is_partial = report.is_partial();
            let outcome = if is_partial {
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

impl SchedulerObserver for Metrics {
    fn measured(&self, filesystems: Option<&[Filesystem]>) {
        let families = &self.families;
        for filesystem in filesystems.into_iter().flatten() {
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

    fn ran(&self, run: &PolicyRun) {
        let families = &self.families;
        let policy = run.policy.as_str();
        let labels = RunLabels::of(policy, run.trigger.word(), run.outcome);
        families.runs.get_or_create(&labels).inc();
        for filesystem in &run.before {
            let place = &filesystem.mount_point;
            let label = PolicyFilesystem::of(policy, place);
            families
                .target
                .get_or_create(&label)
                .set(signed(wanted(run, place)));
        }
        // That it only said what it would do is no success of a policy that removes.
        if run.outcome.is_success() && !run.is_rehearsal() {
            let label = PolicyLabel::of(policy);
            let ended = run.ended.as_second();
            families.last_success.get_or_create(&label).set(ended);
        }
        self.measured(
            Some(&run.after)
                .filter(|after| !after.is_empty())
                .map(Vec::as_slice),
        );
    }

    fn due(&self, policy: &PolicyName, at: Option<Timestamp>) {
        let label = PolicyLabel::of(policy.as_str());
        let due = at.map_or(0, Timestamp::as_second);
        // There from the first moment on: 0 is never.
        drop(self.families.last_success.get_or_create(&label));
        self.families.next.get_or_create(&label).set(due);
    }
}

/// How many bytes a run wanted freed on a filesystem.
fn wanted(run: &PolicyRun, place: &Path) -> u64 {
    let mut wanted = run.wanted.iter();
    let found = wanted.find(|it| matches!(&it.of, Measure::Bytes(of) if of == place));
    found.map_or(0, |it| it.amount)
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
