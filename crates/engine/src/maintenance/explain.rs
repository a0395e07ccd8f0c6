//! What a policy would do at this moment, and what is odd about it.

use jiff::Timestamp;
use reclaim_model::{
    Filesystem, FilterArgs, Namespace, PolicyName, Protection, PruneRequest, Report, Watermark,
    Watermarks,
};

use super::pressure::{Excess, goals};
use super::run::Maintenance;
use super::standing::request;
use crate::engine::RunError;
use crate::kubernetes::kubelet_warnings;
use crate::off_thread::blocking;
use crate::policy::{Policy, Schedule};
use crate::progress::no_progress;

/// What a policy would do at this moment.
#[derive(Debug, Clone)]
pub struct PolicyForecast {
    /// The policy.
    pub policy: PolicyName,
    /// The filesystems.
    pub filesystems: Vec<Filesystem>,
    /// What is above its high mark, and how much has to go until the low one.
    pub wanted: Vec<Excess>,
    /// What would become of each namespace.
    pub namespaces: Vec<NamespaceForecast>,
    /// What is odd about it.
    pub warnings: Vec<String>,
}

/// What a policy would do in one namespace.
#[derive(Debug, Clone)]
pub struct NamespaceForecast {
    /// What a run would remove now, as a dry run reports it.
    pub now: Report,
    /// What it would remove if it had to remove all that it lets go.
    pub at_most: Report,
}

impl Maintenance {
    /// Says what each policy would do at this moment, and changes nothing.
    ///
    /// Each is looked at by itself, as if those before it did nothing. Holds that would be released
    /// first are not taken off what is wanted.
    ///
    /// # Errors
    ///
    /// If the store cannot be read whole.
    pub async fn explain(&self, policies: &[&Policy]) -> Result<Vec<PolicyForecast>, RunError> {
        let mut forecasts = Vec::new();
        for policy in policies {
            forecasts.push(self.forecast(policy).await?);
        }
        if !policies.is_empty() && policies.iter().all(|it| !has_cap(it)) {
            for forecast in &mut forecasts {
                let warning = "no policy has a cap (max_images, max_bytes): one run may remove \
                               all that it lets go";
                forecast.warnings.push(warning.to_owned());
            }
        }
        if let Some(path) = &self.kubelet_config {
            for (policy, forecast) in policies.iter().zip(&mut forecasts) {
                let (policy, path) = ((*policy).clone(), path.clone());
                let reading = blocking(move || kubelet_warnings(&policy, &path));
                forecast.warnings.extend(reading.await);
            }
        }
        Ok(forecasts)
    }

    async fn forecast(&self, policy: &Policy) -> Result<PolicyForecast, RunError> {
        let found = self.engine.store.filesystems().await?;
        let occupied = if policy.pressure.needs_occupied() {
            Some(self.occupied().await?)
        } else {
            None
        };
        let wanted = policy.pressure.begin(&found.seen, occupied);
        let existing = self.engine.store.namespaces().await?;
        let mut namespaces = Vec::new();
        for namespace in &policy.namespaces {
            let images = self.images(policy, namespace, self.engine.store.now());
            let mut images = images.await;
            let all = request(policy, namespace, images.clone());
            if policy.pressure.is_any() {
                images.goals = Some(goals(&wanted, &found.seen));
            }
            let spare = policy.pressure.spare(occupied);
            images.max_bytes = images.max_bytes.into_iter().chain(spare).min();
            let now = request(policy, namespace, images);
            namespaces.push(NamespaceForecast {
                now: self.dry_run(&now).await?,
                at_most: self.dry_run(&all).await?,
            });
        }
        let mut warnings: Vec<String> = found
            .unseen
            .iter()
            .map(|unseen| format!("not seen, so no mark can be judged: {unseen}"))
            .collect();
        let now = self.engine.store.now();
        let doubtful = doubts(policy, &found.seen, &self.protection, &existing, now);
        warnings.extend(doubtful);
        Ok(PolicyForecast {
            policy: policy.name().clone(),
            filesystems: found.seen,
            wanted,
            namespaces,
            warnings,
        })
    }
}

impl Maintenance {
    async fn dry_run(&self, request: &PruneRequest) -> Result<Report, RunError> {
        let preview = self.engine.preview(request, &no_progress).await?;
        Ok(preview.into_report().await.0)
    }
}

fn has_cap(policy: &Policy) -> bool {
    policy.max_images.is_some() || policy.max_bytes.is_some()
}

/// What is accepted and yet probably not meant.
fn doubts(
    policy: &Policy,
    filesystems: &[Filesystem],
    protection: &Protection,
    existing: &[Namespace],
    now: Timestamp,
) -> Vec<String> {
    let mut doubts = Vec::new();
    let never = |why: &str| format!("it can never remove anything: {why}");
    match &policy.schedule {
        Schedule::OnDemand => doubts.push(
            "it has neither cron nor interval: it runs only by `reclaim maintain --once`"
                .to_owned(),
        ),
        Schedule::Cron(cron) if cron.after(now).is_none() => {
            doubts.push(never(&format!("cron `{cron}` names no moment")));
        }
        Schedule::Cron(_) | Schedule::Interval { .. } => {}
    }
    for namespace in &policy.namespaces {
        if !existing.contains(namespace) {
            doubts.push(format!("namespace `{namespace}` does not exist here"));
        }
    }
    let is_protected = |it: &Namespace| protection.namespaces.contains(it);
    if policy.namespaces.iter().all(is_protected) {
        doubts.push(never("all its namespaces are in protect.namespaces"));
    }
    if contradict(&policy.rule.filters.docker) {
        doubts.push(never("its label filters contradict each other"));
    }
    if policy.pressure.is_any() && policy.undo_window > std::time::Duration::ZERO {
        doubts.push(
            "its undo_window does not count under pressure: what is held makes no room".to_owned(),
        );
    }
    for filesystem in filesystems {
        let place = filesystem.mount_point.display();
        if policy.pressure.inodes.is_some() && filesystem.inodes.total == 0 {
            doubts.push(format!("`{place}` has no fixed number of inodes to judge"));
        }
        let sizes = [
            ("high", policy.pressure.bytes, filesystem.bytes.total),
            (
                "inodes_high",
                policy.pressure.inodes,
                filesystem.inodes.total,
            ),
        ];
        for (key, marks, total) in sizes {
            if total > 0 && marks.is_some_and(|marks| is_always_above(marks, total)) {
                doubts.push(format!(
                    "`{place}` is always above {key}: less than that is there in all"
                ));
            }
        }
    }
    doubts
}

/// Whether some label is both asked for and ruled out.
fn contradict(filters: &FilterArgs) -> bool {
    let mut wanted = filters.values("label");
    wanted.any(|wanted| {
        let key = wanted.split('=').next();
        let mut without = filters.values("label!");
        without.any(|it| it == wanted || Some(it) == key)
    })
}

fn is_always_above(marks: Watermarks, total: u64) -> bool {
    matches!(marks.high(), Watermark::Left(left) if left > total)
}
