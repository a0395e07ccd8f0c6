//! Cutting a store down to the part of it that matters.

use std::ops::Range;

use super::store::{RandomStore, Thing, What};
use crate::namespace::LeaseResource;

impl RandomStore {
    /// Leaves out, part by part, what makes no difference to `fails`, and returns the rest.
    ///
    /// First things, half of them at a time, then a quarter and so on down to single ones; then
    /// single labels and what leases hold. Gives up after `limit` questions.
    #[must_use]
    pub fn shrink(&self, limit: usize, mut fails: impl FnMut(&Self) -> bool) -> Self {
        let mut left = limit;
        let mut ask = |store: &Self| {
            let may = left > 0;
            left = left.saturating_sub(1);
            may && fails(store)
        };
        let mut store = self.clone();
        let mut length = store.things.len().div_ceil(2);
        while length > 0 {
            let mut first = 0;
            while first < store.things.len() {
                let end = store.things.len().min(first + length);
                let smaller = store.without_things(first..end);
                if ask(&smaller) {
                    store = smaller;
                } else {
                    first = end;
                }
            }
            length /= 2;
        }
        for at in 0..store.things.len() {
            for part in store.things[at].parts() {
                let mut smaller = store.clone();
                smaller.things[at].drop_part(&part);
                if ask(&smaller) {
                    store = smaller;
                }
            }
        }
        store
    }

    fn without_things(&self, range: Range<usize>) -> Self {
        let mut smaller = self.clone();
        smaller.things.drain(range);
        smaller
    }
}

/// What a thing can do without.
#[derive(Debug)]
enum Part {
    Label(String),
    Resource(LeaseResource),
}

impl Thing {
    fn parts(&self) -> Vec<Part> {
        let mut parts: Vec<Part> = self.labels.keys().cloned().map(Part::Label).collect();
        if let What::Lease { id: _, resources } = &self.what {
            parts.extend(resources.iter().cloned().map(Part::Resource));
        }
        parts
    }

    fn drop_part(&mut self, part: &Part) {
        match (part, &mut self.what) {
            (Part::Label(key), _) => drop(self.labels.remove(key)),
            (Part::Resource(unneeded), What::Lease { id: _, resources }) => {
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
    fn leaves_what_matters() {
        let store = RandomStore::generate(7);
        let is_image = |what: &What| matches!(what, What::Image { .. });
        let has_image = |store: &RandomStore| store.things.iter().any(|it| is_image(&it.what));
        assert!(has_image(&store), "{store}");
        let shrunk = store.shrink(1000, has_image);
        assert_eq!(shrunk.things.len(), 1, "{shrunk}");
        assert!(shrunk.things[0].labels.is_empty(), "{shrunk}");
    }
}
