//! Which images a maintenance policy removes, or a prune with conditions.
//!
//! First comes the evaluation of a prune with Docker's filters: what is used, pinned, protected or
//! unknown stays, whatever the policy says. Of the rest, the rules here keep more, and each names itself
//! as the holder. They only ever keep: no rule removes an image.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use reclaim_model::{
    Digest, Holder, HolderKind, ImageRecord, KeepReason, LastUse, LastUses, PruneFilters,
    Reference, RegistryAnswer, RegistryImage,
};

use crate::dependents::keep_for_dependents;
use crate::facts::Facts;
use crate::graph::{Graph, Node, NodeId};
use crate::last_copy::{has_repository, has_source};
use crate::select::{Verdict, keep_cri_group_whole, select};
use crate::targets::Target;

mod conditions;

pub(crate) use conditions::Conditions;

/// When the images of a target were used and pulled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Times {
    /// When it was last used, on the clock of [`LastUses`]; now, if that is unknown.
    pub(crate) used: Timestamp,
    /// When the last of its records was written, by the wall clock; now, if that is unknown.
    pub(crate) pulled: Timestamp,
}

/// How long after one check another counts as a second one. An engine that starts may list no
/// containers for that long.
const SECOND_CHECK: SignedDuration = SignedDuration::from_mins(1);

/// Whether two checks found a target unused: this one, and an earlier one since its last use. Below a
/// minute a rule needs no more time between them than it asks for.
pub(crate) fn is_seen_twice(target: &Digest, uses: &LastUses, idle: SignedDuration) -> bool {
    let seen = uses.targets.get(target).and_then(|seen| seen.unused_since);
    seen.is_some_and(|first| uses.now.duration_since(first) >= idle.min(SECOND_CHECK))
}

impl Times {
    pub(crate) fn of<'i>(
        target: &Digest,
        records: impl Iterator<Item = &'i ImageRecord>,
        uses: &LastUses,
        now: Timestamp,
    ) -> Self {
        let seen = uses.targets.get(target);
        let written = records.map(|it| it.created_at.max(it.updated_at).unwrap_or(now));
        Self {
            used: seen.map_or(uses.now, |seen| seen.last_used),
            pulled: written.max().unwrap_or(now),
        }
    }
}

/// Evaluates every image with Docker's filters and these conditions; the verdicts are in the order of the
/// images.
pub(crate) fn evaluate(
    facts: &Facts<'_>,
    filters: &PruneFilters,
    conditions: Conditions<'_>,
) -> Vec<Verdict> {
    let mut verdicts = select(facts, filters);
    let now = facts.graph.observed_at;
    let records = &facts.graph.namespace.images;
    let newest = newest(facts, conditions, now);
    for (_, target) in facts.targets.iter() {
        let rules = TargetRules {
            facts,
            conditions,
            target,
            now,
            is_newest: newest.contains(target.digest),
        };
        let of_all = rules.whole_target(false);
        for index in &target.images {
            let of_record = || rules.record(&records[*index]);
            if verdicts[*index].is_removal()
                && let Some((reason, rule)) = of_record()
                    .or_else(|| of_all.clone())
                    .or_else(|| rules.last_copy(*index))
            {
                let (reason, holders) = refusal((reason, rule));
                verdicts[*index] = Verdict::Keep(reason, holders);
            }
        }
        keep_cri_group_whole(&target.images, records, &mut verdicts);
    }
    keep_for_dependents(facts, &mut verdicts);
    verdicts
}

/// The reason why an image stays, and the key of the rule.
type KeptBy = Option<(KeepReason, String)>;

fn refusal((reason, rule): (KeepReason, String)) -> (KeepReason, BTreeSet<Holder>) {
    let holder = Holder::new(HolderKind::Rule, rule);
    (reason, BTreeSet::from([holder]))
}

/// The conditions of a request that frees parts of images.
pub(crate) struct PartRules<'p, 'a> {
    facts: &'p Facts<'a>,
    conditions: Conditions<'p>,
    newest: BTreeSet<&'a Digest>,
}

