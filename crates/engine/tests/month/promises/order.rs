//! What a plan takes, in which order, and where it stops.

use std::collections::{BTreeMap, BTreeSet};

use reclaim_model::{GoalUnit, KeepReason, Plan, RuleImages};

use super::Judged;
use crate::diary::{Broken, hold};
use crate::registry::ImageId;
use crate::world::Needed;

/// Everything that a plan promises.
pub(crate) fn of_plan(judged: &Judged<'_>, plan: &Plan, images: &RuleImages) -> Result<(), Broken> {
    let taken = Taken::new(judged, plan, images);
    taken.nothing_that_stays()?;
    taken.exact_bytes()?;
    taken.caps()?;
    taken.reserve()?;
    taken.order()?;
    taken.stop()?;
    taken.no_sooner()
}

/// What a plan takes.
struct Taken<'a> {
    judged: &'a Judged<'a>,
    plan: &'a Plan,
    images: &'a RuleImages,
    /// The names of the records that go.
    names: BTreeSet<String>,
    /// The images of which any record goes.
    going: BTreeSet<ImageId>,
    before: Needed,
}

impl<'a> Taken<'a> {
    fn new(judged: &'a Judged<'a>, plan: &'a Plan, images: &'a RuleImages) -> Self {
        let names: BTreeSet<String> = plan.steps.iter().map(|it| it.image.name.clone()).collect();
        let records = &judged.space().records;
        let going = names.iter().map(|it| records[it].image).collect();
        Self {
            judged,
            plan,
            images,
            names,
            going,
            before: judged.world.needed(&BTreeMap::new(), true),
        }
    }

    /// What goes if these records do.
    fn freed(&self, names: &BTreeSet<String>) -> Needed {
        let without = BTreeMap::from([(self.judged.namespace.clone(), names.clone())]);
        let after = self.judged.world.needed(&without, true);
        Needed {
            blobs: self
                .before
                .blobs
                .difference(&after.blobs)
                .copied()
                .collect(),
            snapshots: self
                .before
                .snapshots
                .difference(&after.snapshots)
                .cloned()
                .collect(),
        }
    }

    fn names_of(&self, image: ImageId) -> BTreeSet<String> {
        let records = self.judged.space().records.iter();
        let records = records.filter(|it| it.1.image == image);
        records.map(|it| it.0.clone()).collect()
    }

    /// Whether everything is met that the plan was to free.
    fn is_met(&self, freed: &Needed) -> bool {
        let goals = self.images.goals.iter().flatten();
        let world = self.judged.world;
        let mut met = goals.map(|goal| match goal.unit {
            GoalUnit::Bytes { block: 1 } => world.bytes(freed) >= goal.amount,
            GoalUnit::Bytes { .. } => world.blocks(freed) >= goal.amount,
            GoalUnit::Inodes => false,
        });
        met.all(|it| it)
    }

    /// Images that may go as a whole and do not.
    fn left(&self) -> impl Iterator<Item = ImageId> {
        let images = self.judged.space().images().into_iter();
        images.filter(|it| {
            let is_left = !self.going.contains(it) && self.judged.may_go(*it);
            is_left && !self.judged.is_vague(*it) && !self.is_said_to_be_spared(*it)
        })
    }

    /// Whether the daemon took a return for a re-pull of which only it can know.
    fn is_said_to_be_spared(&self, image: ImageId) -> bool {
        let target = &self.judged.world.registry.images[image].target;
        let uses = self.images.uses.0.get(target);
        uses.is_none_or(|it| it.spared_until.is_some())
    }

    /// Whether an image would free anything, with all that goes gone.
    fn would_help(&self, image: ImageId) -> bool {
        let more = &self.names | &self.names_of(image);
        self.freed(&more) != self.freed(&self.names)
    }

    fn nothing_that_stays(&self) -> Result<(), Broken> {
        let records = &self.judged.space().records;
        for name in &self.names {
            let record = &records[name];
            let why = self.judged.why_stays(name, record);
            let is_about_use = matches!(why, Some("too young" | "used lately"));
            let is_known = !(is_about_use && self.judged.is_vague(record.image));
            hold(why.is_none() || !is_known, || {
                format!("{name} goes: {}", why.unwrap_or_default())
            })?;
            let is_whole = self.names_of(record.image).is_subset(&self.names);
            hold(!is_whole || !self.judged.is_used(record.image), || {
                format!("{name} goes: in use")
            })?;
        }
        Ok(())
    }

