//! The promises of the rules, checked by simpler code than the code under test.

mod order;
mod planned;
mod rhythm;
mod slims;

use std::collections::BTreeSet;

use reclaim_maintenance::{Policy, PolicyRun};
use reclaim_model::{Mode, PolicyPart, Report};

pub(crate) use order::of_plan;
pub(crate) use planned::Planned;
pub(crate) use rhythm::Rhythm;

use crate::diary::{Broken, hold};
use crate::host::Host;
use crate::picture::Picture;

/// Checks the rules of a run in each namespace, and its caps as a whole.
pub(crate) fn of_run(
    host: &Host,
    policy: &Policy,
    run: &PolicyRun,
    pictures: &[(Picture, Report)],
) -> Result<(), Broken> {
    let (mut images, mut bytes) = (policy.max_images, policy.max_bytes);
    for (picture, report) in pictures {
        let planned = Planned::new(picture, policy, &host.registry, &host.protection);
        if report.part == Some(PolicyPart::Images) {
            of_plan(&planned, run, report, (images, bytes))?;
        } else {
            slims::of_plan(&planned, run, report, (images, bytes))?;
        }
        images = images.map(|it| it.saturating_sub(targets(report)));
        bytes = bytes.map(|it| it.saturating_sub(taken_bytes(report)));
    }
    let reports = &run.reports;
    let removed: usize = reports.iter().map(targets).sum();
    hold(policy.max_images.is_none_or(|max| removed <= max), || {
        format!(
            "{removed} images went or lost parts, and {:?} may",
            policy.max_images
        )
    })?;
    let bytes: u64 = reports.iter().map(taken_bytes).sum();
    hold(policy.max_bytes.is_none_or(|max| bytes <= max), || {
        format!("{bytes} bytes went, and {:?} may", policy.max_bytes)
    })
}

/// Counts the images that a report removed or slimmed.
fn targets(report: &Report) -> usize {
    let removed = report.removed.iter().map(|it| &it.target);
    let slimmed = report.slimmed.iter().map(|it| &it.target);
    removed.chain(slimmed).collect::<BTreeSet<_>>().len()
}

/// Returns what a run frees, including what its hold still keeps.
fn taken_bytes(report: &Report) -> u64 {
    match (report.mode, report.held_until) {
        (Mode::Apply, None) => report.reclaimed.0.total_bytes(),
        (Mode::Apply | Mode::DryRun, _) => report.estimate.0.total_bytes(),
    }
}
