//! Whether an image may go, image by image and rule by rule.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use reclaim_engine::Policy;
use reclaim_model::{Namespace, Protection};

use crate::memory::Memory;
use crate::month::Month;
use crate::registry::{Image, ImageId};
use crate::world::{Record, Space, World};

/// One namespace at the moment at which a policy judges it.
#[derive(Debug)]
pub(crate) struct Judged<'a> {
    pub(crate) world: &'a World,
    pub(crate) policy: &'a Policy,
    pub(crate) namespace: &'a Namespace,
    protection: &'a Protection,
    memory: &'a Memory,
    now: Timestamp,
    used: BTreeSet<ImageId>,
    newest: BTreeSet<ImageId>,
}

impl<'a> Judged<'a> {
    pub(crate) fn new(
        month: &'a Month,
        policy: &'a Policy,
        namespace: &'a Namespace,
        now: Timestamp,
    ) -> Self {
        let world = &month.world;
        let space = &world.spaces[namespace];
        Self {
            world,
            policy,
            namespace,
            protection: &month.protection,
            memory: &month.daemon.memory,
            now,
            used: space.used(),
            newest: newest(world, space, policy.rule.keep_newest),
        }
    }

    pub(crate) fn space(&self) -> &Space {
        &self.world.spaces[self.namespace]
    }

    pub(crate) fn is_used(&self, image: ImageId) -> bool {
        self.used.contains(&image)
    }

    /// Whether nobody can say what the daemon knows of its use.
    pub(crate) fn is_vague(&self, image: ImageId) -> bool {
        self.memory.is_vague(&(self.namespace.clone(), image))
    }

    /// When an image was used last.
    pub(crate) fn last_used(&self, image: ImageId) -> Timestamp {
        if self.is_used(image) {
            return self.now;
        }
        self.memory.used(&(self.namespace.clone(), image), self.now)
    }

    /// Whether nobody has used it for so long that it goes in any case.
    pub(crate) fn is_idle(&self, image: ImageId) -> bool {
        let idle = self.now.duration_since(self.last_used(image));
        let max = self.policy.max_unused;
        max.is_some_and(|max| idle >= SignedDuration::try_from(max).expect("short"))
    }

    /// Whether all records of an image may go.
    pub(crate) fn may_go(&self, image: ImageId) -> bool {
        let records = self.space().records.iter();
        let mut records = records.filter(|it| it.1.image == image);
        !self.is_used(image) && records.all(|(name, it)| self.why_stays(name, it).is_none())
    }

    /// Why a record stays, use apart.
    pub(crate) fn why_stays(&self, name: &str, record: &Record) -> Option<&'static str> {
        let image = &self.world.registry.images[record.image];
        let rule = &self.policy.rule;
        let least = |time: std::time::Duration| SignedDuration::try_from(time).expect("short");
        let pulled = self.space().pulled(record.image).expect("it is there");
        let since_pull = self.now.duration_since(pulled);
        let since_use = self.now.duration_since(self.last_used(record.image));
        let is_young = since_pull.min(since_use) < least(rule.min_age);
        let idle = rule.unused_for.max(rule.filters.unused_for);
        let key = (self.namespace.clone(), record.image);
        let reasons = [
            (self.is_protected(name, image), "protected"),
            (!rule.min_age.is_zero() && is_young, "too young"),
            (since_use < least(idle), "used lately"),
            (self.newest.contains(&record.image), "newest"),
            (image.is_local && !rule.last_copies, "last copy"),
            (self.memory.is_spared(&key, self.now), "came back"),
            (!self.matches(name, image), "filtered"),
        ];
        let mut reasons = reasons.into_iter().filter(|it| it.0);
        reasons.next().map(|it| it.1)
    }

    fn is_protected(&self, name: &str, image: &Image) -> bool {
        let repository = format!("docker.io/library/{}:", image.repository);
        let patterns = self.protection.references.iter().map(ToString::to_string);
        let mut patterns = patterns.filter_map(|it| it.strip_suffix('*').map(str::to_owned));
        self.protection.namespaces.contains(self.namespace)
            || self.protection.digests.contains(&image.target)
            || name.starts_with(&repository) && patterns.any(|it| it == repository)
    }

    fn matches(&self, name: &str, image: &Image) -> bool {
        let references = &self.policy.rule.filters.references;
        let repository = format!("docker.io/library/{}:", image.repository);
        let mut patterns = references.iter().map(ToString::to_string);
        references.is_empty()
            || name.starts_with(&repository) && patterns.any(|it| it == format!("{repository}*"))
    }
}

/// The newest images of each repository.
fn newest(world: &World, space: &Space, n: usize) -> BTreeSet<ImageId> {
    let images = &world.registry.images;
    let named = space.records.iter();
    let named: BTreeSet<ImageId> = named
        .filter(|(name, _)| name.contains("/library/"))
        .map(|(_, it)| it.image)
        .collect();
    let mut newest = BTreeSet::new();
    let repositories: BTreeSet<&str> = images.iter().map(|it| it.repository.as_str()).collect();
    for repository in repositories {
        let of_it = named
            .iter()
            .filter(|it| images[**it].repository == repository);
        let mut of_it: Vec<ImageId> = of_it.copied().collect();
        of_it.sort_by_key(|it| (space.pulled(*it), images[*it].target.clone()));
        newest.extend(of_it.into_iter().rev().take(n));
    }
    newest
}
