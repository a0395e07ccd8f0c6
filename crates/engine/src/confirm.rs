//! Restricts a plan to what the user confirmed.
//!
//! Minutes may pass between a preview and its confirmation. So the run plans again, and takes a step
//! only if it is in both plans.

use std::collections::{BTreeMap, BTreeSet};

use reclaim_model::{
    Cut, Digest, Inventory, KeepReason, Kept, Plan, RefuseReason, Refused, Slimmed, Step,
};

use reclaim_plan::keep_steps_for_dependents;

use crate::off_thread::{blocking, for_each_yielding};
use crate::preview::Preview;

/// A plan restricted to the confirmed steps.
pub(crate) struct Restricted {
    pub(crate) preview: Preview,
    pub(crate) refused: Vec<Refused>,
}

/// Keeps the confirmed steps of a plan, and refuses confirmed steps that it no longer has.
pub(crate) async fn restrict(mut preview: Preview, confirmed: Option<&Plan>) -> Restricted {
    let Some(confirmed) = confirmed else {
        return Restricted {
            preview,
            refused: Vec::new(),
        };
    };
    let mut targets: BTreeMap<String, Digest> = BTreeMap::new();
    for_each_yielding(&confirmed.steps, |step| {
        let image = &step.image;
        targets.insert(image.name.clone(), image.target.digest.clone());
    })
    .await;
    let cuts = confirmed.cuts.clone();
    for slimmed in &confirmed.slimmed {
        targets.insert(slimmed.name.clone(), slimmed.target.clone());
    }
    blocking(move || {
        let Preview { inventory, plan } = &mut preview;
        let refused = restrict_to(plan, inventory, &targets, &cuts);
        Restricted { preview, refused }
    })
    .await
}

/// Keeps the steps in `confirmed`, which has the target of each name. Returns the refused ones.
fn restrict_to(
    plan: &mut Plan,
    inventory: &Inventory,
    confirmed: &BTreeMap<String, Digest>,
    cuts: &[Cut],
) -> Vec<Refused> {
    let is_confirmed = |step: &Step| {
        let target = confirmed.get(&step.image.name);
        target.is_some_and(|target| *target == step.image.target.digest)
    };
    let (steps, new): (Vec<Step>, Vec<Step>) = std::mem::take(&mut plan.steps)
        .into_iter()
        .partition(is_confirmed);
    plan.steps = steps;
    plan.cuts.retain(|it| cuts.binary_search(it).is_ok());
    let is_confirmed = |it: &Slimmed| confirmed.get(&it.name) == Some(&it.target);
    let slimmed = std::mem::take(&mut plan.slimmed);
    let (slimmed, new_slimmed) = slimmed.into_iter().partition(is_confirmed);
    plan.slimmed = slimmed;
    let new = new
        .into_iter()
        .map(|step| (step.image.name, step.image.target.digest));
    let new_slimmed: Vec<Slimmed> = new_slimmed;
    let new_slimmed = new_slimmed.into_iter().map(|it| (it.name, it.target));
    let new: Vec<(String, Digest)> = new.chain(new_slimmed).collect();
    let moved: BTreeSet<String> = new.iter().map(|(name, _)| name.clone()).collect();
    plan.kept.extend(new.into_iter().map(|(name, target)| Kept {
        name,
        target,
        reason: KeepReason::NotConfirmed,
        holders: Vec::new(),
    }));
    plan.kept.sort_by(|a, b| a.name.cmp(&b.name));
    keep_steps_for_dependents(plan, inventory);
    let slimmed = plan.slimmed.iter().map(|it| it.name.as_str());
    let now: BTreeSet<&str> = names(&plan.steps).chain(slimmed).collect();
    let kept = plan.kept.iter().map(|kept| (kept.name.as_str(), kept));
    let kept: BTreeMap<&str, &Kept> = kept.collect();
    let refused = confirmed
        .iter()
        .filter(|(name, _)| !now.contains(name.as_str()))
        .map(|(name, target)| Refused {
            name: name.clone(),
            reason: if moved.contains(name) {
                RefuseReason::TargetMoved
            } else {
                why_refused(target, kept.get(name.as_str()).copied())
            },
        });
    refused.collect()
}

fn names(steps: &[Step]) -> impl Iterator<Item = &str> {
    steps.iter().map(|step| step.image.name.as_str())
}

/// Returns why an image that was confirmed with this target is refused.
fn why_refused(confirmed: &Digest, kept: Option<&Kept>) -> RefuseReason {
    match kept {
        None => RefuseReason::AlreadyGone,
        Some(kept) if kept.target != *confirmed => RefuseReason::TargetMoved,
        Some(kept) => RefuseReason::MustStay {
            reason: kept.reason,
            holders: kept.holders.clone(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{inventory, kept, plan, step};

    fn preview(steps: Vec<Step>, kept: Vec<Kept>) -> Preview {
        Preview {
            inventory: inventory(),
            plan: plan(steps, kept),
        }
    }

    #[tokio::test]
    async fn only_steps_in_both_plans_stay() {
        let shown = ["gone", "moved", "moved and used", "same", "used"];
        let shown = plan(shown.map(|it| step(it, '1')).into(), Vec::new());
        let steps = vec![step("moved", '2'), step("new", '1'), step("same", '1')];
        let stays = vec![kept("moved and used", '2'), kept("used", '1')];
        let Restricted { preview, refused } = restrict(preview(steps, stays), Some(&shown)).await;
        assert_eq!(preview.plan.steps, [step("same", '1')]);
        let reasons: Vec<_> = refused.iter().map(|it| (&*it.name, &it.reason)).collect();
        let used = kept("used", '1');
        let must_stay = RefuseReason::MustStay {
            reason: used.reason,
            holders: used.holders.clone(),
        };
        let expected = [
            ("gone", &RefuseReason::AlreadyGone),
            ("moved", &RefuseReason::TargetMoved),
            ("moved and used", &RefuseReason::TargetMoved),
            ("used", &must_stay),
        ];
        assert_eq!(reasons, expected);
        let not_confirmed = |name: &str, digit| Kept {
            reason: KeepReason::NotConfirmed,
            holders: Vec::new(),
            ..kept(name, digit)
        };
        let stays = [
            not_confirmed("moved", '2'),
            kept("moved and used", '2'),
            not_confirmed("new", '1'),
            used,
        ];
        assert_eq!(preview.plan.kept, stays);
    }

    #[tokio::test]
    async fn without_a_confirmation_all_steps_stay() {
        let Restricted { preview, refused } =
            restrict(preview(vec![step("a", '1')], Vec::new()), None).await;
        assert_eq!(preview.plan.steps, [step("a", '1')]);
        assert_eq!(refused, []);
    }
}
