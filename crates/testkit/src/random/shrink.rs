//! Cutting a store down to the part of it that matters.

use std::ops::Range;

use super::store::{RandomStore, What};

/// A way to make a store smaller.
type Cut = Box<dyn Fn(&RandomStore) -> RandomStore>;

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
            for smaller in store.with_less_of(at) {
                // Made from the store as it was before the last one was accepted: ask anew.
                let smaller = smaller(&store);
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

    /// Returns the ways to take one label or one resource from the thing at `at`.
    fn with_less_of(&self, at: usize) -> Vec<Cut> {
        let mut ways: Vec<Cut> = Vec::new();
        for key in self.things[at].labels.keys() {
            let key = key.clone();
            ways.push(Box::new(move |store| {
                let mut smaller = store.clone();
                smaller.things[at].labels.remove(&key);
                smaller
            }));
        }
        if let What::Lease { id: _, resources } = &self.things[at].what {
            for unneeded in resources {
                let unneeded = unneeded.clone();
                ways.push(Box::new(move |store| {
                    let mut smaller = store.clone();
                    if let What::Lease { id: _, resources } = &mut smaller.things[at].what {
                        resources.retain(|resource| *resource != unneeded);
                    }
                    smaller
                }));
            }
        }
        ways
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
