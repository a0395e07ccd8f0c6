//! What a policy would do at this moment, and warnings about its settings.

use jiff::Timestamp;
use reclaim_engine::{RunError, blocking, no_progress};
use reclaim_model::{
    Filesystem, FilterArgs, Inhibitor, Namespace, PolicyName, Protection, PruneRequest, Report,
    Watermark, Watermarks,
};
use reclaim_store::Unmeasured;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::kubelet::kubelet_warnings;
use crate::policy::{Policy, Schedule};
use crate::pressure::{Excess, goals, outstanding};
use crate::progress::request;
use crate::registry_lookup::RegistryLookup;
use crate::rules::rules;
use crate::run::Maintenance;

/// What a policy would do at this moment.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PolicyForecast {
    /// The policy.
    pub policy: PolicyName,
    /// When it runs.
    pub schedule: String,
    /// What it removes and what it spares, one sentence each.
    pub rules: Vec<String>,
    /// The filesystems.
    pub filesystems: Vec<Filesystem>,
    /// What is above its high mark, and how much has to be freed to reach the low one.
    pub wanted: Vec<Excess>,
    /// Bytes that earlier runs freed and that the filesystems do not show yet.
    #[serde(default)]
    pub not_yet_visible: Vec<Excess>,
    /// What it would do in each namespace.
    pub namespaces: Vec<NamespaceForecast>,
    /// The commands that keep it from running at this moment.
    #[serde(default)]
    pub inhibitors: Vec<Inhibitor>,
    /// Settings that are probably not intended, and what could not be measured.
    pub warnings: Vec<String>,
}

/// What a policy would do in one namespace.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NamespaceForecast {
    /// What a run would remove now, as a dry run reports it.
    pub now: Report,
    /// What it would remove if it had to remove every image that it selects.
    pub at_most: Report,
}

impl Maintenance {
    /// Returns what each policy would do at this moment, and changes nothing.
    ///
    /// Each policy is evaluated by itself, as if those before it did nothing. Holds that it would
    /// release first do not reduce what it wants to free.
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
                               every image that it selects";
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
        let found = self.engine.store().filesystems().await?;
        let occupied = if policy.pressure.needs_occupied() {
            Some(self.occupied().await?)
        } else {
            None
        };
        let wanted = policy.pressure.begin(&found.seen, occupied);
        self.late.update(&found.seen, Instant::now());
        let not_yet_visible = self.late.bytes();
        let existing = self.engine.store().namespaces().await?;
        let mut namespaces = Vec::new();
        let mut lookup = RegistryLookup::default();
        for namespace in &policy.namespaces {
            let images = self.images(policy, namespace, self.engine.store().now());
            let mut images = images.await;
            let asking = self.ask_registries(policy, namespace, &mut images, &mut lookup);
            Box::pin(asking).await?;
            let all = request(policy, namespace, images.clone());
            if policy.pressure.is_any() {
                images.goals = Some(goals(&outstanding(&wanted, &not_yet_visible), &found.seen));
            }
            let spare = policy.pressure.spare(occupied);
            images.max_bytes = images.max_bytes.into_iter().chain(spare).min();
            let now = request(policy, namespace, images);
            namespaces.push(NamespaceForecast {
                now: self.dry_run(&now).await?,
                at_most: self.dry_run(&all).await?,
            });
        }
        let mut warnings: Vec<String> = found.unmeasured.iter().map(Unmeasured::warning).collect();
        let now = self.engine.store().now();
        let concerns = concerns(
            policy,
            &found.seen,
            &self.engine.protection(),
            &existing,
            now,
        );
        warnings.extend(concerns);
        Ok(PolicyForecast {
            policy: policy.name().clone(),
            schedule: policy.schedule.to_string(),
            rules: rules(policy),
            filesystems: found.seen,
            wanted,
            not_yet_visible,
            namespaces,
            inhibitors: self.engine.inhibitors().await?,
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

/// Returns warnings about settings that are valid and probably not intended.
fn concerns(
    policy: &Policy,
    filesystems: &[Filesystem],
    protection: &Protection,
    existing: &[Namespace],
    now: Timestamp,
) -> Vec<String> {
    let mut concerns = Vec::new();
    let never = |why: &str| format!("it can never remove anything: {why}");
    match &policy.schedule {
        Schedule::OnDemand => concerns.push(
            "it has neither cron nor interval: it runs only by `reclaim maintain --once`"
                .to_owned(),
        ),
        Schedule::Cron(cron) if cron.after(now).is_none() => {
            concerns.push(never(&format!("cron `{cron}` never occurs")));
        }
        Schedule::Cron(_) | Schedule::Interval { .. } => {}
    }
    for namespace in &policy.namespaces {
        if !existing.contains(namespace) {
            concerns.push(format!("namespace `{namespace}` does not exist here"));
        }
    }
    let is_protected = |it: &Namespace| protection.namespaces.contains(it);
    if policy.namespaces.iter().all(is_protected) {
        concerns.push(never("all its namespaces are in protect.namespaces"));
    }
    if contradict(&policy.rule.filters.docker) {
        concerns.push(never("its label filters contradict each other"));
    }
    if policy.ask_registry && policy.rule.last_copies {
        concerns.push("its ask_registry has no effect: last_copies is true".to_owned());
    }
    if policy.pressure.is_any() && policy.undo_window > std::time::Duration::ZERO {
        concerns
            .push("its undo_window has no effect under pressure: a hold frees no space".to_owned());
    }
    for filesystem in filesystems {
        let place = filesystem.mount_point.display();
        if policy.pressure.inodes.is_some() && filesystem.inodes.total == 0 {
            concerns.push(format!(
                "`{place}` has no fixed number of inodes, so inodes_high has no effect"
            ));
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
                concerns.push(format!(
                    "`{place}` is always above {key}: the filesystem is smaller than that"
                ));
            }
        }
    }
    concerns
}

/// Whether the filters both require and exclude a label.
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
