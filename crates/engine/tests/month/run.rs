//! A run of a policy in the simulated host: the steps of `Maintenance::run` and of a prune, with
//! the same judgements, and with people who do not wait until it is over.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use reclaim_engine::{Occupied, Outcome, Policy, PolicyRun, Preview, Standing, Trigger};
use reclaim_model::{
    Digest, Filesystem, Freed, ImageRecord, KeepReason, Mode, Namespace, Plan, PruneRequest,
    Reclaimed, RefuseReason, Refused, Removed, Report, RunId, Selection,
};
use reclaim_plan::{Finding, check, decide, decide_again, limit_by_use};

use crate::clock::{draw, seconds};
use crate::diary::{Broken, hold};
use crate::month::Month;
use crate::promises::{Judged, of_plan, of_run};
use crate::registry::{Thing, ThingId};
use crate::world::{Held, Record};

/// A run under way.
#[derive(Debug)]
pub(crate) struct Pass {
    pub(crate) policy: Policy,
    pub(crate) run: PolicyRun,
    pub(crate) filesystems: Vec<Filesystem>,
    pub(crate) occupied: Option<Occupied>,
}

impl Pass {
    fn standing(&self) -> Standing<'_> {
        Standing {
            policy: &self.policy,
            run: &self.run,
            filesystems: &self.filesystems,
            occupied: self.occupied,
        }
    }

    fn look_what_is_missing(&mut self) {
        let pressure = &self.policy.pressure;
        self.run.missing = pressure.remain(&self.run.wanted, &self.filesystems, self.occupied);
    }
}

impl Month {
    /// The daemon looks at a policy that is due.
    pub(crate) fn run_scheduled(&mut self, policy: usize) -> Result<(), Broken> {
        self.rhythm
            .begins(policy, &self.policies[policy], &self.world.clock)?;
        self.tally.looked_at += 1;
        let began = self.world.clock.passed;
        let run = self.run(policy, Trigger::Schedule)?;
        let is_in_vain = run.is_in_vain();
        let draw = draw(&mut self.dice);
        let name = self.policies[policy].name().to_string();
        self.daemon.ended.insert(name, run.ended);
        self.daemon
            .timetable
            .done(policy, run.ended, is_in_vain, draw);
        self.rhythm
            .ended(policy, began, is_in_vain, &self.world.clock);
        Ok(())
    }

    /// Somebody asks for a run.
    pub(crate) fn run_on_demand(&mut self, policy: usize) -> Result<(), Broken> {
        let run = self.run(policy, Trigger::Demand)?;
        let name = self.policies[policy].name().to_string();
        self.daemon.ended.insert(name, run.ended);
        Ok(())
    }

    fn run(&mut self, policy: usize, trigger: Trigger) -> Result<PolicyRun, Broken> {
        let policy = self.policies[policy].clone();
        let mut pass = Pass {
            run: PolicyRun::begun(
                policy.name().clone(),
                trigger,
                policy.mode,
                self.world.now(),
            ),
            policy,
            filesystems: Vec::new(),
            occupied: None,
        };
        let Some(running) = self.guard.try_begin() else {
            self.tally.busy += 1;
            pass.run.outcome = Outcome::Busy;
            return Ok(pass.run);
        };
        self.measure(&mut pass);
        let pressure = &pass.policy.pressure;
        pass.run.wanted = pressure.begin(&pass.filesystems, pass.occupied);
        pass.run.missing.clone_from(&pass.run.wanted);
        if !pass.run.wanted.is_empty() {
            let words = format!(
                "{}: above the high mark: {:?}",
                pass.policy.name(),
                pass.run.wanted
            );
            self.write(&words);
            self.tally.pressed += 1;
            if pass.policy.mode == Mode::Apply {
                self.relieve(&mut pass);
            }
        }
        for namespace in pass.policy.namespaces.clone() {
            if pass.standing().is_over() {
                break;
            }
            let Some(report) = self.prune(&pass, &namespace)? else {
                pass.run.error = Some("the linter refuses".to_owned());
                break;
            };
            let is_any = !report.removed.is_empty();
            pass.run.reports.push(report);
            let is_stale = is_any || pass.policy.pressure.needs_occupied();
            if is_stale && pass.policy.mode == Mode::Apply {
                self.measure(&mut pass);
                pass.look_what_is_missing();
            }
        }
        pass.run.outcome = match pass.run.error {
            Some(_) => Outcome::Failed,
            None => pass.standing().outcome(),
        };
        pass.run.ended = self.world.now();
        of_run(&pass)?;
        self.count(&pass.run);
        drop(running);
        Ok(pass.run)
    }

