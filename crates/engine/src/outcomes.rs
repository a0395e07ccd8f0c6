//! Enters the outcomes of a plan's steps into the report. Pure.

use std::collections::{BTreeMap, BTreeSet};

use reclaim_model::{
    Cut, Digest, Failed, ImageRecord, Plan, RefuseReason, Refused, Report, Step, chain,
};
use reclaim_store::StoreError;
use tracing::warn;

use crate::preview::removed;
use crate::remove::Outcome;
use crate::second_look::{NeededRecord, SecondLook};

/// Enters the outcomes, which are in the order of the steps, into the report.
pub(crate) fn record(report: &mut Report, plan: &Plan, outcomes: Vec<Outcome>) {
    for (step, outcome) in plan.steps.iter().zip(outcomes) {
        let name = step.image.name.clone();
        match outcome {
            Outcome::Removed => report.removed.push(removed(step)),
            Outcome::Refused(reason) => report.refused.push(Refused { name, reason }),
            Outcome::Failed(error) => {
                warn!(image = %name, %error, "cannot remove image");
                report.failed.push(Failed { name, error });
            }
        }
    }
}

/// Enters the result of the second look into the report. Returns the error that forbids releasing
/// the hold, if any.
pub(crate) fn record_second_look(
    report: &mut Report,
    plan: &Plan,
    look: SecondLook,
) -> Option<StoreError> {
    let SecondLook {
        restored,
        gone,
        failure,
        not_written,
        lost,
    } = look;
    report.unfinished = failure.or(report.unfinished.take());
    // A failed delete may have taken effect; only listing again can tell.
    let took_effect: BTreeSet<String> = report
        .failed
        .extract_if(.., |failed| gone.contains(&failed.name))
        .map(|failed| failed.name)
        .collect();
    let took_effect = |step: &&Step| took_effect.contains(&step.image.name);
    report
        .removed
        .extend(plan.steps.iter().filter(took_effect).map(removed));
    drop_outcomes(report, restored.iter().chain(&lost));
    for record in restored {
        record_restored(report, record);
    }
    for record in lost {
        warn!(image = %record.name, "cannot restore a used image: its content is gone");
        report.failed.push(Failed {
            name: record.name,
            error:
                "restore image: its content is gone, because its hold has expired; pull it again"
                    .to_owned(),
        });
    }
    let (record, error) = not_written?;
    drop_outcomes(report, [&record]);
    report.failed.push(Failed {
        name: record.name,
        error: chain(&error),
    });
    Some(error)
}

/// What became of the cuts of a plan.
#[derive(Debug, Default)]
pub(crate) struct CutOutcomes {
    /// Those that were made, sorted.
    pub(crate) made: Vec<Cut>,
    /// The errors of removals, by the blob. Some may have been made nevertheless.
    pub(crate) failed: BTreeMap<Digest, String>,
    /// Why the run had to stop, if it had to: then those that are left out were not tried, or undone.
    pub(crate) stopped: Option<RefuseReason>,
}

impl CutOutcomes {
    /// Adds what became of further cuts.
    pub(crate) fn add(&mut self, other: Self) {
        self.made.extend(other.made);
        self.made.sort_unstable();
        self.failed.extend(other.failed);
        self.stopped = self.stopped.take().or(other.stopped);
    }
}

/// Enters the cuts of a plan into the report, and which images lost parts.
pub(crate) fn record_cuts(plan: &Plan, outcomes: CutOutcomes, report: &mut Report) {
    let CutOutcomes {
        made,
        failed,
        stopped,
    } = outcomes;
    let is_cut = |part, blob: &_| made.iter().any(|cut| cut.part == part && cut.blob == *blob);
    for planned in &plan.slimmed {
        let name = planned.name.clone();
        let mut stays = planned.parts.iter().flat_map(|(part, blobs)| {
            let blobs = blobs.iter().filter(|blob| !is_cut(*part, blob));
            blobs.filter_map(|blob| failed.get(blob))
        });
        if let Some(error) = stays.next() {
            let error = error.clone();
            report.failed.push(Failed { name, error });
            continue;
        }
        let mut slimmed = planned.clone();
        slimmed.parts.retain(|part, blobs| {
            blobs.retain(|blob| is_cut(*part, blob));
            !blobs.is_empty()
        });
        if slimmed.parts.is_empty() {
            let reason = stopped.clone().unwrap_or(RefuseReason::PartsStay);
            report.refused.push(Refused { name, reason });
        } else {
            report.slimmed.push(slimmed);
        }
    }
    report.cuts = made;
}