impl<'p, 'a> PartRules<'p, 'a> {
    pub(crate) fn new(facts: &'p Facts<'a>, conditions: Conditions<'p>) -> Self {
        Self {
            facts,
            conditions,
            newest: newest(facts, conditions, facts.graph.observed_at),
        }
    }

    fn of(&self, image: usize) -> TargetRules<'_, 'a> {
        let target = self.facts.targets.of_image(image);
        TargetRules {
            facts: self.facts,
            conditions: self.conditions,
            target,
            now: self.facts.graph.observed_at,
            is_newest: self.newest.contains(target.digest),
        }
    }

    /// Returns the rule that keeps an image whole.
    ///
    /// An image that is in use was used just now. Whether it may lose what its containers do not need
    /// depends on `unused_for`, and not on the time of use in `min_age`.
    pub(crate) fn keeps(
        &self,
        image: usize,
        is_used: bool,
    ) -> Option<(KeepReason, BTreeSet<Holder>)> {
        let rules = self.of(image);
        let kept = rules.record(&self.facts.graph.namespace.images[image]);
        kept.or_else(|| rules.whole_target(is_used)).map(refusal)
    }

    /// Returns the rule that keeps an image because it could not be pulled again.
    pub(crate) fn keeps_last_copy(&self, image: usize) -> Option<(KeepReason, BTreeSet<Holder>)> {
        self.of(image).last_copy(image).map(refusal)
    }
}

/// One target, and the rules that it is compared with.
struct TargetRules<'j, 'a> {
    facts: &'j Facts<'a>,
    conditions: Conditions<'j>,
    target: &'j Target<'a>,
    now: Timestamp,
    is_newest: bool,
}

impl TargetRules<'_, '_> {
    /// Applies the rules about one name.
    fn record(&self, image: &ImageRecord) -> KeptBy {
        let is_meant = self.conditions.filters.selects_name(&image.name);
        (!is_meant).then(|| self.spared_by_filter("reference"))
    }

    /// Applies the rules about what the names point at, apart from its sources.
    fn whole_target(&self, is_used: bool) -> KeptBy {
        let filters = self.conditions.filters;
        let digest = self.target.digest;
        if !filters.selects_target(digest) {
            return Some(self.spared_by_filter("digest"));
        }
        if filters.larger_than > 0 && content_bytes(&self.facts.graph, digest) < filters.larger_than
        {
            return Some(self.spared_by_filter("larger-than"));
        }
        self.age(is_used).or_else(|| {
            let newest = || self.kept(KeepReason::Newest, "keep_newest");
            self.is_newest.then(newest)
        })
    }

    /// Applies the rules about times.
    fn age(&self, is_used: bool) -> KeptBy {
        let Conditions { uses, idle, .. } = self.conditions;
        let records = self.target.images.iter();
        let records = records.map(|it| &self.facts.graph.namespace.images[*it]);
        let times = Times::of(self.target.digest, records, uses, self.now);
        let least = SignedDuration::try_from(self.conditions.min_age);
        let least = least.unwrap_or(SignedDuration::MAX);
        let known: Option<&LastUse> = uses.targets.get(self.target.digest);
        let unused = uses.now.duration_since(times.used);
        let seen = known.map_or(SignedDuration::ZERO, |seen| {
            uses.now.duration_since(seen.first_seen)
        });
        // The wall clock may have jumped since the records were written.
        let age = self.now.duration_since(times.pulled).min(seen);
        let age_or_idle = if is_used { age } else { age.min(unused) };
        if least.is_positive() && age_or_idle < least {
            return Some(self.kept(KeepReason::TooYoung, "min_age"));
        }
        if idle.is_positive() {
            if unused < idle {
                // For a policy, which runs again, unknown means now.
                let is_unknown = known.is_none() && self.conditions.policy.is_none();
                let key = if is_unknown {
                    "unused_for, last use unknown"
                } else {
                    "unused_for"
                };
                return Some(self.kept(KeepReason::UsedRecently, key));
            }
            if !is_seen_twice(self.target.digest, uses, idle) {
                let key = "unused_for, seen unused only once";
                return Some(self.kept(KeepReason::UsedRecently, key));
            }
        }
        let spared_until = known.and_then(|seen| seen.spared_until);
        if self.conditions.policy.is_some() && spared_until.is_some_and(|until| until > uses.now) {
            return Some(self.kept(KeepReason::Repulled, "re-pulled"));
        }
        None
    }