    fn count(&mut self, run: &PolicyRun) {
        let tally = &mut self.tally;
        tally.runs += usize::from(run.removed() > 0);
        tally.removed += run.removed();
        tally.released += run.released.len();
        tally.capped += usize::from(run.outcome == Outcome::Capped);
        tally.unmet += usize::from(run.outcome == Outcome::Unmet);
        if run.outcome != Outcome::Nothing {
            let words = format!("{}: {}, missing {:?}", run.policy, run.outcome, run.missing);
            self.write(&words);
        }
    }

    fn measure(&self, pass: &mut Pass) {
        pass.filesystems = vec![self.world.filesystem()];
        if pass.policy.pressure.needs_occupied() {
            pass.occupied = Some(Occupied {
                all: self.world.occupied(),
                lasting: self.world.lasting_apart(),
            });
        }
    }

    /// Releases holds, the oldest first, and collects if there is none.
    fn relieve(&mut self, pass: &mut Pass) {
        for namespace in pass.policy.namespaces.clone() {
            let holds: Vec<String> = self.world.spaces[&namespace]
                .holds
                .iter()
                .map(|it| it.run.clone())
                .collect();
            for run in holds {
                if pass.run.missing.is_empty() {
                    return;
                }
                self.world
                    .space(&namespace)
                    .holds
                    .retain(|it| it.run != run);
                self.world.collect();
                self.write(&format!("the hold of {run} is released"));
                pass.run.released.push((namespace.clone(), RunId(run)));
                self.measure(pass);
                pass.look_what_is_missing();
            }
        }
        if pass.run.released.is_empty() {
            self.world.collect();
            self.measure(pass);
            pass.look_what_is_missing();
        }
    }

    /// Prunes a namespace; `None` if that would leave containers without any image.
    fn prune(&mut self, pass: &Pass, namespace: &Namespace) -> Result<Option<Report>, Broken> {
        let now = self.world.now();
        let run = RunId(run_id(now, self.dice.roll()));
        let uses = self.daemon.index().uses_at(namespace, now);
        let images = pass.policy.images(&self.protection, uses, now);
        let request = pass.standing().request(namespace, images);
        let inventory = self.world.inventory();
        let decision = decide(&inventory, &[], &request);
        let plan = decision.into_plan(&self.world.sizes(namespace));
        let Selection::Rule(images) = &request.selection else {
            return Err(Broken("a policy asks by its rule".to_owned()));
        };
        let plan = limit_by_use(plan, &inventory, images).plan;
        match check(&plan, &inventory, &[], &request) {
            Ok(()) => {}
            Err(Finding::EmptiesNamespace { .. }) => return Ok(None),
            Err(finding) => return Err(Broken(format!("the linter finds: {finding:?}"))),
        }
        let judged = Judged::new(self, &pass.policy, namespace, now);
        of_plan(&judged, &plan, images)?;
        let preview = Preview { inventory, plan };
        let mut report = preview.report();
        let Preview {
            mut inventory,
            plan,
        } = preview;
        report.run = run;
        if plan.steps.is_empty() || pass.policy.mode == Mode::DryRun {
            return Ok(Some(report));
        }
        report.mode = Mode::Apply;
        report.freed = Freed::default();
        self.write(&format!(
            "{}: {namespace}: {}",
            pass.policy.name(),
            names(&plan)
        ));
        self.disturb()?;
        self.remove_all(&plan, &mut report);
        self.disturb()?;
        self.look_again(&request, &mut inventory, &plan, &mut report);
        self.finish(pass, &plan, &mut report)?;
        Ok(Some(report))
    }

    /// Others go on while a run does.
    fn disturb(&mut self) -> Result<(), Broken> {
        let time = seconds(self.dice.below(3));
        self.world.clock.pass(time);
        if self.dice.percent(25) {
            for _ in 0..self.dice.between(1, 2) {
                self.happen_in_store()?;
                self.settle()?;
            }
        }
        if self.dice.percent(3) {
            let policy = self.dice.below(self.policies.len());
            let run = self.run_on_demand_beside(policy)?;
            hold(run == Outcome::Busy, || "two runs at once".to_owned())?;
        }
        Ok(())
    }

    fn run_on_demand_beside(&mut self, policy: usize) -> Result<Outcome, Broken> {
        Ok(self.run(policy, Trigger::Demand)?.outcome)
    }