/// Enters a restored record as refused.
fn record_restored(report: &mut Report, record: NeededRecord) {
    if record.image.name != record.name {
        let NeededRecord { name, image, .. } = &record;
        let new = &image.name;
        report.warnings.push(format!(
            "image `{name}` is restored as `{new}`, because its name now points elsewhere"
        ));
    }
    report.refused.push(Refused {
        name: record.name,
        reason: RefuseReason::MustStay {
            reason: record.reason,
            holders: record.holders,
        },
    });
}

/// Removes the earlier outcomes of records, before they get another.
fn drop_outcomes<'r>(report: &mut Report, records: impl IntoIterator<Item = &'r NeededRecord>) {
    let names: BTreeSet<&str> = records.into_iter().map(|it| it.name.as_str()).collect();
    let stays = |name: &String| !names.contains(name.as_str());
    report.removed.retain(|removed| stays(&removed.name));
    report.failed.retain(|failed| stays(&failed.name));
}

/// Returns the removed records and those whose removal failed, because a failed removal may have
/// taken effect.
pub(crate) fn possibly_removed(plan: &Plan, report: &Report) -> Vec<ImageRecord> {
    let failed: BTreeSet<&str> = report.failed.iter().map(|it| it.name.as_str()).collect();
    let images = plan.steps.iter().map(|step| &step.image);
    let failed = images.filter(|image| failed.contains(image.name.as_str()));
    removed_images(plan, report)
        .into_iter()
        .chain(failed.cloned())
        .collect()
}

/// Returns the records that the report lists as removed.
pub(crate) fn removed_images(plan: &Plan, report: &Report) -> Vec<ImageRecord> {
    let names: BTreeSet<&str> = report.removed.iter().map(|it| it.name.as_str()).collect();
    let images = plan.steps.iter().map(|step| &step.image);
    let removed = images.filter(|image| names.contains(image.name.as_str()));
    removed.cloned().collect()
}

#[cfg(test)]
mod tests {
    use reclaim_model::{CutTarget, KeepReason, Mode, Part, Slimmed};

    use super::*;
    use crate::fixture::{digest, kept, plan, step};
    use crate::preview::{blank_report, new_run};

