//! The collector's rules again, in the simplest way there is: by name, without a graph.
//!
//! It knows nothing of the crate. Names are those of references: what they name need not exist.

use std::collections::BTreeSet;

use reclaim_model::{
    CollectorRules, Digest, GcLabels, GcRef, Inventory, LeaseResource, NamespaceInventory,
    RootMark, Snapshot, SnapshotId,
};

use crate::world::now;

/// A thing and whether it is held flat.
type Held = (GcRef, bool);

/// Everything of a namespace that the collector keeps, whether or not it exists.
pub(crate) fn kept(namespace: &NamespaceInventory, rules: CollectorRules) -> BTreeSet<GcRef> {
    let mut held = roots(namespace, rules);
    loop {
        let more = held.iter().flat_map(|it| kept_by(namespace, rules, it));
        let more: BTreeSet<Held> = more.filter(|it| !held.contains(it)).collect();
        if more.is_empty() {
            return held.into_iter().map(|(thing, _)| thing).collect();
        }
        held.extend(more);
    }
}

/// What goes when these records do: blobs from every namespace, snapshots from this one.
pub(crate) fn freed(
    inventory: &Inventory,
    pruned: &NamespaceInventory,
    removed: &[&str],
) -> (BTreeSet<Digest>, BTreeSet<SnapshotId>) {
    let mut left = pruned.clone();
    left.images.retain(|image| !removed.contains(&&*image.name));
    difference(inventory, pruned, &left)
}

/// What goes when the pruned namespace becomes `left`, which has the same objects except images.
pub(crate) fn difference(
    inventory: &Inventory,
    pruned: &NamespaceInventory,
    left: &NamespaceInventory,
) -> (BTreeSet<Digest>, BTreeSet<SnapshotId>) {
    let before = kept(pruned, inventory.rules);
    let after = kept(left, inventory.rules);
    let mut blobs = BTreeSet::new();
    let mut snapshots = BTreeSet::new();
    for (thing, _) in objects(pruned) {
        if before.contains(&thing) && !after.contains(&thing) {
            match thing {
                GcRef::Content(digest) => drop(blobs.insert(digest)),
                GcRef::Snapshot(id) => drop(snapshots.insert(id)),
                GcRef::NoContent(_) | GcRef::Image(_) | GcRef::Container(_) => {}
            }
        }
    }
    let others = inventory.namespaces.iter();
    for (_, other) in others.filter(|(name, _)| name.as_str() != crate::world::World::NAMESPACE) {
        let kept = kept(other, inventory.rules);
        let exists = |digest: &Digest| other.blobs.iter().any(|blob| blob.digest == *digest);
        blobs.retain(|it| !exists(it) || !kept.contains(&GcRef::Content(it.clone())));
    }
    (blobs, snapshots)
}

/// What is left of a namespace after a collection.
pub(crate) fn collected(
    namespace: &NamespaceInventory,
    rules: CollectorRules,
) -> NamespaceInventory {
    let kept = kept(namespace, rules);
    let mut left = namespace.clone();
    left.blobs
        .retain(|blob| kept.contains(&GcRef::Content(blob.digest.clone())));
    for (snapshotter, list) in &mut left.snapshots {
        list.retain(|it| {
            kept.contains(&GcRef::Snapshot(SnapshotId::new(
                snapshotter.clone(),
                &*it.key,
            )))
        });
    }
    left.images
        .retain(|image| kept.contains(&GcRef::Image(image.name.as_str().into())));
    left.leases.retain(|lease| lease.is_live(now()));
    left
}

