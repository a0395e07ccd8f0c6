//! Which images go when a request names them: Docker's rule for untagging and deleting.
//!
//! A name removes only that name as long as the image has another; the last one removes the
//! image, unless a container uses it. An ID removes the image with all its names, and if the ID
//! is a configuration that several targets have, all of these go or none. `force` overrules most
//! conflicts, but never takes from a container what it needs: the image then loses its name and
//! stays without one.
//!
//! Several names are handled in order, each in the state that the ones before it left, so one
//! run with many names does the same as many calls.
//!
//! Source: moby, `daemon/containerd/image_delete.go`; `docs/differences-from-docker.md` lists
//! where and why we differ.

mod dependents;
mod ids;
mod lookup;
mod pins;
mod same;
mod users;

use std::cell::LazyCell;
use std::collections::{BTreeMap, BTreeSet};

use reclaim_model::{
    Conflict, ConflictCause, Container, Digest, Holder, IdPrefix, ImageRecord, KeepReason, Named,
    NamedImages, NamedRemoval, NotRemoved, Reference, RemoveReason, familiar_name,
};

use crate::dependents::Dependents;
use crate::facts::Facts;
use crate::protected::{self, keep_protected};
use crate::select::{Verdict, best, keep_cri_group_whole, pinned_by};
pub(crate) use ids::{ids_of_targets, matching};
use lookup::{Found, Meaning, lookup};
pub(crate) use lookup::{exists, find};
pub(crate) use pins::group;
pub use pins::pin_group;
use same::same_references;
use users::{User, UserKind, users};

/// How many hexadecimal characters of an ID Docker shows.
const SHORT_ID: usize = 12;

/// Evaluates every image by the names of the request, in the order of the images, and returns the
/// result for each name.
pub(crate) fn named(
    facts: &Facts<'_>,
    registered: &[Container],
    request: &NamedImages,
) -> (Vec<Verdict>, Vec<Named>) {
    let images = &facts.graph.namespace.images;
    // Most requests name no configuration.
    let ids = &LazyCell::new(|| ids_of_targets(facts));
    let ids = |prefix: &IdPrefix| matching(ids, prefix);
    let mut removal = Removal {
        facts,
        registered,
        request,
        images,
        dependents: Dependents::new(&facts.graph),
        verdicts: vec![Verdict::Keep(KeepReason::NotNamed, BTreeSet::new()); images.len()],
    };
    let names = request.names.iter();
    let results = names
        .map(|name| Named::new(name, removal.remove(name, ids)))
        .collect();
    (removal.verdicts, results)
}

/// Evaluates whether records that were removed by name may stay removed: a target in use must keep
/// a record that does not expire. Verdicts are in the order of the images, and only those of
/// `removed` may be removals.
pub(crate) fn still_removed(
    facts: &Facts<'_>,
    registered: &[Container],
    removed: &BTreeSet<&str>,
    is_forced: bool,
) -> Vec<Verdict> {
    let images = &facts.graph.namespace.images;
    let verdicts = images.iter().map(|image| {
        if removed.contains(image.name.as_str()) {
            Verdict::Remove(RemoveReason::Named)
        } else {
            Verdict::Keep(KeepReason::NotNamed, BTreeSet::new())
        }
    });
    let mut verdicts: Vec<Verdict> = verdicts.collect();
    for (_, target) in facts.targets.iter() {
        let group = &target.images;
        // The configuration may have been reloaded since the plan.
        if keep_protected(facts, group, &mut verdicts) {
            keep_cri_group_whole(group, images, &mut verdicts);
        }
        let lasts = |it: &usize| !verdicts[*it].is_removal() && images[*it].expires.is_none();
        let same = facts.targets.of_digest(group[0]);
        if same
            .clone()
            .any(|it| facts.targets.get(it).images.iter().any(lasts))
        {
            continue;
        }
        let users = users(facts, registered, group[0], is_forced);
        let gone = group.iter().filter(|it| verdicts[**it].is_removal());
        if let Some(best) = best(gone, images, &facts.names)
            && !users.is_empty()
        {
            verdicts[best] = Verdict::Keep(KeepReason::InUse, holders(&users));
            keep_cri_group_whole(group, images, &mut verdicts);
        }
    }
    verdicts
}

struct Removal<'c, 'a> {
    facts: &'c Facts<'a>,
    registered: &'c [Container],
    request: &'c NamedImages,
    images: &'a [ImageRecord],
    dependents: Option<Dependents<'c, 'a>>,
    verdicts: Vec<Verdict>,
}

