//! Which images a plan takes parts from, in which order, and where it stops.

use std::collections::BTreeSet;

use reclaim_maintenance::{PolicyRun, goals, outstanding};
use reclaim_model::{
    Cut, CutTarget, Digest, Goal, KeepReason, Part, PolicyPart, Report, SnapshotId,
};

use super::Planned;
use crate::diary::{Broken, hold};
use crate::picture::{By, Needed};
use crate::registry::{Image, ImageId, SNAPSHOTTER};

/// Checks a plan. `caps` are how many images and bytes may still go.
pub(crate) fn of_plan(
    planned: &Planned<'_>,
    run: &PolicyRun,
    report: &Report,
    caps: (Option<usize>, Option<u64>),
) -> Result<(), Broken> {
    let slim = Slim::new(planned, report);
    slim.only_its_part()?;
    slim.nothing_that_stays()?;
    slim.caps(caps)?;
    slim.never_both_copies()?;
    let is_whole = report.refused.is_empty() && report.failed.is_empty();
    if !planned.picture.is_clear || !is_whole {
        // A read that failed keeps more, and what was refused was planned.
        return Ok(());
    }
    slim.exact_bytes()?;
    slim.reserve()?;
    slim.each_frees_something()?;
    slim.order()?;
    slim.stop(run)
}

struct Slim<'a> {
    planned: &'a Planned<'a>,
    report: &'a Report,
    slimmed: BTreeSet<ImageId>,
}

impl<'a> Slim<'a> {
    fn new(planned: &'a Planned<'a>, report: &'a Report) -> Self {
        let registry = planned.registry;
        let targets = report.slimmed.iter().map(|it| it.target.to_string());
        let slimmed = targets.filter_map(|target| registry.image_of(&target));
        Self {
            planned,
            report,
            slimmed: slimmed.collect(),
        }
    }

    fn freed(&self, cuts: &[Cut]) -> Needed {
        let (picture, none) = (self.planned.picture, BTreeSet::new());
        let before = picture.needed(&none, By::Anything);
        before.without(&picture.needed_after(&none, cuts, By::Anything))
    }

    fn only_its_part(&self) -> Result<(), Broken> {
        let report = self.report;
        let part = report.part.and_then(PolicyPart::part);
        let is_its = report.cuts.iter().all(|cut| Some(cut.part) == part);
        hold(is_its && report.removed.is_empty(), || {
            format!("{part:?} was to go, and not {:?}", report.cuts)
        })
    }

    fn nothing_that_stays(&self) -> Result<(), Broken> {
        let is_snapshots = self.report.part == Some(PolicyPart::Snapshots);
        let records = self.planned.space().records.iter();
        for (name, record) in records.filter(|it| self.slimmed.contains(&it.1.image)) {
            let image = record.image;
            let is_used = self.planned.is_used(image);
            hold(!is_used || !is_snapshots, || {
                format!("{name} loses its snapshots: in use")
            })?;
            let is_allowed = match self.planned.why_stays(name, record) {
                None => true,
                // A registry has the layers, or they stay.
                Some("last copy") => is_snapshots || self.has_other_name(image),
                // By its pull alone, if it is in use.
                Some("too young") => is_used,
                Some("came back") => self.planned.is_just_pulled(image),
                Some("found unused once") => self.planned.picture.is_deaf,
                Some(_) => false,
            };
            hold(is_allowed, || {
                let why = self.planned.why_stays(name, record);
                format!("{name} loses {:?}: {why:?}", self.report.part)
            })?;
        }
        Ok(())
    }

    /// Whether a registry is known to have an image, by another name.
    fn has_other_name(&self, image: ImageId) -> bool {
        let records = self.planned.space().records.iter();
        let mut others = records.filter(|it| it.1.image == image);
        others.any(|(name, it)| self.planned.why_stays(name, it) != Some("last copy"))
    }

    fn caps(&self, (images, bytes): (Option<usize>, Option<u64>)) -> Result<(), Broken> {
        let n = self.slimmed.len();
        hold(images.is_none_or(|max| n <= max), || {
            format!("{n} images lose parts, and {images:?} may")
        })?;
        let planned = self.report.estimate.0.total_bytes();
        hold(bytes.is_none_or(|max| planned <= max), || {
            format!("{planned} bytes go, and {bytes:?} may")
        })
    }

    /// Checks that each image that loses parts still has each layer, compressed or unpacked.
    fn never_both_copies(&self) -> Result<(), Broken> {
        let (picture, none) = (self.planned.picture, BTreeSet::new());
        let after = picture.needed_after(&none, &self.report.cuts, By::AllButHolds);
        for image in &self.slimmed {
            let parts = &self.planned.registry.images[*image];
            let is_unpacked = after.has_snapshot(&picture.namespace, &parts.chain);
            let is_packed = parts.blobs().iter().all(|blob| after.has_blob(blob));
            hold(is_unpacked || is_packed, || {
                format!("image {image} loses both copies of a layer")
            })?;
        }
        Ok(())
    }