    /// Applies the rule about last copies: images that no registry is known to have.
    ///
    /// What a registry answered about an image replaces a source that is missing.
    fn last_copy(&self, image: usize) -> KeptBy {
        let registries = self.conditions.registries?;
        if has_source(self.facts, image) {
            return None;
        }
        let last_copy = || Some(self.kept(KeepReason::LastCopy, "last_copies"));
        let name = &self.facts.graph.namespace.images[image].name;
        let Ok(name) = Reference::parse_normalized(name) else {
            return last_copy();
        };
        let has_repository = has_repository(self.facts, image);
        let asked = RegistryImage::new(&name, self.target.digest);
        match registries.get(&asked).filter(|_| has_repository) {
            Some(RegistryAnswer::Has) => None,
            Some(RegistryAnswer::Unknown(why)) => {
                Some(self.kept(KeepReason::LastCopy, &format!("last_copies: {why}")))
            }
            None => last_copy(),
        }
    }

    fn kept(&self, reason: KeepReason, key: &str) -> (KeepReason, String) {
        (reason, self.conditions.named(key))
    }

    fn spared_by_filter(&self, key: &str) -> (KeepReason, String) {
        self.kept(KeepReason::RuleFilter, &format!("filters {key}"))
    }
}

/// Returns the targets that are among the newest of a repository.
fn newest<'a>(
    facts: &Facts<'a>,
    conditions: Conditions<'_>,
    now: Timestamp,
) -> BTreeSet<&'a Digest> {
    let mut newest = BTreeSet::new();
    if conditions.keep_newest == 0 {
        return newest;
    }
    let records = &facts.graph.namespace.images;
    let mut repositories: BTreeMap<String, BTreeSet<(Timestamp, &'a Digest)>> = BTreeMap::new();
    for (_, target) in facts.targets.iter() {
        let of_target = target.images.iter().map(|it| &records[*it]);
        let times = Times::of(target.digest, of_target, conditions.uses, now);
        let named = target.images.iter().filter(|it| facts.names.is_name(**it));
        for repository in named.filter_map(|it| repository(&records[*it])) {
            let targets = repositories.entry(repository).or_default();
            targets.insert((times.pulled, target.digest));
        }
    }
    for targets in repositories.values() {
        let latest = targets.iter().rev().take(conditions.keep_newest);
        newest.extend(latest.map(|(_, digest)| *digest));
    }
    newest
}

/// Returns the repository of a name. The CRI plugin's `sha256:<config>` reads like one, but is
/// not.
fn repository(image: &ImageRecord) -> Option<String> {
    if image.name.starts_with("sha256:") {
        return None;
    }
    let reference = Reference::parse_normalized(&image.name).ok()?;
    Some(reference.repository())
}

/// Returns the bytes of all content that a target keeps, including its own.
fn content_bytes(graph: &Graph<'_>, target: &Digest) -> u64 {
    let mut seen: BTreeSet<NodeId> = BTreeSet::new();
    let mut stack: Vec<NodeId> = graph.find_blob(target).into_iter().collect();
    let mut bytes = 0_u64;
    while let Some(id) = stack.pop() {
        if let Node::Blob(index) = graph.node(id)
            && seen.insert(id)
        {
            bytes = bytes.saturating_add(graph.blob(index).size);
            stack.extend(graph.kept_by(id));
        }
    }
    bytes
}