impl Removal<'_, '_> {
    fn remove(
        &mut self,
        text: &str,
        ids: impl Fn(&IdPrefix) -> Vec<(Digest, Digest)>,
    ) -> Result<NamedRemoval, NotRemoved> {
        let there = |index: usize| !self.verdicts[index].is_removal();
        let found = match lookup(self.images, there, ids, text) {
            Err(NotRemoved::NoSuchImage(_)) if self.went_along(text) => {
                return Ok(NamedRemoval::default());
            }
            found => found?,
        };
        let Found { record, all, .. } = &found;
        match (&found.meaning, record) {
            (Meaning::Name, Some(record)) => {
                let name = &self.images[*record].name;
                let reference = Reference::parse_normalized(name).ok();
                let same = match reference.filter(|it| it.to_string() == *name) {
                    Some(reference) => same_references(Some(&reference), all, self.images),
                    // It has nothing in common with any reference.
                    None => vec![*record],
                };
                if !self.goes_whole(&same, all) {
                    return self.untag(same, all, &familiar_name(name));
                }
                let removed = self.remove_last(*record, all)?;
                self.mark_dependents(&same, all);
                Ok(removed)
            }
            (Meaning::Repository(reference), _) => {
                let same = same_references(Some(reference), all, self.images);
                if same.is_empty() {
                    Err(NotRemoved::NoSuchImage(reference.familiar()))
                } else if self.goes_whole(&same, all) {
                    let removed = self.delete(all, false)?;
                    self.mark_dependents(&same, all);
                    Ok(removed)
                } else {
                    self.untag(same, all, &reference.familiar())
                }
            }
            (Meaning::Id, _) | (Meaning::Name, None) => {
                let is_one = same_references(None, all, self.images).len() == all.len();
                self.delete_all(text, all, !is_one && !self.request.force)
            }
        }
    }

    /// Removes some names of an image that keeps others.
    fn untag(
        &mut self,
        mut same: Vec<usize>,
        all: &[usize],
        shown: &str,
    ) -> Result<NamedRemoval, NotRemoved> {
        self.spare_cri_id(&mut same, all);
        self.demand_unpinned(&same, shown)?;
        let lasts = |it: &usize| !same.contains(it) && self.images[*it].expires.is_none();
        let users = self.users(all);
        let is_enough = all.iter().any(lasts) || users.is_empty();
        if !is_enough && !self.request.force {
            return Err(self.conflict(all, &users, shown));
        }
        let mut removal = if is_enough {
            self.remove_records(&same, None)?
        } else {
            self.remove_names(&same, all, &users, shown)?
        };
        // Docker also shows the name that stands for a missing one here.
        let names = removal.records.iter();
        removal.untagged = names.map(|name| familiar_name(name)).collect();
        Ok(removal)
    }

    /// Removes the last name of an image, and the image with it.
    fn remove_last(&mut self, record: usize, all: &[usize]) -> Result<NamedRemoval, NotRemoved> {
        let users = self.users(all);
        let shown = familiar_name(&self.images[record].name);
        if users.is_empty() {
            self.demand_unpinned(all, &shown)?;
            return self.delete(all, false);
        }
        if !self.request.force {
            return Err(self.conflict(all, &users, &shown));
        }
        self.remove_names(&[record], all, &users, &shown)
    }

    /// Removes every target of an ID with all its names, or none of them.
    fn delete_all(
        &mut self,
        text: &str,
        all: &[usize],
        must_be_one: bool,
    ) -> Result<NamedRemoval, NotRemoved> {
        let mut by_target: BTreeMap<&Digest, Vec<usize>> = BTreeMap::new();
        for index in all {
            let target = &self.images[*index].target.digest;
            by_target.entry(target).or_default().push(*index);
        }
        if by_target.len() == 1 {
            return self.delete(all, must_be_one);
        }
        let before = self.verdicts.clone();
        let mut removal = NamedRemoval::default();
        for group in by_target.values() {
            match self.delete(group, must_be_one) {
                Ok(mut part) => {
                    removal.records.append(&mut part.records);
                    removal.untagged.append(&mut part.untagged);
                    removal.deleted.append(&mut part.deleted);
                }
                Err(error) => {
                    let verdict = self.verdicts[group[0]].clone();
                    self.verdicts = before;
                    if let Verdict::Keep(reason, holders) = verdict {
                        self.spare(all, reason, &holders);
                    }
                    return Err(self.with_names(error, text, all));
                }
            }
        }
        Ok(removal)
    }

