//! Which records have a name that a user gave them.

use std::collections::BTreeSet;

use reclaim_model::{Digest, ImageRecord, Inventory, NamespaceInventory};

use crate::targets::Targets;

/// Which names of a namespace's records are real names.
#[derive(Debug)]
pub(crate) struct Names {
    is_name: Vec<bool>,
    is_dangling: Vec<bool>,
}

/// What kind of name a record has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The name by which engines keep an image that has lost its last name.
    None,
    /// A name that a tool made up because the user gave none.
    MadeUp,
    /// The CRI plugin's record by ID, which stands for the image.
    Id,
    /// Any other.
    Given,
}

impl Names {
    /// Looks at the names of `namespace`, target by target.
    ///
    /// A made-up name does not count where its target has no given one, nor does the CRI plugin's
    /// record by ID then. A snapshotter is recognised by a well-known name, or because it is
    /// loaded: each loaded one has a list of snapshots in the inventory, even if it is empty.
    pub(crate) fn new(
        namespace: &NamespaceInventory,
        targets: &Targets<'_>,
        inventory: &Inventory,
    ) -> Self {
        let namespaces = inventory.namespaces.values().chain([namespace]);
        let snapshotters = namespaces.flat_map(|it| it.snapshots.keys());
        let snapshotters: BTreeSet<&str> = snapshotters.map(|it| &**it).collect();
        let kinds = namespace.images.iter();
        let kinds: Vec<Kind> = kinds.map(|it| Kind::of(it, &snapshotters)).collect();
        let mut is_dangling: Vec<bool> = kinds.iter().map(|it| *it == Kind::None).collect();
        for (_, target) in targets.iter() {
            let mut of_target = target.images.iter().map(|it| kinds[*it]);
            if of_target.clone().any(|it| it == Kind::MadeUp)
                && of_target.all(|it| it != Kind::Given)
            {
                for index in &target.images {
                    is_dangling[*index] = true;
                }
            }
        }
        Self {
            is_name: kinds
                .into_iter()
                .map(|kind| matches!(kind, Kind::Id | Kind::Given))
                .collect(),
            is_dangling,
        }
    }

    /// Whether a record has a name, and not one that a tool made up.
    pub(crate) fn is_name(&self, image: usize) -> bool {
        self.is_name[image]
    }

    /// Whether a record is dangling: its target never had a given name, or has lost the last one.
    pub(crate) fn is_dangling(&self, image: usize) -> bool {
        self.is_dangling[image]
    }
}

impl Kind {
    fn of(image: &ImageRecord, snapshotters: &BTreeSet<&str>) -> Self {
        if image.is_dangling() {
            Self::None
        } else if image.has_made_up_name(|it| snapshotters.contains(it)) {
            Self::MadeUp
        } else if image.is_cri_managed() && image.name.parse::<Digest>().is_ok() {
            Self::Id
        } else {
            Self::Given
        }
    }
}
