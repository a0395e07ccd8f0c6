//! Checks that no image loses both copies of its layers, by walking from each record in the simplest
//! possible way.

use std::collections::{BTreeMap, BTreeSet};

use reclaim_model::{
    Blob, Cut, CutTarget, Digest, Document, GcRef, ImageRecord, Inventory, NamespaceInventory,
    Plan, Snapshot, SnapshotId, SnapshotKind,
};

use super::InvalidPlan;

/// Checks that each image that stays can be started from what its record keeps, if it could before.
pub(super) fn loses_layers(
    plan: &Plan,
    inventory: &Inventory,
    namespace: &NamespaceInventory,
) -> Result<(), InvalidPlan> {
    if plan.cuts.is_empty() {
        return Ok(());
    }
    let mut cuts: BTreeMap<&Digest, Vec<&CutTarget>> = BTreeMap::new();
    for cut in &plan.cuts {
        cuts.entry(&cut.blob).or_default().push(&cut.target);
    }
    let removed: BTreeSet<&str> = plan.steps.iter().map(|it| it.image.name.as_str()).collect();
    let going: BTreeSet<&Digest> = plan.cuts.iter().filter_map(Cut::platform).collect();
    let images = namespace.images.iter();
    for image in images.filter(|image| !removed.contains(image.name.as_str())) {
        let before = Reach::of(image, namespace, &BTreeMap::new());
        if !before.blobs.iter().any(|blob| cuts.contains_key(blob)) {
            continue;
        }
        let after = Reach::of(image, namespace, &cuts);
        let (mut was_startable, mut stays_startable) = (false, false);
        for manifest in &before.blobs {
            let document = inventory.documents.get(manifest);
            let Some(Document::Manifest(children)) = document else {
                continue;
            };
            let copies = |reach: &Reach<'_>| {
                let Some((config, layers)) = children.split_first() else {
                    return true;
                };
                let chain = match inventory.documents.get(&config.digest) {
                    Some(Document::Config(config)) => config.chain_id.as_ref(),
                    _ => None,
                };
                let mut digests = layers.iter().map(|layer| &layer.digest);
                reach.blobs.contains(&config.digest)
                    && (digests.all(|digest| reach.blobs.contains(digest))
                        || chain.is_some_and(|chain| reach.has_chain(chain, layers.len())))
            };
            was_startable |= copies(&before);
            // A platform that goes loses both copies; another one stays.
            if going.contains(manifest) || !copies(&before) {
                continue;
            }
            stays_startable = true;
            if !copies(&after) {
                return Err(InvalidPlan::LosesLayers {
                    image: image.name.clone(),
                    manifest: manifest.clone(),
                });
            }
        }
        if was_startable && !stays_startable {
            return Err(InvalidPlan::LosesPlatforms(image.name.clone()));
        }
    }
    Ok(())
}

/// What a record keeps by itself.
struct Reach<'a> {
    namespace: &'a NamespaceInventory,
    blobs: BTreeSet<Digest>,
    snapshots: BTreeSet<SnapshotId>,
}

impl<'a> Reach<'a> {
    fn of(
        image: &ImageRecord,
        namespace: &'a NamespaceInventory,
        cuts: &BTreeMap<&Digest, Vec<&CutTarget>>,
    ) -> Self {
        let mut reach = Self {
            namespace,
            blobs: BTreeSet::new(),
            snapshots: BTreeSet::new(),
        };
        let mut references = vec![GcRef::Content(image.target.digest.clone())];
        references.extend(image.gc.refs.iter().cloned());
        while let Some(reference) = references.pop() {
            match reference {
                GcRef::Content(digest) => {
                    let Some(blob) = find_blob(namespace, &digest) else {
                        continue;
                    };
                    let cut = cuts.get(&digest).map_or(&[][..], Vec::as_slice);
                    let is_cut = |to: &GcRef| cut.iter().any(|target| target.is_of(to));
                    if reach.blobs.insert(digest.clone()) {
                        let refs = blob.gc.refs.iter().filter(|to| !is_cut(to));
                        references.extend(refs.cloned());
                    }
                }
                GcRef::Snapshot(id) => {
                    let Some(snapshot) = find_snapshot(namespace, &id) else {
                        continue;
                    };
                    let parent = snapshot.parent.as_deref();
                    let parent = parent.map(|it| SnapshotId::new(id.snapshotter.clone(), it));
                    if reach.snapshots.insert(id) {
                        references.extend(parent.map(GcRef::Snapshot));
                        references.extend(snapshot.gc.refs.iter().cloned());
                    }
                }
                GcRef::NoContent(_) | GcRef::Image(_) | GcRef::Container(_) => {}
            }
        }
        reach
    }

    /// Whether all layers below this chain ID are kept unpacked in one snapshotter.
    fn has_chain(&self, chain: &Digest, n_layers: usize) -> bool {
        let mut snapshotters = self.namespace.snapshots.keys();
        snapshotters.any(|snapshotter| {
            let mut at = Some(SnapshotId::new(snapshotter.clone(), chain.to_string()));
            for _ in 0..n_layers {
                let Some(id) = at.filter(|id| self.snapshots.contains(id)) else {
                    return false;
                };
                let Some(snapshot) = find_snapshot(self.namespace, &id) else {
                    return false;
                };
                if snapshot.kind != SnapshotKind::Committed {
                    return false;
                }
                let parent = snapshot.parent.as_deref();
                at = parent.map(|parent| SnapshotId::new(snapshotter.clone(), parent));
            }
            at.is_none()
        })
    }
}

fn find_blob<'a>(namespace: &'a NamespaceInventory, digest: &Digest) -> Option<&'a Blob> {
    let at = namespace
        .blobs
        .binary_search_by(|blob| blob.digest.cmp(digest));
    at.ok().map(|at| &namespace.blobs[at])
}

fn find_snapshot<'a>(namespace: &'a NamespaceInventory, id: &SnapshotId) -> Option<&'a Snapshot> {
    let snapshots = namespace.snapshots.get(&id.snapshotter)?;
    let at = snapshots.binary_search_by(|snapshot| (*snapshot.key).cmp(&*id.key));
    at.ok().map(|at| &snapshots[at])
}