    fn names<'r>(outcomes: impl IntoIterator<Item = &'r String>) -> Vec<&'r str> {
        outcomes.into_iter().map(String::as_str).collect()
    }

    fn needed(name: &str, under: &str) -> NeededRecord {
        NeededRecord {
            name: name.to_owned(),
            image: step(under, '1').image,
            reason: KeepReason::InUse,
            holders: kept(name, '1').holders,
        }
    }

    /// Six steps: two removed, one refused, three failed.
    fn reported() -> (Plan, Report) {
        let steps = ["lost", "made", "refused", "there", "used", "vague"];
        let plan = plan(steps.map(|it| step(it, '1')).into(), Vec::new());
        let mut report = blank_report(new_run(), Mode::Apply, &plan);
        let failed = || Outcome::Failed("no answer".to_owned());
        let outcomes = vec![
            failed(),
            Outcome::Removed,
            Outcome::Refused(RefuseReason::TargetMoved),
            failed(),
            Outcome::Removed,
            failed(),
        ];
        record(&mut report, &plan, outcomes);
        (plan, report)
    }

    #[test]
    fn each_step_has_one_outcome() {
        let (plan, report) = reported();
        assert_eq!(
            names(report.removed.iter().map(|it| &it.name)),
            ["made", "used"]
        );
        assert_eq!(names(report.refused.iter().map(|it| &it.name)), ["refused"]);
        assert_eq!(
            names(report.failed.iter().map(|it| &it.name)),
            ["lost", "there", "vague"]
        );
        let gone = possibly_removed(&plan, &report);
        let gone = names(gone.iter().map(|it| &it.name));
        assert_eq!(gone, ["made", "used", "lost", "there", "vague"]);
    }

    #[test]
    fn the_second_look_settles_failed_removals_and_restores() {
        let (plan, mut report) = reported();
        let look = SecondLook {
            restored: vec![needed("used", "used"), needed("vague", "vague@sha256:1")],
            gone: ["lost", "made"].map(str::to_owned).into(),
            failure: Some("could not look".to_owned()),
            not_written: None,
            lost: Vec::new(),
        };
        assert!(record_second_look(&mut report, &plan, look).is_none());
        assert_eq!(
            names(report.removed.iter().map(|it| &it.name)),
            ["made", "lost"]
        );
        // It still exists.
        assert_eq!(names(report.failed.iter().map(|it| &it.name)), ["there"]);
        let refused = names(report.refused.iter().map(|it| &it.name));
        assert_eq!(refused, ["refused", "used", "vague"]);
        assert_eq!(report.unfinished.as_deref(), Some("could not look"));
        // Only the record that lost its name is in a warning.
        let warnings = &report.warnings[..];
        let expected = "image `vague` is restored as `vague@sha256:1`, because its name now points \
                        elsewhere";
        assert_eq!(warnings, [expected]);
        let left = removed_images(&plan, &report);
        assert_eq!(names(left.iter().map(|it| &it.name)), ["lost", "made"]);
    }

    /// An image that loses layers of the manifests with these digits.
    fn slimmed(name: &str, digits: &str) -> Slimmed {
        Slimmed {
            name: name.to_owned(),
            target: digest('0'),
            parts: [(Part::Layers, digits.chars().map(digest).collect())].into(),
            lifted: None,
        }
    }

    fn cut(digit: char) -> Cut {
        Cut {
            part: Part::Layers,
            blob: digest(digit),
            target: CutTarget::Content {
                digest: digest('f'),
            },
        }
    }

    #[test]
    fn each_slimmed_image_has_one_outcome() {
        let plan = Plan {
            slimmed: vec![
                slimmed("cut", "1"),
                slimmed("failed", "12"),
                slimmed("partly", "13"),
                slimmed("stays", "3"),
            ],
            ..plan(Vec::new(), Vec::new())
        };
        for (stopped, reason) in [
            (None, RefuseReason::PartsStay),
            (Some(RefuseReason::Cancelled), RefuseReason::Cancelled),
        ] {
            let mut report = blank_report(new_run(), Mode::Apply, &plan);
            let outcomes = CutOutcomes {
                made: vec![cut('1')],
                // The first has taken effect.
                failed: ['1', '2']
                    .map(|it| (digest(it), "no answer".to_owned()))
                    .into(),
                stopped,
            };
            record_cuts(&plan, outcomes, &mut report);
            assert_eq!(
                report.slimmed,
                [slimmed("cut", "1"), slimmed("partly", "1")]
            );
            assert_eq!(names(report.failed.iter().map(|it| &it.name)), ["failed"]);
            assert!(report.is_partial());
            let name = "stays".to_owned();
            assert_eq!(report.refused, [Refused { name, reason }]);
            assert_eq!(report.cuts, [cut('1')]);
        }
    }

    #[test]
    fn a_used_image_without_content_is_a_failure() {
        let (plan, mut report) = reported();
        let look = SecondLook {
            lost: vec![needed("used", "used")],
            ..SecondLook::default()
        };
        assert!(record_second_look(&mut report, &plan, look).is_none());
        assert_eq!(names(report.removed.iter().map(|it| &it.name)), ["made"]);
        let failed = report.failed.iter().find(|it| it.name == "used").unwrap();
        assert!(failed.error.contains("its content is gone"), "{failed:?}");
    }
}