fn roots(namespace: &NamespaceInventory, rules: CollectorRules) -> BTreeSet<Held> {
    let mut roots = BTreeSet::new();
    for lease in namespace.leases.iter().filter(|lease| lease.is_live(now())) {
        for resource in &lease.resources {
            let thing = match resource {
                LeaseResource::Content(digest) => GcRef::Content(digest.clone()),
                LeaseResource::Snapshot(id) => GcRef::Snapshot(id.clone()),
                LeaseResource::Image(name) => GcRef::Image(name.as_str().into()),
                LeaseResource::Ingest(_) | LeaseResource::Other { .. } => continue,
            };
            roots.extend(is_followed(&thing, rules).then_some((thing, lease.is_flat)));
        }
    }
    for image in &namespace.images {
        let is_expired = image.expires.is_some_and(|expires| expires < now());
        if rules < CollectorRules::V2_0 || !is_expired {
            roots.insert((GcRef::Image(image.name.as_str().into()), false));
        }
    }
    for (thing, labels) in objects(namespace) {
        let is_root = match labels.root {
            RootMark::None => false,
            RootMark::Exact => true,
            RootMark::Prefixed => rules >= CollectorRules::V2_2,
        };
        let is_content_or_snapshot = matches!(thing, GcRef::Content(_) | GcRef::Snapshot(_));
        let is_container = matches!(thing, GcRef::Container(_));
        if is_container || is_content_or_snapshot && is_root {
            roots.insert((thing, false));
        }
    }
    let sandboxes = namespace.sandboxes.iter().flat_map(|it| &it.gc.refs);
    let sandboxes = sandboxes.filter(|_| rules >= CollectorRules::V2_0);
    let followed = sandboxes.filter(|it| is_followed(it, rules));
    roots.extend(followed.map(|it| (it.clone(), false)));
    roots
}

fn kept_by(namespace: &NamespaceInventory, rules: CollectorRules, held: &Held) -> Vec<Held> {
    let (thing, is_flat) = held;
    let mut kept = Vec::new();
    match thing {
        GcRef::Content(_) | GcRef::NoContent(_) => {}
        GcRef::Snapshot(id) => {
            let parent = find(namespace, id).and_then(|snapshot| snapshot.parent.as_deref());
            let parent = parent.map(|it| SnapshotId::new(id.snapshotter.clone(), it));
            kept.extend(parent.map(|it| (GcRef::Snapshot(it), *is_flat)));
        }
        GcRef::Image(name) => {
            let image = namespace.images.iter().find(|it| *it.name == **name);
            let target = image.map(|it| GcRef::Content(it.target.digest.clone()));
            kept.extend(target.map(|it| (it, *is_flat)));
        }
        GcRef::Container(name) => {
            let container = namespace.containers.iter().find(|it| *it.id == **name);
            let root = container.and_then(|it| it.snapshot.clone());
            kept.extend(root.map(|it| (GcRef::Snapshot(it), false)));
        }
    }
    if *is_flat {
        return kept;
    }
    for (other, labels) in objects(namespace) {
        if other == *thing {
            let followed = labels.refs.iter().filter(|it| is_followed(it, rules));
            kept.extend(followed.map(|it| (it.clone(), false)));
        }
        if rules >= CollectorRules::V2_2 && labels.back_refs.contains(thing) {
            kept.push((other, false));
        }
    }
    kept
}

fn is_followed(thing: &GcRef, rules: CollectorRules) -> bool {
    !matches!(thing, GcRef::Image(_)) || rules >= CollectorRules::V2_0
}

fn find<'a>(namespace: &'a NamespaceInventory, id: &SnapshotId) -> Option<&'a Snapshot> {
    let list = namespace.snapshots.get(&id.snapshotter)?;
    list.iter().find(|snapshot| *snapshot.key == *id.key)
}

/// Everything that exists and has labels that are read.
fn objects(namespace: &NamespaceInventory) -> Vec<(GcRef, &GcLabels)> {
    let mut objects = Vec::new();
    for blob in &namespace.blobs {
        objects.push((GcRef::Content(blob.digest.clone()), &blob.gc));
    }
    for (snapshotter, list) in &namespace.snapshots {
        for it in list {
            let id = SnapshotId::new(snapshotter.clone(), &*it.key);
            objects.push((GcRef::Snapshot(id), &it.gc));
        }
    }
    for image in &namespace.images {
        objects.push((GcRef::Image(image.name.as_str().into()), &image.gc));
    }
    for container in &namespace.containers {
        let id = container.id.as_str().into();
        objects.push((GcRef::Container(id), &container.gc));
    }
    objects
}
