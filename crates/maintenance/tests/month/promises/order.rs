//! Which images a plan removes, in which order, and where it stops.

use std::collections::BTreeSet;

use reclaim_maintenance::{Excess, PolicyRun, goals, outstanding};
use reclaim_model::{Filesystem, Goal, GoalUnit, KeepReason, Report};

use super::Planned;
use crate::diary::{Broken, hold};
use crate::picture::{By, Needed};
use crate::registry::ImageId;

/// Checks a plan. `caps` are how many images and bytes may still go.
pub(crate) fn of_plan(
    planned: &Planned<'_>,
    run: &PolicyRun,
    report: &Report,
    caps: (Option<usize>, Option<u64>),
) -> Result<(), Broken> {
    let removals = Removals::new(planned, run, report, caps);
    removals.nothing_that_stays()?;
    removals.caps()?;
    removals.reserve()?;
    if !planned.picture.is_clear {
        // A read that failed keeps more.
        return Ok(());
    }
    removals.exact_bytes()?;
    removals.order()?;
    removals.stop()?;
    removals.no_sooner()
}

/// What a plan removes.
struct Removals<'a> {
    planned: &'a Planned<'a>,
    report: &'a Report,
    /// What it has to free; `None` without a goal.
    goals: Option<Vec<Goal>>,
    /// The same, if the daemon knew all that is on its way.
    least: Option<Vec<Goal>>,
    caps: (Option<usize>, Option<u64>),
    /// The names of the records that go.
    names: BTreeSet<String>,
    /// The images that lose a record.
    going: BTreeSet<ImageId>,
    before: Needed,
}

impl<'a> Removals<'a> {
    fn new(
        planned: &'a Planned<'a>,
        run: &PolicyRun,
        report: &'a Report,
        caps: (Option<usize>, Option<u64>),
    ) -> Self {
        let removed = report.removed.iter().map(|it| &it.name);
        let refused = report.refused.iter().map(|it| &it.name);
        let failed = report.failed.iter().map(|it| &it.name);
        let names: BTreeSet<String> = removed.chain(refused).chain(failed).cloned().collect();
        let picture = planned.picture;
        let records = &picture.space.records;
        let going = names.iter().filter_map(|it| Some(records.get(it)?.image));
        let pressure = &planned.policy.pressure;
        let goals_of = |filesystem: Filesystem, late: &[Excess]| {
            let filesystems = [filesystem];
            let occupied = pressure.needs_occupied().then(|| picture.occupied());
            let missing = pressure.remain(&run.wanted, &filesystems, occupied);
            goals(&outstanding(&missing, late), &filesystems)
        };
        let mut with_late = picture.filesystem.clone();
        with_late.bytes.left += picture.late;
        let is_any = pressure.is_any();
        let goals = is_any.then(|| goals_of(picture.filesystem.clone(), &picture.expected));
        let least = is_any.then(|| goals_of(with_late, &[]));
        Self {
            planned,
            report,
            goals,
            least,
            caps,
            going: going.collect(),
            names,
            before: picture.needed(&BTreeSet::new(), By::Anything),
        }
    }

    /// Returns what is freed if these records go.
    fn freed(&self, names: &BTreeSet<String>) -> Needed {
        let after = self.planned.picture.needed(names, By::Anything);
        self.before.without(&after)
    }

    fn names_of(&self, image: ImageId) -> BTreeSet<String> {
        let records = self.planned.space().records.iter();
        let records = records.filter(|it| it.1.image == image);
        records.map(|it| it.0.clone()).collect()
    }

    /// Whether this reaches all goals.
    fn is_met(goals: Option<&Vec<Goal>>, freed: &Needed) -> bool {
        goals.is_none_or(|goals| is_met(goals, freed))
    }

    /// Returns images that stay although the daemon knows nothing that keeps them.
    fn left(&self) -> impl Iterator<Item = ImageId> {
        let images = self.planned.space().images().into_iter();
        images.filter(|it| {
            let is_left = !self.going.contains(it) && self.planned.may_go(*it);
            is_left && self.planned.known(*it).is_some()
        })
    }

    /// Whether an image would free anything after everything in the plan is gone.
    fn would_help(&self, image: ImageId) -> bool {
        let more = &self.names | &self.names_of(image);
        self.freed(&more) != self.freed(&self.names)
    }

