//! Shrinks a store to the part that makes a test fail.

use std::ops::Range;

use super::store::{ObjectKind, RandomStore, StoreObject};
use crate::namespace::LeaseResource;

impl RandomStore {
    /// Removes parts as long as `fails` still returns true, and returns the rest.
    ///
    /// First objects: half of them at a time, then a quarter, down to single ones. Then single labels
    /// and resources of leases. Calls `fails` at most `limit` times.
    #[must_use]
    pub fn shrink(&self, limit: usize, mut fails: impl FnMut(&Self) -> bool) -> Self {
        let mut left = limit;
        let mut still_fails = |store: &Self| {
            let may_call = left > 0;
            left = left.saturating_sub(1);
            may_call && fails(store)
        };
        let mut store = self.clone();
        let mut length = store.objects.len().div_ceil(2);
        while length > 0 {
            let mut first = 0;
            while first < store.objects.len() {
                let end = store.objects.len().min(first + length);
                let smaller = store.without_objects(first..end);
                if still_fails(&smaller) {
                    store = smaller;
                } else {
                    first = end;
                }
            }
            length /= 2;
        }
        for index in 0..store.objects.len() {
            for part in store.objects[index].parts() {
                let mut smaller = store.clone();
                smaller.objects[index].drop_part(&part);
                if still_fails(&smaller) {
                    store = smaller;
                }
            }
        }
        store
    }

    fn without_objects(&self, range: Range<usize>) -> Self {
        let mut smaller = self.clone();
        smaller.objects.drain(range);
        smaller
    }
}

/// A part of an object that can be removed.
#[derive(Debug)]
enum Part {
    Label(String),
    Resource(LeaseResource),
}

impl StoreObject {
    fn parts(&self) -> Vec<Part> {
        let mut parts: Vec<Part> = self.labels.keys().cloned().map(Part::Label).collect();
        if let ObjectKind::Lease { id: _, resources } = &self.kind {
            parts.extend(resources.iter().cloned().map(Part::Resource));
        }
        parts
    }

    fn drop_part(&mut self, part: &Part) {
        match (part, &mut self.kind) {
            (Part::Label(key), _) => drop(self.labels.remove(key)),
            (Part::Resource(unneeded), ObjectKind::Lease { id: _, resources }) => {
                resources.retain(|resource| resource != unneeded);
            }
            (Part::Resource(_), _) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_part_that_matters() {
        let store = RandomStore::generate(7);
        let is_image = |object: &ObjectKind| matches!(object, ObjectKind::Image { .. });
        let has_image =
            |store: &RandomStore| store.objects.iter().any(|object| is_image(&object.kind));
        assert!(has_image(&store), "{store}");
        let shrunk = store.shrink(1000, has_image);
        assert_eq!(shrunk.objects.len(), 1, "{shrunk}");
        assert!(shrunk.objects[0].labels.is_empty(), "{shrunk}");
    }
}
