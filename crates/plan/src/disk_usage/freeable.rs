//! What a request for one part of all images of a namespace frees.

use std::collections::BTreeSet;

use reclaim_model::{
    Amount, Container, Freeable, ImageParts, Inventory, Namespace, Part, PruneFilters,
    SnapshotSizes,
};

use crate::facts::Facts;
use crate::freed::difference_by_cuts;
use crate::roles::Roles;
use crate::slim::slim;

/// One namespace of which parts may be freed.
pub(super) struct Slimmable<'i> {
    pub(super) inventory: &'i Inventory,
    pub(super) namespace: &'i Namespace,
    pub(super) facts: &'i Facts<'i>,
    pub(super) registered: &'i [Container],
    pub(super) roles: &'i Roles<'i>,
    /// What each snapshot occupies.
    pub(super) bytes: &'i SnapshotSizes,
}

impl Slimmable<'_> {
    /// Returns what freeing each part alone frees. Garbage and images are left empty.
    pub(super) fn freeable(&self) -> Freeable {
        let mut freeable = Freeable::default();
        for part in Part::ALL {
            *freeable.part_mut(part) = self.part(part);
        }
        freeable
    }

    fn part(&self, part: Part) -> Amount {
        let request = ImageParts {
            parts: BTreeSet::from([part]),
            filters: PruneFilters {
                dangling: Some(false),
                ..PruneFilters::default()
            },
            ..ImageParts::default()
        };
        let Self {
            inventory, facts, ..
        } = self;
        let cuts = slim(
            inventory,
            facts,
            self.registered,
            self.roles,
            &(&request).into(),
        )
        .cuts;
        if cuts.is_empty() {
            return Amount::default();
        }
        let difference = difference_by_cuts(inventory, self.namespace, &facts.graph, &cuts);
        let mut freed = difference.freed.into_unmeasured();
        freed.measure(self.bytes);
        freed.amount()
    }
}
