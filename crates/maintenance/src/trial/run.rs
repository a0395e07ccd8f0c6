//! One run of a tried policy: the steps of [`Maintenance::run`](crate::Maintenance::run) on the tried host.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use reclaim_engine::Preview;
use reclaim_model::{Digest, Mode, Namespace, PolicyPart, Reclaimed, Report, RunId, TimeContext};
use reclaim_plan::{Limited, decide, limit_by_use};

use super::TriedRun;
use super::host::TriedHost;
use crate::policy::Policy;
use crate::policy_run::{PolicyOutcome, PolicyRun, Trigger};
use crate::progress::{PolicyProgress, request};
use crate::run::MAX_ROUNDS;
use crate::time::Moment;

impl TriedHost<'_> {
    /// Runs a policy. Returns whether it reached nothing of what it is for.
    pub(super) fn run(&mut self, policy: &Policy, moment: Moment) -> bool {
        let name = policy.name().clone();
        let mut run = PolicyRun::begun(name, Trigger::Schedule, Mode::Apply, moment.wall);
        run.before = self.filesystems();
        run.wanted = policy.pressure.begin(&run.before, Some(self.occupied()));
        run.missing.clone_from(&run.wanted);
        let removed = self.removals.len();
        for _ in 0..MAX_ROUNDS {
            let so_far = run.reports.len();
            self.round(policy, &mut run, moment);
            let has_freed = run.reports[so_far..].iter().any(Report::has_changes);
            if run.outstanding().is_empty() || !has_freed {
                break;
            }
        }
        run.after = self.filesystems();
        run.outcome = self.progress(policy, &run).outcome();
        let removed = &self.removals[removed..];
        if !removed.is_empty() || run.outcome == PolicyOutcome::Unmet {
            self.runs.push(TriedRun {
                at: moment.wall,
                policy: policy.name().clone(),
                outcome: run.outcome,
                images: removed.len(),
                bytes: removed.iter().map(|it| it.bytes).sum(),
            });
        }
        run.is_unsuccessful()
    }

    fn round(&mut self, policy: &Policy, run: &mut PolicyRun, moment: Moment) {
        for part in &policy.free {
            for namespace in &policy.namespaces {
                let filesystems = self.filesystems();
                let progress = self.progress_on(policy, run, &filesystems);
                if progress.is_over() {
                    return;
                }
                if progress.may_free(*part) {
                    self.step(policy, run, (*part, namespace), moment);
                }
            }
        }
    }

    fn progress_on<'a>(
        &self,
        policy: &'a Policy,
        run: &'a PolicyRun,
        filesystems: &'a [reclaim_model::Filesystem],
    ) -> PolicyProgress<'a> {
        PolicyProgress {
            policy,
            run,
            filesystems,
            occupied: Some(self.occupied()),
            simulated: None,
        }
    }

    fn progress<'a>(&self, policy: &'a Policy, run: &'a PolicyRun) -> PolicyProgress<'a> {
        self.progress_on(policy, run, &run.after)
    }

    fn step(
        &mut self,
        policy: &Policy,
        run: &mut PolicyRun,
        (part, namespace): (PolicyPart, &Namespace),
        moment: Moment,
    ) {
        let filesystems = self.filesystems();
        let images = policy.images(
            part,
            self.uses.uses(namespace, moment.monotonic),
            moment.wall,
        );
        let images = self.progress_on(policy, run, &filesystems).limited(images);
        let context = TimeContext {
            now: moment.wall,
            offset: TimeZone::system().to_offset(moment.wall),
        };
        let Ok(request) = request(namespace, images.clone()).resolve(&context) else {
            // The parser of the configuration has resolved the same filters once.
            return;
        };
        let (inventory, sizes) = self.inventory(moment.wall);
        let plan = decide(&inventory, &[], &request).into_plan(&sizes);
        let Limited { plan, .. } = limit_by_use(plan, &inventory, &images);
        let mut report = Preview { inventory, plan }.report();
        report.run = RunId(format!("trial-{}-{}", moment.monotonic, run.reports.len()));
        report.mode = Mode::Apply;
        report.reclaimed = Reclaimed(report.estimate.0);
        report.policy = Some(policy.name().clone());
        report.part = Some(part);
        let mut names: BTreeMap<&Digest, Vec<&str>> = BTreeMap::new();
        for removed in &report.removed {
            names
                .entry(&removed.target)
                .or_default()
                .push(&removed.name);
        }
        for (target, names) in names {
            let key = (namespace.clone(), target.clone());
            self.remove(&key, &names, policy, moment);
        }
        self.uses.record_removals(&report, moment);
        run.reports.push(report);
        let filesystems = self.filesystems();
        let pressure = &policy.pressure;
        run.missing = pressure.remain(&run.wanted, &filesystems, Some(self.occupied()));
    }
}
