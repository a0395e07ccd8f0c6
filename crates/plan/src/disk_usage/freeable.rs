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

/// Returns what freeing each part alone frees. Garbage and images are left empty.
pub(super) fn by_parts(
    inventory: &Inventory,
    namespace: &Namespace,
    facts: &Facts<'_>,
    registered: &[Container],
    roles: &Roles<'_>,
    bytes: &SnapshotSizes,
) -> Freeable {
    let of_part = |part: Part| {
        let request = ImageParts {
            parts: BTreeSet::from([part]),
            filters: PruneFilters {
                dangling: Some(false),
                ..PruneFilters::default()
            },
            ..ImageParts::default()
        };
        let cuts = slim(inventory, facts, registered, roles, &request).cuts;
        if cuts.is_empty() {
            return Amount::default();
        }
        let difference = difference_by_cuts(inventory, namespace, &facts.graph, &cuts);
        let mut freed = difference.freed.into_unmeasured();
        freed.measure(bytes);
        freed.amount()
    };
    let mut freeable = Freeable::default();
    for part in Part::ALL {
        *freeable.part_mut(part) = of_part(part);
    }
    freeable
}
