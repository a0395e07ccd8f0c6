//! The images as of the last observation, and what the next one adds.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use reclaim_model::{Digest, Filesystem, Namespace, PolicyName};

use super::{
    ImageUse, ObjectKey, Observation, RemovedImage, SeenConfig, SeenImage, SeenName, SeenObject,
    VERSION,
};
use crate::time::Moment;

/// An image as a scan found it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sighting {
    pub(super) namespace: Namespace,
    pub(super) target: Digest,
    pub(super) media_type: String,
    pub(super) names: Vec<SeenName>,
    pub(super) objects: Vec<(ObjectKey, u64)>,
    pub(super) configs: Vec<SeenConfig>,
    pub(super) sources: Vec<String>,
    pub(super) is_unreadable: bool,
    pub(super) is_in_use: bool,
    pub(super) first_seen: Timestamp,
    pub(super) last_used: Timestamp,
    pub(super) spared_until: Option<Timestamp>,
}

/// An image as of the last observation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CurrentImage {
    pub(crate) seen: SeenImage,
    pub(crate) is_in_use: bool,
    /// When it was used last, unless it is in use.
    pub(crate) last_used: Timestamp,
}

/// The images as of the last observation.
#[derive(Debug, Clone, Default)]
pub(crate) struct Current {
    pub(crate) images: BTreeMap<u32, CurrentImage>,
    pub(crate) filesystems: Vec<Filesystem>,
    pub(crate) measured_at: Option<Timestamp>,
    pub(crate) last: Option<(Timestamp, Timestamp)>,
    ids: BTreeMap<(Namespace, Digest), u32>,
    /// The number and the bytes of each object, and how many images have it.
    objects: BTreeMap<ObjectKey, (u32, u64, u32)>,
    keys: BTreeMap<u32, ObjectKey>,
    next_image: u32,
    next_object: u32,
}

/// Why an observation does not follow those before it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unrelated {
    #[error("it names image {0}, which no line has")]
    Image(u32),
    #[error("it names object {0}, which no line has")]
    Object(u32),
    #[error("its time is before that of the line before")]
    Earlier,
}

impl Current {
    /// Returns the number of an image.
    pub(crate) fn id(&self, namespace: &Namespace, target: &Digest) -> Option<u32> {
        self.ids.get(&(namespace.clone(), target.clone())).copied()
    }

    /// Returns an object and its bytes, by its number.
    pub(crate) fn object(&self, id: u32) -> Option<(&ObjectKey, u64)> {
        let key = self.keys.get(&id)?;
        let (_, bytes, _) = self.objects.get(key)?;
        Some((key, *bytes))
    }

    /// Returns the bytes of an object if they are known.
    pub(super) fn bytes(&self, key: &ObjectKey) -> Option<u64> {
        self.objects.get(key).map(|(_, bytes, _)| *bytes)
    }

    /// Returns what a scan at `moment` found that the last observation did not have.
    pub(super) fn difference(
        &self,
        found: Vec<Sighting>,
        filesystems: &[Filesystem],
        moment: Moment,
    ) -> Observation {
        let mut new = Observation {
            version: VERSION,
            at: moment.monotonic,
            wall: moment.wall,
            begins: self.last.is_none(),
            filesystems: filesystems.to_vec(),
            ..Observation::default()
        };
        let (mut next_image, mut next_object) = (self.next_image, self.next_object);
        let mut added: BTreeMap<ObjectKey, u32> = BTreeMap::new();
        let mut present = BTreeSet::new();
        for sighting in found {
            let known = self.id(&sighting.namespace, &sighting.target);
            let known = known.and_then(|id| self.images.get(&id));
            let id = known.map_or(next_image, |it| it.seen.id);
            present.insert(id);
            if known.is_none_or(|it| it.is_in_use != sighting.is_in_use) {
                if sighting.is_in_use {
                    new.in_use.push(id);
                } else if known.is_some() {
                    new.idle.push(id);
                }
            }
            if let Some(known) = known
                && !sighting.is_in_use
                && sighting.last_used > known.last_used
            {
                let at = sighting.last_used;
                new.used.push(ImageUse { image: id, at });
            }
            if known.is_some_and(|known| self.is_same(&known.seen, &sighting)) {
                continue;
            }
            next_image += u32::from(known.is_none());
            let objects = sighting.objects.into_iter().map(|(key, bytes)| {
                if let Some((id, _, _)) = self.objects.get(&key) {
                    return *id;
                }
                *added.entry(key.clone()).or_insert_with(|| {
                    let id = next_object;
                    next_object += 1;
                    new.objects.push(SeenObject { id, key, bytes });
                    id
                })
            });
            let objects = objects.collect();
            new.images.push(SeenImage {
                id,
                namespace: sighting.namespace,
                target: sighting.target,
                media_type: sighting.media_type,
                names: sighting.names,
                objects,
                configs: sighting.configs,
                sources: sighting.sources,
                is_unreadable: sighting.is_unreadable,
                first_seen: sighting.first_seen,
                last_used: sighting.last_used,
                spared_until: sighting.spared_until,
            });
        }
        let ids = self.images.keys();
        new.gone = ids.filter(|id| !present.contains(id)).copied().collect();
        new
    }