    /// Names the images in a conflict over an ID that several targets have.
    fn with_names(&self, error: NotRemoved, id: &str, all: &[usize]) -> NotRemoved {
        let NotRemoved::Conflict(conflict) = error else {
            return error;
        };
        let hex = id.rsplit(':').next().unwrap_or(id);
        let shown: String = hex.chars().take(SHORT_ID).collect();
        let names = all.iter().map(|it| familiar_name(&self.images[*it].name));
        let names: Vec<String> = names.collect();
        NotRemoved::Conflict(Conflict {
            image: format!("{shown} ({})", names.join(", ")),
            ..conflict
        })
    }

    /// Removes a target with all its names.
    fn delete(&mut self, all: &[usize], must_be_one: bool) -> Result<NamedRemoval, NotRemoved> {
        let digest = &self.images[all[0]].target.digest;
        let shown: String = digest.hex().chars().take(SHORT_ID).collect();
        let users = self.users(all);
        let dangling = |it: &&usize| self.facts.names.is_dangling(**it);
        let is_nameless = all.iter().filter(dangling).count() == all.len();
        if let Some(user) = users.first() {
            // An image without a name has none to lose; its users would lose the image.
            let can_be_forced = user.kind != UserKind::Running && !is_nameless;
            if !can_be_forced || !self.request.force {
                self.spare(all, KeepReason::InUse, &holders(&users));
                return Err(NotRemoved::Conflict(Conflict {
                    image: shown,
                    can_be_forced,
                    cause: user.cause(),
                }));
            }
        }
        if must_be_one {
            self.spare(all, KeepReason::NotForced, &BTreeSet::new());
            return Err(NotRemoved::Conflict(Conflict {
                image: shown,
                can_be_forced: true,
                cause: ConflictCause::MultipleRepositories,
            }));
        }
        self.demand_unpinned(all, &shown)?;
        let is_parent = !is_nameless && all.len() == 1 && self.has_child(digest);
        if users.is_empty() && !is_parent {
            let mut removal = self.remove_records(all, None)?;
            removal.deleted.push(digest.clone());
            self.remove_parents(all[0], &mut removal);
            return Ok(removal);
        }
        self.remove_names(all, all, &users, &shown)
    }

    /// Removes names of an image that is needed. It stays by a record that does not expire: one
    /// that does not go, one that is not a name, or else the nameless double of one that goes.
    fn remove_names(
        &mut self,
        going: &[usize],
        all: &[usize],
        users: &[User],
        shown: &str,
    ) -> Result<NamedRemoval, NotRemoved> {
        let lasts = |it: &usize| self.images[*it].expires.is_none();
        if all.iter().any(|it| !going.contains(it) && lasts(it)) {
            return self.remove_records(going, None);
        }
        let is_nameless = |it: &usize| self.facts.names.is_dangling(*it);
        let (nameless, names): (Vec<usize>, Vec<usize>) =
            going.iter().partition(|it| is_nameless(it));
        let stays = nameless.iter().any(lasts);
        let double = self.images[going[0]].without_name().name;
        let is_taken = self.images.iter().any(|image| image.name == double);
        if names.is_empty() || !stays && is_taken {
            // An image without a name has none to lose; its users would lose the image.
            self.spare(all, KeepReason::InUse, &holders(users));
            let cause = users.first().map(User::cause);
            return Err(NotRemoved::Conflict(Conflict {
                image: shown.to_owned(),
                can_be_forced: false,
                cause: cause.unwrap_or(ConflictCause::MultipleRepositories),
            }));
        }
        self.remove_records(&names, names.first().copied().filter(|_| !stays))
    }

    /// Removes records, and may replace one of them by its nameless double.
    fn remove_records(
        &mut self,
        going: &[usize],
        replaced: Option<usize>,
    ) -> Result<NamedRemoval, NotRemoved> {
        let dependents = self.dependents_of(going, replaced)?;
        let all: Vec<usize> = going.iter().chain(&dependents).copied().collect();
        let is_unholdable = |it: &&usize| !self.images[**it].is_holdable();
        if let Some(unholdable) = all.iter().find(is_unholdable).copied() {
            self.spare(&all, KeepReason::Unholdable, &BTreeSet::new());
            return Err(NotRemoved::Conflict(Conflict {
                image: familiar_name(&self.images[unholdable].name),
                can_be_forced: false,
                cause: ConflictCause::Other(KeepReason::Unholdable.text().to_owned()),
            }));
        }
        let protected = |index: &usize| Some((*index, protected::keeps(self.facts, *index)?));
        if let Some((protected, rule)) = all.iter().find_map(protected) {
            let cause = ConflictCause::Other(format!("image is protected by {rule}"));
            self.spare(&all, KeepReason::Protected, &BTreeSet::from([rule]));
            return Err(NotRemoved::Conflict(Conflict {
                image: familiar_name(&self.images[protected].name),
                can_be_forced: false,
                cause,
            }));
        }
        let mut removal = NamedRemoval::default();
        for index in going {
            let image = &self.images[*index];
            removal.records.push(image.name.clone());
            if !image.is_dangling() {
                removal.untagged.push(familiar_name(&image.name));
            }
            self.verdicts[*index] = Verdict::Remove(if replaced == Some(*index) {
                RemoveReason::Replaced
            } else {
                RemoveReason::Named
            });
        }
        self.remove_dependents(&dependents, going, &mut removal);
        Ok(removal)
    }

