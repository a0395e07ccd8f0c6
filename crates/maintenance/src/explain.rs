//! What a policy would do at this moment, and warnings about its settings.

use jiff::Timestamp;
use reclaim_engine::{RunError, blocking, no_progress};
use reclaim_model::{
    Filesystem, FilterArgs, Inhibitor, Namespace, PolicyName, PolicyPart, Protection, Report,
    RuleImages, Watermark, Watermarks,
};
use reclaim_store::Unmeasured;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::kubelet::kubelet_warnings;
use crate::policy::{Policy, Schedule};
use crate::pressure::{Excess, goals, outstanding, reduced};
use crate::progress::{freed_bytes, request, targets};
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
    /// What it would do, in this order: what it frees first in all namespaces, and so on.
    pub namespaces: Vec<NamespaceForecast>,
    /// The commands that keep it from running at this moment.
    #[serde(default)]
    pub inhibitors: Vec<Inhibitor>,
    /// Settings that are probably not intended, and what could not be measured.
    pub warnings: Vec<String>,
}

/// What one step of a policy would do in one namespace, after all steps before it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NamespaceForecast {
    /// What the step would free now, as a dry run reports it.
    pub now: Report,
    /// What it would free if every step had to free all that it may.
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
        let mut steps = Steps {
            wanted: outstanding(&wanted, &not_yet_visible),
            spare: policy.pressure.spare(occupied),
            ..Steps::default()
        };
        let mut namespaces = Vec::new();
        for part in &policy.free {
            for namespace in &policy.namespaces {
                let step = (*part, namespace);
                let forecast = self.forecast_step(policy, step, &found.seen, &mut steps);
                namespaces.push(Box::pin(forecast).await?);
            }
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

/// The forecast so far.
#[derive(Default)]
struct Steps {
    /// What is still to be freed.
    wanted: Vec<Excess>,
    /// How many bytes the reserve still allows to free; `None` without a reserve.
    spare: Option<u64>,
    /// What registries answered.
    lookup: RegistryLookup,
    /// The steps as a run would take them now.
    now: Vec<Report>,
    /// The steps if each had to free all that it may.
    at_most: Vec<Report>,
}

impl Maintenance {
    async fn forecast_step(
        &self,
        policy: &Policy,
        (part, namespace): (PolicyPart, &Namespace),
        filesystems: &[Filesystem],
        steps: &mut Steps,
    ) -> Result<NamespaceForecast, RunError> {
        let mut images = self.images(policy, part, namespace).await;
        let asking = self.ask_registries(policy, namespace, &mut images, &mut steps.lookup);
        Box::pin(asking).await?;
        let all = request(namespace, images.clone());
        let engine = &self.engine;
        let at_most = engine.preview_after(&all, steps.at_most.clone(), &no_progress);
        let at_most = Box::pin(at_most).await?.report;
        if policy.pressure.is_any() {
            images.goals = Some(goals(&steps.wanted, filesystems));
        }
        let images = capped(images, policy, steps);
        let now = request(namespace, images);
        let now = engine.preview_after(&now, steps.now.clone(), &no_progress);
        let now = Box::pin(now).await?;
        steps.wanted = reduced(&steps.wanted, &now.towards_goals);
        steps.now.push(now.report.clone());
        steps.at_most.push(at_most.clone());
        Ok(NamespaceForecast {
            now: now.report,
            at_most,
        })
    }
}

/// Reduces the caps of a policy by what the steps so far would free.
fn capped(mut images: RuleImages, policy: &Policy, steps: &Steps) -> RuleImages {
    let spent: u64 = steps.now.iter().map(freed_bytes).sum();
    let by_cap = images.max_bytes.into_iter().chain(steps.spare).min();
    images.max_bytes = by_cap.map(|max| max.saturating_sub(spent));
    let gone: usize = steps.now.iter().map(targets).sum();
    images.max_images = policy.max_images.map(|max| max.saturating_sub(gone));
    images
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