    /// Whether nothing of an image changed but its use.
    fn is_same(&self, known: &SeenImage, found: &Sighting) -> bool {
        let objects = found.objects.iter().map(|(key, _)| self.objects.get(key));
        known.names == found.names
            && known.media_type == found.media_type
            && known.configs == found.configs
            && known.sources == found.sources
            && known.is_unreadable == found.is_unreadable
            && known.objects.len() == found.objects.len()
            && objects
                .zip(&known.objects)
                .all(|(object, id)| object.is_some_and(|(found, _, _)| found == id))
    }

    /// Returns the observation that a policy removed these names, if that leaves images without any.
    pub(super) fn removals(
        &self,
        namespace: &Namespace,
        names: &BTreeMap<Digest, BTreeSet<String>>,
        policy: &PolicyName,
        moment: Moment,
    ) -> Option<Observation> {
        let removed = names.iter().filter_map(|(target, names)| {
            let image = self.id(namespace, target)?;
            let has = &self.images.get(&image)?.seen.names;
            let is_whole = has.iter().all(|it| names.contains(&it.name));
            let policy = policy.clone();
            is_whole.then_some(RemovedImage { image, policy })
        });
        let removed: Vec<RemovedImage> = removed.collect();
        (!removed.is_empty()).then(|| Observation {
            version: VERSION,
            at: moment.monotonic,
            wall: moment.wall,
            removed,
            ..Observation::default()
        })
    }

    /// Returns everything as one observation, which needs none before it.
    pub(super) fn all(&self) -> Option<Observation> {
        let (at, wall) = self.last?;
        let objects = self.keys.keys().filter_map(|id| {
            let (key, bytes) = self.object(*id)?;
            let (id, key) = (*id, key.clone());
            Some(SeenObject { id, key, bytes })
        });
        let images = self.images.values().map(|image| SeenImage {
            last_used: image.last_used,
            ..image.seen.clone()
        });
        let in_use = self.images.values().filter(|image| image.is_in_use);
        Some(Observation {
            version: VERSION,
            at,
            wall,
            begins: true,
            filesystems: self.filesystems.clone(),
            objects: objects.collect(),
            images: images.collect(),
            in_use: in_use.map(|image| image.seen.id).collect(),
            ..Observation::default()
        })
    }

    /// Applies an observation.
    pub(crate) fn apply(&mut self, new: &Observation) -> Result<(), Unrelated> {
        if new.begins {
            *self = Self {
                next_image: self.next_image,
                next_object: self.next_object,
                ..Self::default()
            };
        }
        if self.last.is_some_and(|(last, _)| new.at < last) {
            return Err(Unrelated::Earlier);
        }
        for object in &new.objects {
            self.next_object = self.next_object.max(object.id.saturating_add(1));
            self.keys.insert(object.id, object.key.clone());
            let entry = (object.id, object.bytes, 0);
            self.objects.insert(object.key.clone(), entry);
        }
        for seen in &new.images {
            self.add(seen)?;
        }
        let removed = new.removed.iter().map(|it| it.image);
        for id in removed.chain(new.gone.iter().copied()) {
            self.remove(id)?;
        }
        for ImageUse { image, at } in &new.used {
            let known = self.images.get_mut(image).ok_or(Unrelated::Image(*image))?;
            known.last_used = known.last_used.max(*at);
        }
        for (ids, is_in_use) in [(&new.in_use, true), (&new.idle, false)] {
            for id in ids {
                let known = self.images.get_mut(id).ok_or(Unrelated::Image(*id))?;
                known.is_in_use = is_in_use;
                known.last_used = known.last_used.max(new.at);
            }
        }
        if !new.filesystems.is_empty() {
            self.filesystems.clone_from(&new.filesystems);
            self.measured_at = Some(new.at);
        }
        self.last = Some((new.at, new.wall));
        Ok(())
    }

    fn add(&mut self, seen: &SeenImage) -> Result<(), Unrelated> {
        self.next_image = self.next_image.max(seen.id.saturating_add(1));
        for id in &seen.objects {
            self.count(*id, 1)?;
        }
        let key = (seen.namespace.clone(), seen.target.clone());
        self.ids.insert(key, seen.id);
        let before = self.images.remove(&seen.id);
        let image = CurrentImage {
            seen: seen.clone(),
            is_in_use: before.as_ref().is_some_and(|it| it.is_in_use),
            last_used: before
                .as_ref()
                .map_or(seen.last_used, |it| it.last_used.max(seen.last_used)),
        };
        self.images.insert(seen.id, image);
        if let Some(before) = before {
            self.release(&before.seen)?;
        }
        Ok(())
    }

    fn remove(&mut self, id: u32) -> Result<(), Unrelated> {
        let image = self.images.remove(&id).ok_or(Unrelated::Image(id))?;
        let key = (image.seen.namespace.clone(), image.seen.target.clone());
        self.ids.remove(&key);
        self.release(&image.seen)
    }

    fn release(&mut self, seen: &SeenImage) -> Result<(), Unrelated> {
        for id in &seen.objects {
            self.count(*id, -1)?;
        }
        Ok(())
    }

    /// Counts an image more or less that has an object, and forgets an object that none has.
    fn count(&mut self, id: u32, by: i32) -> Result<(), Unrelated> {
        let key = self.keys.get(&id).ok_or(Unrelated::Object(id))?;
        let entry = self.objects.get_mut(key).ok_or(Unrelated::Object(id))?;
        entry.2 = entry.2.saturating_add_signed(by);
        if entry.2 == 0 {
            let key = key.clone();
            self.objects.remove(&key);
            self.keys.remove(&id);
        }
        Ok(())
    }
}
