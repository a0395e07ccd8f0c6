//! How an event changes the last uses of a namespace.

use std::collections::BTreeSet;

use jiff::Timestamp;
use reclaim_model::{Digest, Reference, UseEventKind, WrittenRecord};

use super::super::Observed;
use super::super::removals::Record;
use super::Known;
use crate::time::Moment;

impl Known {
    /// Records an event of a time of the wall clock. A use counts from its arrival, which no wall
    /// clock can move; the time of the event orders it among others.
    pub(in super::super) fn record_event(
        &mut self,
        kind: &UseEventKind,
        time: Timestamp,
        arrival: Moment,
    ) -> Observed {
        let (at, now) = (arrival.monotonic_of(time), arrival.monotonic);
        match kind {
            UseEventKind::ContainerWritten { id, image } => self.container_written(id, image, now),
            UseEventKind::ContainerDeleted { id } => {
                self.touch_users(id, now);
                self.containers.remove(id);
                // Only a scan finds whether another container uses the image.
                Observed::ScanNeeded
            }
            UseEventKind::Task { container } => {
                if self.touch_users(container, now) {
                    Observed::Complete
                } else {
                    Observed::ScanNeeded
                }
            }
            UseEventKind::ImageWritten { name, record } => {
                if let Some(WrittenRecord { target, times }) = record {
                    self.touch(target, now);
                    let record = Record::new(target, *times, arrival);
                    self.recognise(name, &record, now);
                    self.names.insert(name.clone(), record);
                }
                Observed::ScanNeeded
            }
            UseEventKind::ImageDeleted { name } => {
                if self.names.get(name).is_some_and(|it| it.created <= at) {
                    self.names.remove(name);
                }
                self.deleted.insert(name.clone(), at);
                let changed = self.removals.correct(name, at);
                self.changed.removals.extend(changed);
                Observed::ScanNeeded
            }
            UseEventKind::ImageRestoring { name } => {
                let changed = self.removals.forget_name(name);
                self.changed.removals.extend(changed);
                Observed::Complete
            }
            UseEventKind::SnapshotPrepared { parent: None } | UseEventKind::SnapshotChanged => {
                Observed::Complete
            }
            UseEventKind::SnapshotPrepared {
                parent: Some(parent),
            } => self.snapshot_prepared(parent, now),
            UseEventKind::Unclear => Observed::ScanNeeded,
        }
    }

    fn container_written(&mut self, id: &str, image: &str, now: Timestamp) -> Observed {
        let found = self.resolve(image);
        for digest in &found {
            self.touch(digest, now);
            if let Some(entry) = self.targets.get_mut(digest) {
                entry.in_use = true;
            }
        }
        let is_found = !found.is_empty();
        let known = self.containers.entry(id.to_owned()).or_default();
        known.extend(found);
        if is_found {
            Observed::Complete
        } else {
            Observed::ScanNeeded
        }
    }

    fn snapshot_prepared(&mut self, parent: &str, now: Timestamp) -> Observed {
        let chain = parent.parse::<Digest>().ok();
        let targets = chain.and_then(|chain| self.chains.get(&chain).cloned());
        let Some(targets) = targets else {
            return Observed::ScanNeeded;
        };
        for digest in &targets {
            self.touch(digest, now);
        }
        Observed::Complete
    }

    /// Marks the images of a container as used. Returns whether they are known.
    fn touch_users(&mut self, container: &str, now: Timestamp) -> bool {
        let Some(targets) = self.containers.get(container).cloned() else {
            return false;
        };
        for digest in &targets {
            self.touch(digest, now);
        }
        !targets.is_empty()
    }

    fn touch(&mut self, digest: &Digest, now: Timestamp) {
        let entry = self.entry(digest, now);
        entry.use_at(now);
        entry.misses = 0;
    }

    /// Returns the targets that the image of a container, as its engine wrote it, may mean.
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