    fn remove_all(&mut self, plan: &Plan, report: &mut Report) {
        let namespace = &plan.namespace;
        report.removed.clear();
        for step in &plan.steps {
            let name = &step.image.name;
            let records = &self.world.spaces[namespace].records;
            let target = records.get(name);
            let target = target.map(|it| &self.world.registry.images[it.image].target);
            let reason = match target {
                None => RefuseReason::AlreadyGone,
                Some(target) if *target != step.image.target.digest => RefuseReason::TargetMoved,
                Some(target) => {
                    report.removed.push(Removed {
                        name: name.clone(),
                        target: target.clone(),
                        reason: step.reason,
                    });
                    continue;
                }
            };
            report.refused.push(Refused {
                name: name.clone(),
                reason,
            });
        }
        // The hold of the run: nothing that it removes is freed before the end.
        let space = self.world.spaces.get_mut(namespace).expect("it was judged");
        let mut records = BTreeMap::new();
        for removed in &report.removed {
            if let Some(record) = space.records.remove(&removed.name) {
                records.insert(removed.name.clone(), record);
            }
        }
        space.holds.push(Held {
            run: report.run.0.clone(),
            records,
            expires: Timestamp::MAX,
        });
        for removed in &report.removed {
            let name = removed.name.clone();
            self.tell(namespace, reclaim_model::Happening::ImageDeleted { name });
        }
    }

    /// Restores what is used by now.
    fn look_again(
        &mut self,
        request: &PruneRequest,
        inventory: &mut reclaim_model::Inventory,
        plan: &Plan,
        report: &mut Report,
    ) {
        let namespace = &plan.namespace;
        let mut seen = self.world.inventory();
        let space = seen.namespaces.get_mut(namespace).expect("it was judged");
        let mut injected: Vec<(String, ImageRecord)> = Vec::new();
        for step in &plan.steps {
            let name = &step.image.name;
            let mut there = space.images.iter().filter(|it| it.name == *name);
            let there = there.next().map(|it| &it.target.digest);
            if there == Some(&step.image.target.digest)
                || report.removed.iter().all(|it| it.name != *name)
            {
                continue;
            }
            let mut image = step.image.clone();
            if there.is_some() {
                // Its name is taken.
                let registry = &self.world.registry;
                let repository =
                    &registry.images[registry.image_of(&image.target.digest)].repository;
                image.name = format!("docker.io/library/{repository}@{}", image.target.digest);
            }
            injected.push((name.clone(), image));
        }
        space.images.extend(injected.iter().map(|it| it.1.clone()));
        space.images.sort_by(|a, b| a.name.cmp(&b.name));
        space
            .images
            .dedup_by(|later, earlier| later.name == earlier.name);
        seen.documents = std::mem::take(&mut inventory.documents);
        let gone = injected.iter().map(|it| it.1.name.as_str()).collect();
        let decision = decide_again(&seen, &[], request, &gone);
        let now = self.world.now();
        for (name, image) in &injected {
            let mut kept = decision.kept().iter();
            let Some(kept) = kept.find(|it| it.name == image.name) else {
                continue;
            };
            let (reason, holders): (KeepReason, _) = (kept.reason, kept.holders.clone());
            self.tally.restored += 1;
            self.write(&format!("{} comes back: {}", image.name, reason.words()));
            let space = self.world.space(namespace);
            let held = space.holds.last_mut().expect("the run has one");
            let Some(record) = held.records.remove(name) else {
                continue;
            };
            let record = Record {
                created: now,
                updated: now,
                ..record
            };
            space.records.insert(image.name.clone(), record.clone());
            self.tell_written(namespace, &image.name, &record);
            if self.daemon.is_hearing() {
                let key = (namespace.clone(), record.image);
                self.daemon.memory.touch(&key, now);
            }
            report.removed.retain(|it| it.name != *name);
            report.refused.push(Refused {
                name: name.clone(),
                reason: RefuseReason::MustStay(reason, holders),
            });
        }
    }

