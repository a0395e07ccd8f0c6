//! Which images are protected from removal, and by which rule.

use std::collections::BTreeSet;

use reclaim_model::{Holder, HolderKind, KeepReason, LabelFilter};

use crate::facts::Facts;
use crate::select::Verdict;

/// Returns the rule that keeps an image, by its index.
pub(crate) fn keeps(facts: &Facts<'_>, index: usize) -> Option<Holder> {
    rule(facts, index, false)
}

/// Returns the rule that would keep an image, by its index, if the request did not lift the protection.
pub(crate) fn lifted(facts: &Facts<'_>, index: usize) -> Option<Holder> {
    rule(facts, index, true)
}

/// Keeps those of the records that are protected. Returns whether there is one.
pub(crate) fn keep_protected(facts: &Facts<'_>, group: &[usize], verdicts: &mut [Verdict]) -> bool {
    let mut keeps_any = false;
    for index in group {
        if verdicts[*index].is_removal()
            && let Some(rule) = keeps(facts, *index)
        {
            verdicts[*index] = Verdict::Keep(KeepReason::Protected, BTreeSet::from([rule]));
            keeps_any = true;
        }
    }
    keeps_any
}

/// Returns the rule that protects an image, if the request lifts the protection or not, as
/// `is_lifted` says.
fn rule(facts: &Facts<'_>, index: usize, is_lifted: bool) -> Option<Holder> {
    let protection = &facts.graph.namespace.protection;
    let key = (protection.is_lifted == is_lifted).then(|| key(facts, index));
    Some(Holder::new(HolderKind::Rule, key.flatten()?))
}

/// Returns the key of the configuration that protects an image.
fn key(facts: &Facts<'_>, index: usize) -> Option<String> {
    let namespace = facts.graph.namespace;
    let image = &namespace.images[index];
    if namespace.needs_for_pods(&image.name) {
        return Some("sandbox image of pods".to_owned());
    }
    let protection = &namespace.protection;
    let rules = &protection.rules;
    if let Some(key) = rules.of(&image.name, &image.labels) {
        return Some(key);
    }
    if let Some(name) = &protection.whole {
        return Some(format!("protect.namespaces {name}"));
    }
    if rules.digests.contains(&image.target.digest) {
        return Some("protect.digests".to_owned());
    }
    let contents = &facts.targets.of_image(index).contents;
    let may_have = |label: &&LabelFilter| {
        let mut configs = contents.configs.iter();
        contents.defect.is_some()
            || configs.any(|config| {
                label.matches(&config.labels) || config.may_have(&label.key, facts.label_keys)
            })
    };
    let label = rules.labels.iter().find(may_have)?;
    Some(format!("protect.labels {}", label.key))
}
