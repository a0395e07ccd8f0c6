//! Which targets a namespace has, and which of them are in use.
//!
//! The evidence is the same that keeps images from a prune. A use that cannot be traced counts
//! for every image that it could be of.

use std::collections::{BTreeMap, BTreeSet};

use reclaim_model::{
    Container, Digest, HolderKind, Inventory, Namespace, RecordTimes, TargetsInUse,
};

use crate::facts::Facts;
use crate::select::is_unreadable;

/// Returns the targets of a namespace and which of them are in use.
///
/// `registered` are containers of that namespace that engines know of beyond containerd's own
/// records. A namespace that the inventory does not have is one without targets.
pub fn targets_in_use(
    inventory: &Inventory,
    namespace: &Namespace,
    registered: &[Container],
) -> TargetsInUse {
    let mut seen = TargetsInUse::default();
    let Some(found) = inventory.namespaces.get(namespace) else {
        return seen;
    };
    let facts = Facts::new(inventory, found, registered);
    for (id, target) in facts.targets.iter() {
        let records = target.images.iter().map(|index| &found.images[*index]);
        let names = records.map(|image| {
            let times = RecordTimes {
                created: image.created_at,
                updated: image.updated_at,
            };
            (image.name.clone(), times)
        });
        let chains = target.contents.chains.iter().map(|chain| (*chain).clone());
        // A digest is listed more than once if records call it different kinds.
        let present = seen.present.entry(target.digest.clone()).or_default();
        present.names.extend(names);
        present.chains.extend(chains);

        let of_records = target.images.iter();
        let of_records = of_records.filter_map(|index| facts.usage.records.get(index));
        let of_target = facts.usage.targets.get(&id).into_iter();
        let possible = facts.usage.possible(&facts.graph, &target.contents);
        let known = of_records.chain(of_target).flatten();
        let holders: BTreeSet<_> = known.chain(&possible).collect();
        if is_unreadable(&target.contents, found) {
            seen.unreadable += target.images.len();
        }
        if !holders.is_empty() {
            seen.used.insert(target.digest.clone());
        }
        for holder in holders {
            if holder.kind == HolderKind::Container {
                add(&mut seen.containers, &holder.id, target.digest);
            }
        }
    }
    seen
}

fn add(containers: &mut BTreeMap<String, BTreeSet<Digest>>, id: &str, target: &Digest) {
    let of_container = containers.entry(id.to_owned()).or_default();
    of_container.insert(target.clone());
}
