//! Carrying out what was shown, and nothing else.
//!
//! Between a preview and its confirmation a person may take minutes. The store is judged again
//! then, and a step is taken only if both judgements agree on it.

use std::collections::BTreeMap;

use reclaim_model::{KeepReason, Kept, Plan, RefuseReason, Refused, Step};

use crate::preview::Preview;

/// A plan cut down to what was confirmed.
pub(crate) struct Restricted {
    pub(crate) preview: Preview,
    pub(crate) refused: Vec<Refused>,
}

/// Keeps of a plan the steps that were shown, and refuses what was shown and is none any more.
pub(crate) fn restrict(mut preview: Preview, confirmed: Option<&Plan>) -> Restricted {
    let mut refused = Vec::new();
    if let Some(confirmed) = confirmed {
        let shown = by_name(confirmed);
        let plan = &mut preview.plan;
        let was_shown = |step: &Step| {
            let shown = shown.get(step.image.name.as_str());
            shown.is_some_and(|shown| shown.image.target.digest == step.image.target.digest)
        };
        let (steps, new): (Vec<Step>, Vec<Step>) = std::mem::take(&mut plan.steps)
            .into_iter()
            .partition(was_shown);
        plan.steps = steps;
        let were_shown = &confirmed.unpins;
        plan.unpins.retain(|it| were_shown.contains(it));
        let now = by_name(plan);
        let lost = confirmed.steps.iter();
        let lost = lost.filter(|step| !now.contains_key(step.image.name.as_str()));
        refused.extend(lost.map(|step| Refused {
            name: step.image.name.clone(),
            reason: why_lost(step, plan, &new),
        }));
        plan.kept.extend(new.into_iter().map(|step| Kept {
            name: step.image.name,
            target: step.image.target.digest,
            reason: KeepReason::NotConfirmed,
            holders: Vec::new(),
        }));
        plan.kept.sort_by(|a, b| a.name.cmp(&b.name));
    }
    Restricted { preview, refused }
}

fn by_name(plan: &Plan) -> BTreeMap<&str, &Step> {
    let steps = plan.steps.iter();
    steps.map(|step| (step.image.name.as_str(), step)).collect()
}

fn why_lost(shown: &Step, plan: &Plan, new: &[Step]) -> RefuseReason {
    let name = &shown.image.name;
    if new.iter().any(|step| step.image.name == *name) {
        return RefuseReason::TargetMoved;
    }
    match plan.kept.iter().find(|kept| kept.name == *name) {
        None => RefuseReason::AlreadyGone,
        Some(kept) if kept.target != shown.image.target.digest => RefuseReason::TargetMoved,
        Some(kept) => RefuseReason::MustStay(kept.reason, kept.holders.clone()),
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

    #[test]
    fn only_what_both_judgements_agree_on_is_done() {
        let shown = ["gone", "moved", "moved and used", "same", "used"];
        let shown = plan(shown.map(|it| step(it, '1')).into(), Vec::new());
        let steps = vec![step("moved", '2'), step("new", '1'), step("same", '1')];
        let stays = vec![kept("moved and used", '2'), kept("used", '1')];
        let Restricted { preview, refused } = restrict(preview(steps, stays), Some(&shown));
        assert_eq!(preview.plan.steps, [step("same", '1')]);
        let reasons: Vec<_> = refused.iter().map(|it| (&*it.name, &it.reason)).collect();
        let used = kept("used", '1');
        let must_stay = RefuseReason::MustStay(used.reason, used.holders.clone());
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

    #[test]
    fn without_a_confirmation_everything_is_done() {
        let Restricted { preview, refused } =
            restrict(preview(vec![step("a", '1')], Vec::new()), None);
        assert_eq!(preview.plan.steps, [step("a", '1')]);
        assert_eq!(refused, []);
    }
}
