//! What became of the steps of a plan, sorted into its report. Pure.

use std::collections::BTreeSet;

use reclaim_model::{Failed, ImageRecord, Plan, RefuseReason, Refused, Report, Step, chain};
use reclaim_store::StoreError;
use tracing::warn;

use crate::preview::removed;
use crate::remove::Outcome;
use crate::second_look::{Looked, Wanted};

/// Sorts the outcomes, which are in the order of the steps, into the report.
pub(crate) fn record(report: &mut Report, plan: &Plan, outcomes: Vec<Outcome>) {
    for (step, outcome) in plan.steps.iter().zip(outcomes) {
        let name = step.image.name.clone();
        match outcome {
            Outcome::Removed => report.removed.push(removed(step)),
            Outcome::Refused(reason) => report.refused.push(Refused { name, reason }),
            Outcome::Failed(error) => {
                warn!(image = %name, %error, "image could not be removed");
                report.failed.push(Failed { name, error });
            }
        }
    }
}

/// Puts into the report what the second look came to. Returns what forbids to release.
pub(crate) fn record_look(report: &mut Report, plan: &Plan, looked: Looked) -> Option<StoreError> {
    let Looked {
        restored,
        gone,
        blind,
        stuck,
        lost,
    } = looked;
    report.unfinished = blind.or(report.unfinished.take());
    // Of a removal that failed, only a look can tell whether it was made.
    let made = |failed: &Failed| gone.contains(&failed.name);
    let made = report.failed.extract_if(.., |it| made(it));
    let made: BTreeSet<String> = made.map(|it| it.name).collect();
    let made = |step: &&Step| made.contains(&step.image.name);
    report
        .removed
        .extend(plan.steps.iter().filter(made).map(removed));
    strike_out(report, restored.iter().chain(&lost));
    for wanted in restored {
        record_restored(report, wanted);
    }
    for wanted in lost {
        warn!(image = %wanted.name, "image is needed and cannot be restored: its content is gone");
        report.failed.push(Failed {
            name: wanted.name,
            error: "restore image: its content is gone, because the run was away for longer than \
                    it is held; pull it again"
                .to_owned(),
        });
    }
    let (wanted, error) = stuck?;
    strike_out(report, [&wanted]);
    report.failed.push(Failed {
        name: wanted.name,
        error: chain(&error),
    });
    Some(error)
}

/// Moves what had to come back to the refused.
fn record_restored(report: &mut Report, wanted: Wanted) {
    if wanted.image.name != wanted.name {
        let Wanted { name, image, .. } = &wanted;
        let new = &image.name;
        report.warnings.push(format!(
            "image `{name}` is restored as `{new}`, because its name now points elsewhere"
        ));
    }
    report.refused.push(Refused {
        name: wanted.name,
        reason: RefuseReason::MustStay {
            reason: wanted.reason,
            holders: wanted.holders,
        },
    });
}

/// Takes records out of the outcomes, for which they have another.
fn strike_out<'w>(report: &mut Report, wanted: impl IntoIterator<Item = &'w Wanted>) {
    let names: BTreeSet<&str> = wanted.into_iter().map(|it| it.name.as_str()).collect();
    let stays = |name: &String| !names.contains(name.as_str());
    report.removed.retain(|removed| stays(&removed.name));
    report.failed.retain(|failed| stays(&failed.name));
}

/// The records that are removed, and those of which nobody can tell: a removal that failed may
/// have happened, and then somebody may need what it removed.
pub(crate) fn perhaps_gone(plan: &Plan, report: &Report) -> Vec<ImageRecord> {
    let failed: BTreeSet<&str> = report.failed.iter().map(|it| it.name.as_str()).collect();
    let images = plan.steps.iter().map(|step| &step.image);
    let failed = images.filter(|image| failed.contains(image.name.as_str()));
    removed_images(plan, report)
        .into_iter()
        .chain(failed.cloned())
        .collect()
}

/// The records of the steps that the report has as removed.
pub(crate) fn removed_images(plan: &Plan, report: &Report) -> Vec<ImageRecord> {
    let names: BTreeSet<&str> = report.removed.iter().map(|it| it.name.as_str()).collect();
    let images = plan.steps.iter().map(|step| &step.image);
    let removed = images.filter(|image| names.contains(image.name.as_str()));
    removed.cloned().collect()
}

#[cfg(test)]
mod tests {
    use reclaim_model::{KeepReason, Mode};

    use super::*;
    use crate::fixture::{kept, plan, step};
    use crate::preview::{blank_report, new_run};

    fn names<'r>(outcomes: impl IntoIterator<Item = &'r String>) -> Vec<&'r str> {
        outcomes.into_iter().map(String::as_str).collect()
    }

    fn wanted(name: &str, under: &str) -> Wanted {
        Wanted {
            name: name.to_owned(),
            image: step(under, '1').image,
            reason: KeepReason::InUse,
            holders: kept(name, '1').holders,
        }
    }

    /// Six steps: two were made, one was refused, and of three nobody can tell.
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
        let gone = perhaps_gone(&plan, &report);
        let gone = names(gone.iter().map(|it| &it.name));
        assert_eq!(gone, ["made", "used", "lost", "there", "vague"]);
    }

    #[test]
    fn a_look_tells_what_was_made_and_what_had_to_come_back() {
        let (plan, mut report) = reported();
        let looked = Looked {
            restored: vec![wanted("used", "used"), wanted("vague", "vague@sha256:1")],
            gone: ["lost", "made"].map(str::to_owned).into(),
            blind: Some("could not look".to_owned()),
            stuck: None,
            lost: Vec::new(),
        };
        assert!(record_look(&mut report, &plan, looked).is_none());
        assert_eq!(
            names(report.removed.iter().map(|it| &it.name)),
            ["made", "lost"]
        );
        // It is there all the same.
        assert_eq!(names(report.failed.iter().map(|it| &it.name)), ["there"]);
        let refused = names(report.refused.iter().map(|it| &it.name));
        assert_eq!(refused, ["refused", "used", "vague"]);
        assert_eq!(report.unfinished.as_deref(), Some("could not look"));
        // Only the one that could not have its name again is told of.
        let warnings = &report.warnings[..];
        let expected = "image `vague` is restored as `vague@sha256:1`, because its name now points \
                        elsewhere";
        assert_eq!(warnings, [expected]);
        let left = removed_images(&plan, &report);
        assert_eq!(names(left.iter().map(|it| &it.name)), ["lost", "made"]);
    }

    #[test]
    fn what_is_needed_and_has_no_content_has_failed() {
        let (plan, mut report) = reported();
        let looked = Looked {
            lost: vec![wanted("used", "used")],
            ..Looked::default()
        };
        assert!(record_look(&mut report, &plan, looked).is_none());
        assert_eq!(names(report.removed.iter().map(|it| &it.name)), ["made"]);
        let failed = report.failed.iter().find(|it| it.name == "used").unwrap();
        assert!(failed.error.contains("its content is gone"), "{failed:?}");
    }
}
