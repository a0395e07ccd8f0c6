//! Checks for each image, rule by rule, whether it may go.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use reclaim_maintenance::Policy;
use reclaim_model::{LastUse, Protection};

use crate::picture::{Picture, Record, Space};
use crate::registry::{Image, ImageId, PRELOADED, Registry};

/// How long after an event the daemon is certain to have received it.
const AT_ONCE: SignedDuration = SignedDuration::from_secs(2);

/// How much of its last moments a killed daemon may have lost.
const SLACK: SignedDuration = SignedDuration::from_mins(2);

/// A plan of a policy, and the host when it was made.
#[derive(Debug)]
pub(crate) struct Planned<'a> {
    pub(crate) picture: &'a Picture,
    pub(crate) policy: &'a Policy,
    pub(crate) registry: &'a Registry,
    protection: &'a Protection,
    used: BTreeSet<ImageId>,
    newest: BTreeSet<ImageId>,
}

impl<'a> Planned<'a> {
    pub(crate) fn new(
        picture: &'a Picture,
        policy: &'a Policy,
        registry: &'a Registry,
        protection: &'a Protection,
    ) -> Self {
        let space = &picture.space;
        Self {
            picture,
            policy,
            registry,
            protection,
            used: space.used(),
            newest: newest(registry, space, policy.rule.keep_newest),
        }
    }

    pub(crate) fn space(&self) -> &Space {
        &self.picture.space
    }

    pub(crate) fn is_used(&self, image: ImageId) -> bool {
        self.used.contains(&image)
    }

    /// When an image was last used, as far as the daemon knows.
    pub(crate) fn last_used(&self, image: ImageId) -> Timestamp {
        let now = self.picture.uses.now;
        if self.is_used(image) {
            return now;
        }
        self.known(image).map_or(now, |it| it.last_used)
    }

    /// Whether a recent re-pull spares it, as far as the daemon knows.
    fn is_spared(&self, image: ImageId) -> bool {
        let until = self.known(image).and_then(|it| it.spared_until);
        until.is_some_and(|until| until > self.picture.uses.now)
    }

    /// Whether it was pulled at this very moment: the event may arrive after the plan is made.
    pub(crate) fn is_just_pulled(&self, image: ImageId) -> bool {
        let pulled = self.space().pulled(image);
        pulled.is_some_and(|pulled| pulled + AT_ONCE >= self.picture.now)
    }

    /// Returns the last use of an image in the daemon's index.
    pub(crate) fn known(&self, image: ImageId) -> Option<&LastUse> {
        let target = &self.registry.images[image].digest();
        self.picture.uses.targets.get(target)
    }

    /// Whether it was unused for so long that it goes without pressure.
    pub(crate) fn is_idle(&self, image: ImageId) -> bool {
        let max = self.policy.max_unused;
        max.is_some_and(|max| {
            let max = SignedDuration::try_from(max).expect("short");
            self.since_use(image) >= max && self.is_seen_twice(image, max)
        })
    }

    /// How long ago it was last used, as far as the daemon knows.
    fn since_use(&self, image: ImageId) -> SignedDuration {
        let now = self.picture.uses.now;
        now.duration_since(self.last_used(image))
    }

    /// Whether the daemon found it unused earlier, too: a minute ago, or as long as the rule asks.
    fn is_seen_twice(&self, image: ImageId, rule: SignedDuration) -> bool {
        let first = self.known(image).and_then(|seen| seen.unused_since);
        let between = rule.min(SignedDuration::from_mins(1));
        first.is_some_and(|first| self.picture.uses.now >= first + between)
    }

    /// Whether all records of an image may go.
    pub(crate) fn may_go(&self, image: ImageId) -> bool {
        let records = self.space().records.iter();
        let mut records = records.filter(|it| it.1.image == image);
        !self.is_used(image) && records.all(|(name, it)| self.why_stays(name, it).is_none())
    }