    /// Checks that the plan frees what it says.
    fn exact_bytes(&self) -> Result<(), Broken> {
        let found = self.freed(&self.report.cuts).bytes();
        let planned = self.report.estimate.0.total_bytes();
        hold(found == planned, || {
            format!("the plan frees {planned} bytes of parts, and {found} go")
        })
    }

    fn reserve(&self) -> Result<(), Broken> {
        let (picture, none) = (self.planned.picture, BTreeSet::new());
        let reserved = self.planned.policy.pressure.reserved;
        let lasting = |cuts: &[Cut]| picture.needed_after(&none, cuts, By::AllButHolds).bytes();
        let (before, after) = (lasting(&[]), lasting(&self.report.cuts));
        hold(after >= reserved.min(before), || {
            format!("{after} bytes of {before} stay, and {reserved} are reserved")
        })
    }

    /// Checks that each image that loses a part frees something with it.
    fn each_frees_something(&self) -> Result<(), Broken> {
        let all = self.freed(&self.report.cuts);
        for image in &self.slimmed {
            let others = self.without(*image);
            hold(self.freed(&others) != all, || {
                format!("image {image} loses a part and frees nothing")
            })?;
        }
        Ok(())
    }

    /// Returns the cuts without those of an image.
    fn without(&self, image: ImageId) -> Vec<Cut> {
        let target = self.planned.registry.images[image].digest();
        let of_image = self.report.slimmed.iter().filter(|it| it.target == target);
        let blobs = of_image.flat_map(|it| it.parts.values().flatten());
        let blobs: BTreeSet<&Digest> = blobs.collect();
        let cuts = self.report.cuts.iter();
        cuts.filter(|cut| !blobs.contains(&cut.blob))
            .cloned()
            .collect()
    }

    /// Checks that no image loses its snapshots while a less recently used one keeps them that may lose
    /// them and would free something.
    fn order(&self) -> Result<(), Broken> {
        let has_goals = self.planned.policy.pressure.is_any();
        if self.report.part != Some(PolicyPart::Snapshots) || !has_goals {
            return Ok(());
        }
        let planned = self.planned;
        let pressed = self.slimmed.iter().filter(|it| !planned.is_idle(**it));
        let Some(latest) = pressed.map(|it| planned.last_used(*it)).max() else {
            return Ok(());
        };
        let kept = self.report.kept.iter();
        let spared = kept.filter(|it| it.reason == KeepReason::NotNeeded);
        for kept in spared {
            let image = planned.registry.image_of(&kept.target.to_string());
            let image = image.filter(|it| planned.last_used(*it) < latest);
            let Some(image) = image else {
                continue;
            };
            let mut cuts = self.report.cuts.clone();
            cuts.extend(snapshot_cut(&planned.registry.images[image]));
            hold(self.freed(&cuts) == self.freed(&self.report.cuts), || {
                format!("image {image} keeps its snapshots, used before {latest}")
            })?;
        }
        Ok(())
    }

    /// Checks that it stops as soon as the goals are met: without the most recently used image they are
    /// not.
    fn stop(&self, run: &PolicyRun) -> Result<(), Broken> {
        let (planned, picture) = (self.planned, self.planned.picture);
        let pressure = &planned.policy.pressure;
        if !pressure.is_any() {
            return Ok(());
        }
        let space = planned.space();
        let rank = |image: &ImageId| {
            let records = space.records.iter().filter(|it| it.1.image == *image);
            let name = records.map(|it| it.0).max();
            (planned.last_used(*image), space.pulled(*image), name)
        };
        let pressed = self.slimmed.iter().filter(|it| !planned.is_idle(**it));
        let Some(last) = pressed.max_by_key(|it| rank(it)) else {
            return Ok(());
        };
        let mut filesystem = picture.filesystem.clone();
        filesystem.bytes.left += picture.late;
        let filesystems = [filesystem];
        let occupied = pressure.needs_occupied().then(|| picture.occupied());
        let missing = pressure.remain(&run.wanted, &filesystems, occupied);
        let goals: Vec<Goal> = goals(&outstanding(&missing, &[]), &filesystems);
        let freed = self.freed(&self.without(*last));
        let is_met = super::order::is_met(&goals, &freed);
        hold(!is_met, || {
            format!("image {last} loses a part, and there would be enough without it")
        })
    }
}

/// Returns the cut that frees the snapshots of an image.
fn snapshot_cut(image: &Image) -> Option<Cut> {
    Some(Cut {
        part: Part::Snapshots,
        blob: image.config.parse().ok()?,
        target: CutTarget::Snapshot(SnapshotId::new(SNAPSHOTTER, image.chain.as_str())),
    })
}