    fn nothing_that_stays(&self) -> Result<(), Broken> {
        let records = &self.planned.space().records;
        for name in &self.names {
            let Some(record) = records.get(name) else {
                return Err(Broken(format!("{name} goes, which was not there")));
            };
            let why = self.planned.why_stays(name, record);
            let is_unheard = match why {
                Some("came back") => self.planned.is_just_pulled(record.image),
                Some("found unused once") => self.planned.picture.is_deaf,
                Some(_) | None => false,
            };
            hold(why.is_none() || is_unheard, || {
                format!("{name} goes: {}", why.unwrap_or_default())
            })?;
            let too_soon = self.planned.goes_too_soon(record.image);
            hold(too_soon.is_none(), || {
                format!("{name} goes: {}", too_soon.unwrap_or_default())
            })?;
            let is_whole = self.names_of(record.image).is_subset(&self.names);
            hold(!is_whole || !self.planned.is_used(record.image), || {
                format!("{name} goes: in use")
            })?;
        }
        Ok(())
    }

    /// Checks that the plan frees what it says.
    fn exact_bytes(&self) -> Result<(), Broken> {
        let found = self.freed(&self.names).bytes();
        let planned = self.report.estimate.0.total_bytes();
        hold(found == planned, || {
            format!("the plan frees {planned} bytes, and {found} go")
        })
    }

    fn caps(&self) -> Result<(), Broken> {
        let (images, bytes) = self.caps;
        let n = self.going.len();
        hold(images.is_none_or(|max| n <= max), || {
            format!("{n} images go, and {images:?} may")
        })?;
        let planned = self.report.estimate.0.total_bytes();
        hold(bytes.is_none_or(|max| planned <= max), || {
            format!("{planned} bytes go, and {bytes:?} may")
        })
    }

    /// Checks that the reserve stays.
    fn reserve(&self) -> Result<(), Broken> {
        let picture = self.planned.picture;
        let reserved = self.planned.policy.pressure.reserved;
        if reserved == 0 {
            return Ok(());
        }
        let before = picture.needed(&BTreeSet::new(), By::AllButHolds).bytes();
        let after = picture.needed(&self.names, By::AllButHolds).bytes();
        hold(after >= reserved.min(before), || {
            format!("{after} bytes of {before} stay, and {reserved} are reserved")
        })
    }

    /// Checks that no image goes while a less recently used one stays that may go and would help.
    fn order(&self) -> Result<(), Broken> {
        if self.goals.is_none() {
            return Ok(());
        }
        let pressed = self.going.iter().filter(|it| !self.planned.is_idle(**it));
        let Some(latest) = pressed.max_by_key(|it| self.planned.last_used(**it)) else {
            return Ok(());
        };
        let used = self.planned.last_used(*latest);
        for image in self.left().filter(|it| self.planned.last_used(*it) < used) {
            hold(!self.would_help(image), || {
                let before = self.planned.last_used(image);
                format!("image {latest}, used {used}, goes and {image}, used {before}, stays")
            })?;
        }
        Ok(())
    }

    /// Checks that it stops as soon as the goals are met: without the last image they are not.
    fn stop(&self) -> Result<(), Broken> {
        if self.goals.is_none() {
            return Ok(());
        }
        let space = self.planned.space();
        let rank = |image: &ImageId| {
            let name = self.names_of(*image).into_iter().max();
            (self.planned.last_used(*image), space.pulled(*image), name)
        };
        let pressed = self.going.iter().filter(|it| !self.planned.is_idle(**it));
        let Some(last) = pressed.max_by_key(|it| rank(it)) else {
            return Ok(());
        };
        let others = &self.names - &self.names_of(*last);
        let freed = self.freed(&others);
        hold(!Self::is_met(self.least.as_ref(), &freed), || {
            format!("image {last} goes, and there would be enough without it")
        })
    }

    /// Checks that it does not stop before that, except at a cap.
    fn no_sooner(&self) -> Result<(), Broken> {
        let mut kept = self.report.kept.iter();
        let is_capped = kept.any(|it| it.reason == KeepReason::Capped);
        let is_spent = self.caps.0 == Some(self.going.len());
        if is_capped || is_spent {
            return Ok(());
        }
        let is_met =
            self.goals.is_some() && Self::is_met(self.goals.as_ref(), &self.freed(&self.names));
        for image in self.left() {
            let must = if self.goals.is_some() {
                self.planned.is_idle(image) || !is_met && self.would_help(image)
            } else {
                true
            };
            hold(!must, || {
                let names = self.names_of(image);
                let kept = self.report.kept.iter().find(|it| names.contains(&it.name));
                let reason = kept.map(|it| it.reason);
                format!("image {image} stays and should go: {reason:?}")
            })?;
        }
        Ok(())
    }
}

/// Whether this reaches all goals.
pub(super) fn is_met(goals: &[Goal], freed: &Needed) -> bool {
    let mut met = goals.iter().map(|goal| match goal.unit {
        GoalUnit::Bytes { block: 1 } => freed.bytes() >= goal.amount,
        GoalUnit::Bytes { .. } => freed.blocks() >= goal.amount,
        GoalUnit::Inodes => false,
    });
    met.all(|it| it)
}
