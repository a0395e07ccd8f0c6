//! What a request for one part of all images of a namespace frees.

use std::collections::BTreeSet;

use reclaim_model::{
    Amount, Container, Freeable, ImageParts, Inventory, Namespace, Part, PruneFilters,
    SnapshotSizes,
};

use crate::facts::Facts;
use crate::freed::freed_by_cuts;
use crate::roles::Roles;
use crate::slim::{Evaluated, Scene, cuts};

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

impl<'i> Slimmable<'i> {
    /// Returns what freeing each part alone frees. Garbage and images are left empty.
    pub(super) fn freeable(&self) -> Freeable {
        let filters = PruneFilters {
            dangling: Some(false),
            ..PruneFilters::default()
        };
        let evaluated = Evaluated::new(self.facts, &filters);
        let mut freeable = Freeable::default();
        for part in Part::ALL {
            let request = ImageParts {
                parts: BTreeSet::from([part]),
                filters: filters.clone(),
                ..ImageParts::default()
            };
            *freeable.part_mut(part) = self.part(&request, &evaluated);
        }
        freeable
    }

    fn part(&self, request: &ImageParts<PruneFilters>, evaluated: &Evaluated<'i>) -> Amount {
        let Self {
            inventory, facts, ..
        } = self;
        let scene = Scene {
            inventory,
            facts,
            registered: self.registered,
            roles: self.roles,
        };
        let cuts = cuts(&scene, &request.into(), evaluated);
        if cuts.is_empty() {
            return Amount::default();
        }
        let freed = freed_by_cuts(inventory, self.namespace, &facts.graph, &cuts);
        let mut freed = freed.into_unmeasured();
        freed.measure(self.bytes);
        freed.amount()
    }
}