    /// What the plan says that it frees is what goes.
    fn exact_bytes(&self) -> Result<(), Broken> {
        let found = self.judged.world.bytes(&self.freed(&self.names));
        let said = self.plan.freed.amount().total_bytes();
        hold(found == said, || {
            format!("the plan frees {said} bytes, and {found} go")
        })
    }

    fn caps(&self) -> Result<(), Broken> {
        let n = self.going.len();
        hold(self.images.max_images.is_none_or(|max| n <= max), || {
            format!("{n} images go, and {:?} may", self.images.max_images)
        })?;
        let bytes = self.plan.freed.amount().total_bytes();
        hold(self.images.max_bytes.is_none_or(|max| bytes <= max), || {
            format!("{bytes} bytes go, and {:?} may", self.images.max_bytes)
        })
    }

    /// What is needed does not go below what is reserved.
    fn reserve(&self) -> Result<(), Broken> {
        let world = self.judged.world;
        let reserved = self.judged.policy.pressure.reserved;
        if reserved == 0 || self.names.is_empty() {
            return Ok(());
        }
        let without = BTreeMap::from([(self.judged.namespace.clone(), self.names.clone())]);
        let before = world.lasting();
        let after = world.bytes(&world.needed(&without, false));
        let active = before - world.bytes(&world.needed(&BTreeMap::new(), false));
        let after = after + active;
        hold(after >= reserved.min(before), || {
            format!("{after} bytes of {before} stay, and {reserved} are reserved")
        })
    }

    /// No image goes while a less recently used one stays that may go and would help.
    fn order(&self) -> Result<(), Broken> {
        if self.images.goals.is_none() {
            return Ok(());
        }
        let pressed = self.going.iter().filter(|it| !self.judged.is_idle(**it));
        let Some(latest) = pressed.max_by_key(|it| self.judged.last_used(**it)) else {
            return Ok(());
        };
        let used = self.judged.last_used(*latest);
        for image in self.left().filter(|it| self.judged.last_used(*it) < used) {
            hold(!self.would_help(image), || {
                let before = self.judged.last_used(image);
                format!("image {latest}, used {used}, goes and {image}, used {before}, stays")
            })?;
        }
        Ok(())
    }

    /// It stops as soon as there is enough: without the last image there would not be.
    fn stop(&self) -> Result<(), Broken> {
        let is_vague = self.going.iter().any(|it| self.judged.is_vague(*it));
        if self.images.goals.is_none() || is_vague {
            return Ok(());
        }
        let space = self.judged.space();
        let rank = |image: &ImageId| {
            let name = self.names_of(*image).into_iter().max();
            (self.judged.last_used(*image), space.pulled(*image), name)
        };
        let pressed = self.going.iter().filter(|it| !self.judged.is_idle(**it));
        let Some(last) = pressed.max_by_key(|it| rank(it)) else {
            return Ok(());
        };
        let others = &self.names - &self.names_of(*last);
        hold(!self.is_met(&self.freed(&others)), || {
            format!("image {last} goes, and there would be enough without it")
        })
    }

    /// It does not stop before that, unless a cap says so.
    fn no_sooner(&self) -> Result<(), Broken> {
        let mut kept = self.plan.kept.iter();
        let is_capped = kept.any(|it| it.reason == KeepReason::Capped);
        let is_spent = self.images.max_images == Some(self.going.len());
        if is_capped || is_spent {
            return Ok(());
        }
        let is_met = self.images.goals.is_some() && self.is_met(&self.freed(&self.names));
        for image in self.left() {
            let must = if self.images.goals.is_some() {
                self.judged.is_idle(image) || !is_met && self.would_help(image)
            } else {
                true
            };
            hold(!must, || format!("image {image} stays and should go"))?;
        }
        Ok(())
    }
}
