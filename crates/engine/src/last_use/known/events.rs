//! What an event does to what is known.

use std::collections::BTreeSet;

use jiff::Timestamp;
use reclaim_model::{Digest, Happening, Reference, WrittenRecord};

use super::super::Heard;
use super::super::removals::Record;
use super::Known;

impl Known {
    /// Takes an event.
    pub(in super::super) fn hear(&mut self, what: &Happening, at: Timestamp) -> Heard {
        match what {
            Happening::ContainerWritten { id, image } => self.hear_container(id, image, at),
            Happening::ContainerDeleted { id } => {
                self.touch_users(id, at);
                self.containers.remove(id);
                // Whether anybody else uses the image is for a look to say.
                Heard::LookSoon
            }
            Happening::Task { container } => {
                if self.touch_users(container, at) {
                    Heard::Understood
                } else {
                    Heard::LookSoon
                }
            }
            Happening::ImageWritten { name, record } => {
                if let Some(WrittenRecord { target, times }) = record {
                    self.touch(target, at);
                    let record = Record::new(target, *times, at);
                    self.recognise(name, &record, at);
                    self.names.insert(name.clone(), record);
                }
                Heard::LookSoon
            }
            Happening::ImageDeleted { name } => {
                if self.names.get(name).is_some_and(|it| it.created <= at) {
                    self.names.remove(name);
                }
                self.deleted.insert(name.clone(), at);
                let changed = self.removals.correct(name, at);
                self.changed.removals.extend(changed);
                Heard::LookSoon
            }
            Happening::ImageRestoring { name } => {
                let changed = self.removals.forget_name(name);
                self.changed.removals.extend(changed);
                Heard::Understood
            }
            Happening::SnapshotPrepared { parent: None } | Happening::SnapshotChanged => {
                Heard::Understood
            }
            Happening::SnapshotPrepared {
                parent: Some(parent),
            } => self.hear_snapshot(parent, at),
            Happening::Unclear => Heard::LookSoon,
        }
    }

    fn hear_container(&mut self, id: &str, image: &str, at: Timestamp) -> Heard {
        let found = self.resolve(image);
        for digest in &found {
            self.touch(digest, at);
            if let Some(entry) = self.targets.get_mut(digest) {
                entry.in_use = true;
            }
        }
        let is_found = !found.is_empty();
        let known = self.containers.entry(id.to_owned()).or_default();
        known.extend(found);
        if is_found {
            Heard::Understood
        } else {
            Heard::LookSoon
        }
    }

    fn hear_snapshot(&mut self, parent: &str, at: Timestamp) -> Heard {
        let chain = parent.parse::<Digest>().ok();
        let targets = chain.and_then(|chain| self.chains.get(&chain).cloned());
        let Some(targets) = targets else {
            return Heard::LookSoon;
        };
        for digest in &targets {
            self.touch(digest, at);
        }
        Heard::Understood
    }

    /// Notes a use of what a container uses. Returns whether that is known.
    fn touch_users(&mut self, container: &str, at: Timestamp) -> bool {
        let Some(targets) = self.containers.get(container).cloned() else {
            return false;
        };
        for digest in &targets {
            self.touch(digest, at);
        }
        !targets.is_empty()
    }

    fn touch(&mut self, digest: &Digest, at: Timestamp) {
        let entry = self.entry(digest, at);
        entry.last_used = entry.last_used.max(at);
        entry.misses = 0;
    }

    /// Finds what a container was created from, as its engine wrote it.
    fn resolve(&self, image: &str) -> BTreeSet<Digest> {
        let mut names = vec![image.to_owned()];
        let mut found = BTreeSet::new();
        if let Ok(reference) = Reference::parse_normalized(image) {
            if let Some(digest) = reference.digest() {
                names.push(format!("{}@{digest}", reference.repository()));
                found.insert(digest.clone());
            }
            if let Some(tag) = reference.tag() {
                names.push(format!("{}:{tag}", reference.repository()));
            }
            names.push(reference.with_default_tag().to_string());
        }
        found.extend(image.parse::<Digest>());
        found.retain(|digest| self.targets.contains_key(digest));
        let records = names.iter().filter_map(|name| self.names.get(name));
        found.extend(records.map(|it| it.target.clone()));
        found
    }
}