    /// Removes the parents of an image that have no name, no user and no other child.
    fn remove_parents(&mut self, child: usize, removal: &mut NamedRemoval) {
        let mut parent = self.images[child].parent();
        while let Some(digest) = parent.filter(|_| self.request.prune_parents) {
            let records = self.images.iter().enumerate();
            let records = records.filter(|(index, image)| {
                image.target.digest == digest && !self.verdicts[*index].is_removal()
            });
            let records: Vec<usize> = records.map(|(index, _)| index).collect();
            let is_nameless = records.iter().all(|it| self.facts.names.is_dangling(*it));
            let Some(first) = records.first().copied().filter(|_| is_nameless) else {
                return;
            };
            let must_stay = |index: &usize| {
                let image = &self.images[*index];
                image.is_pinned()
                    || !image.is_holdable()
                    || protected::keeps(self.facts, *index).is_some()
            };
            if records.iter().any(must_stay)
                || self.has_child(&digest)
                || self.has_dependents(&records)
                || !self.users(&records).is_empty()
            {
                return;
            }
            for index in records {
                removal.records.push(self.images[index].name.clone());
                self.verdicts[index] = Verdict::Remove(RemoveReason::Parent);
            }
            removal.deleted.push(digest);
            parent = self.images[first].parent();
        }
    }

    /// Whether an image that stays was built upon this one.
    fn has_child(&self, digest: &Digest) -> bool {
        let mut images = self.images.iter().enumerate();
        images.any(|(index, image)| {
            !self.verdicts[index].is_removal() && image.parent().as_ref() == Some(digest)
        })
    }

    /// Keeps the CRI plugin's record by ID as long as it has another one of the image.
    fn spare_cri_id(&self, same: &mut Vec<usize>, all: &[usize]) {
        let stays = |it: &usize| !same.contains(it) && self.images[*it].is_cri_managed();
        if all.iter().any(stays) {
            same.retain(|it| {
                let image = &self.images[*it];
                !(image.is_cri_managed() && image.name.parse::<Digest>().is_ok())
            });
        }
    }

    /// Refuses to remove pinned records without force.
    fn demand_unpinned(&mut self, going: &[usize], shown: &str) -> Result<(), NotRemoved> {
        let mut pins = going.iter().filter_map(|it| self.images[*it].pin());
        let Some(pin) = pins.next().filter(|_| !self.request.force) else {
            return Ok(());
        };
        self.spare(going, KeepReason::Pinned, &pinned_by(pin));
        Err(NotRemoved::Conflict(Conflict {
            image: shown.to_owned(),
            can_be_forced: true,
            cause: ConflictCause::Pinned,
        }))
    }

    /// Returns the conflict over the last name of an image in use.
    fn conflict(&mut self, all: &[usize], users: &[User], shown: &str) -> NotRemoved {
        self.spare(all, KeepReason::InUse, &holders(users));
        let image = &self.images[all[0]].target.digest;
        NotRemoved::Conflict(Conflict {
            image: shown.to_owned(),
            can_be_forced: true,
            cause: match &users[0].kind {
                UserKind::Running | UserKind::Stopped => ConflictCause::Referenced {
                    container: users[0].holder.id.clone(),
                    image: image.clone(),
                },
                UserKind::Other => users[0].cause(),
            },
        })
    }

    /// Sets the reason of those records that do not have one yet.
    fn spare(&mut self, indexes: &[usize], reason: KeepReason, holders: &BTreeSet<Holder>) {
        for index in indexes {
            if matches!(
                self.verdicts[*index],
                Verdict::Keep(KeepReason::NotNamed, _)
            ) {
                self.verdicts[*index] = Verdict::Keep(reason, holders.clone());
            }
        }
    }

    /// Returns what uses the target of these records, of which there is at least one.
    fn users(&self, all: &[usize]) -> Vec<User> {
        users(self.facts, self.registered, all[0], self.request.force)
    }
}

fn holders(users: &[User]) -> BTreeSet<Holder> {
    users.iter().map(|user| user.holder.clone()).collect()
}