    /// Returns why an image goes too early by what really happened. The daemon may know a shorter
    /// time without use, and never a longer one.
    pub(crate) fn goes_too_soon(&self, image: ImageId) -> Option<String> {
        let idle = *self.picture.idle.get(&image)?;
        let rule = &self.policy.rule;
        let least = rule.unused_for.max(rule.filters.images.unused_for);
        let least = SignedDuration::try_from(least).expect("short");
        (idle + SLACK < least).then(|| format!("it was used {idle:#} ago, not {least:#}"))
    }

    /// Returns why a record stays, apart from its use.
    pub(crate) fn why_stays(&self, name: &str, record: &Record) -> Option<&'static str> {
        let image = &self.registry.images[record.image];
        let rule = &self.policy.rule;
        let least = |time: std::time::Duration| SignedDuration::try_from(time).expect("short");
        let pulled = self.space().pulled(record.image).expect("it is there");
        let since_pull = self.picture.now.duration_since(pulled);
        let since_use = self.since_use(record.image);
        let since_seen = self
            .known(record.image)
            .map_or(SignedDuration::ZERO, |seen| {
                self.picture.uses.now.duration_since(seen.first_seen)
            });
        let is_young = since_pull.min(since_use).min(since_seen) < least(rule.min_age);
        let idle = least(rule.unused_for.max(rule.filters.images.unused_for));
        let is_seen_twice = idle.is_zero() || self.is_seen_twice(record.image, idle);
        let is_last_copy = image.is_local || name.starts_with(PRELOADED);
        let reasons = [
            (self.is_protected(name, image), "protected"),
            (!rule.min_age.is_zero() && is_young, "too young"),
            (since_use < idle, "used lately"),
            (!is_seen_twice, "found unused once"),
            (self.newest.contains(&record.image), "newest"),
            (is_last_copy && !rule.last_copies, "last copy"),
            (self.is_spared(record.image), "came back"),
            (!self.matches(name, image), "filtered"),
        ];
        let mut reasons = reasons.into_iter().filter(|it| it.0);
        reasons.next().map(|it| it.1)
    }

    fn is_protected(&self, name: &str, image: &Image) -> bool {
        let repository = format!("docker.io/library/{}:", image.repository);
        let patterns = self.protection.references.iter().map(ToString::to_string);
        let mut patterns = patterns.filter_map(|it| it.strip_suffix('*').map(str::to_owned));
        self.protection.namespaces.contains(&self.picture.namespace)
            || self.protection.digests.contains(&image.digest())
            || name.starts_with(&repository) && patterns.any(|it| it == repository)
    }

    fn matches(&self, name: &str, image: &Image) -> bool {
        let references = &self.policy.rule.filters.images.references;
        let repository = format!("docker.io/library/{}:", image.repository);
        let mut patterns = references.iter().map(ToString::to_string);
        references.is_empty()
            || name.starts_with(&repository) && patterns.any(|it| it == format!("{repository}*"))
    }
}

/// The newest images of each repository.
fn newest(registry: &Registry, space: &Space, n: usize) -> BTreeSet<ImageId> {
    let mut repositories: BTreeMap<&str, BTreeSet<ImageId>> = BTreeMap::new();
    for (name, record) in &space.records {
        let name = name.split('@').next().unwrap_or(name);
        if let Some((place, tag)) = name.rsplit_once('/') {
            let tag = tag.rfind(':').unwrap_or(tag.len());
            let repository = &name[..place.len() + 1 + tag];
            repositories
                .entry(repository)
                .or_default()
                .insert(record.image);
        }
    }
    let mut newest = BTreeSet::new();
    for of_it in repositories.into_values() {
        let mut of_it: Vec<ImageId> = of_it.into_iter().collect();
        of_it.sort_by_key(|it| (space.pulled(*it), registry.images[*it].target.clone()));
        newest.extend(of_it.into_iter().rev().take(n));
    }
    newest
}