    /// Frees what was removed, or holds it.
    fn finish(&mut self, pass: &Pass, plan: &Plan, report: &mut Report) -> Result<(), Broken> {
        let namespace = &plan.namespace;
        let window = pass.standing().undo_window();
        let now = self.world.now();
        let space = self.world.space(namespace);
        let used = space.used();
        let there = space.images();
        let held = space.holds.last_mut().expect("the run has one");
        let images = held.records.values().map(|it| it.image);
        let wholly: Vec<_> = images.filter(|it| !there.contains(it)).collect();
        if let Some(image) = wholly.iter().find(|it| used.contains(it)) {
            return Err(Broken(format!(
                "image {image} in {namespace} is in use and gone"
            )));
        }
        if window.is_zero() || report.removed.is_empty() {
            space.holds.pop();
        } else {
            self.tally.held += 1;
            held.expires = now + SignedDuration::try_from(window).expect("short");
            report.held_until = Some(held.expires);
        }
        if report.held_until.is_none() {
            self.world.collect();
            report.freed = self.gone(plan);
            report.reclaimed = Reclaimed(report.freed.amount());
        }
        let is_sure = self.daemon.is_hearing();
        // What came back meanwhile begins anew, at whatever moment that was noticed.
        for removed in &report.removed {
            let image = self.world.registry.image_of(&removed.target);
            if there.contains(&image) {
                let key = (namespace.clone(), image);
                self.daemon.memory.set_vague(&key);
            }
        }
        for removed in &report.removed {
            let key = (
                namespace.clone(),
                self.world.registry.image_of(&removed.target),
            );
            let memory = &mut self.daemon.memory;
            memory.removed_name(&key, &removed.name, now);
        }
        for image in wholly {
            let key = (namespace.clone(), image);
            let passed = self.world.clock.passed;
            self.daemon.memory.removed(&key, is_sure, now, passed);
        }
        let space = &self.world.spaces[namespace];
        let is_there = |it: &String| space.records.contains_key(it);
        self.daemon.memory.named(namespace, is_there);
        let before = self.daemon.index().repulls();
        self.daemon.index().removed(report, now);
        let after = self.daemon.index().repulls();
        let space = &self.world.spaces[namespace];
        let targets = space.images().into_iter();
        let targets: Vec<_> = targets
            .map(|it| &self.world.registry.images[it].target)
            .collect();
        let is_there =
            |it: &Removed| space.records.contains_key(&it.name) || targets.contains(&&it.target);
        let is_back = report.removed.iter().any(is_there);
        // A record that a clock which was ahead has dated in what is now the present seems to have
        // come back meanwhile. It is spared for it, which costs nothing but time.
        let may_seem_back = self.world.clock.was_set_back();
        hold(is_back || may_seem_back || after == before, || {
            "a removal counted as a re-pull".to_owned()
        })?;
        // Some seconds later, or pulls of this very moment would count as before.
        self.world.clock.pass(SignedDuration::from_secs(1));
        self.settle()
    }

    /// What of a plan is gone from the disk.
    fn gone(&self, plan: &Plan) -> Freed {
        let things = &self.world.registry.things;
        let mut freed = plan.freed.clone();
        for space in self.world.spaces.values() {
            let there = |digest: &Digest| {
                let is_it = |id: &ThingId| matches!(&things[*id], Thing::Blob { digest: it, .. } if it == digest);
                space.blobs.iter().any(is_it)
            };
            freed.blobs.retain(|it| !there(&it.digest));
        }
        let space = &self.world.spaces[&plan.namespace];
        let there = |wanted: &str| {
            let is_it =
                |id: &ThingId| matches!(&things[*id], Thing::Snapshot { key, .. } if key == wanted);
            space.snapshots.iter().any(is_it)
        };
        freed.snapshots.retain(|it| !there(&it.id.key));
        freed
    }
}

fn names(plan: &Plan) -> String {
    let names = plan.steps.iter().map(|it| it.image.name.as_str());
    format!("removes {}", names.collect::<Vec<_>>().join(", "))
}

/// The ID of a run that begins at a moment, as the engine makes them.
fn run_id(now: Timestamp, random: u64) -> String {
    let millis = u64::try_from(now.as_millisecond()).expect("after 1970");
    let mut bytes = [0; 10];
    bytes[2..].copy_from_slice(&random.to_be_bytes());
    let builder = uuid::Builder::from_unix_timestamp_millis(millis, &bytes);
    builder.into_uuid().to_string()
}

/// What a run took: what it freed, or is to free when what it holds is released.
pub(crate) fn taken_bytes(report: &Report) -> u64 {
    match (report.mode, report.held_until) {
        (Mode::Apply, None) => report.reclaimed.0.total_bytes(),
        (Mode::Apply | Mode::DryRun, _) => report.estimate.0.total_bytes(),
    }
}
