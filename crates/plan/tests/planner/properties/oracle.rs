//! Who uses what, in the simplest way there is; knows nothing of the crate.

use proptest::prelude::*;
use reclaim_model::{
    Digest, Document, HolderKind, Inventory, LeaseResource, NamespaceInventory, SnapshotId,
};

use crate::world::{Outcome, World, now};

/// Asserts that the plan leaves a record for each use, and the very record where it is named.
pub(super) fn check(world: &World, outcome: &Outcome) -> Result<(), TestCaseError> {
    let inventory = world.inventory();
    let pruned = &inventory.namespaces[&outcome.plan.namespace];
    let removed = outcome.removed();
    let stays = |name: &str| !removed.contains(&name);
    for container in pruned.containers.iter().chain(&world.registered) {
        prop_assert!(stays(&container.image), "{} is named", container.image);
        if let Some(digest) = &container.image_digest {
            one_stays(pruned, outcome, digest)?;
        }
        if let Some(chain) = container.snapshot.as_ref().and_then(|id| chain(pruned, id)) {
            for target in targets_of(&inventory, pruned, &chain) {
                one_stays(pruned, outcome, target)?;
            }
        }
    }
    let leases = pruned.leases.iter();
    for lease in leases.filter(|lease| lease.is_live(now()) && !lease.is_ours()) {
        for resource in &lease.resources {
            match resource {
                LeaseResource::Content(digest) => one_stays(pruned, outcome, digest)?,
                LeaseResource::Image(name) => prop_assert!(stays(name), "{name} is leased"),
                LeaseResource::Snapshot(id) => {
                    // A committed one in between is no use; the top of an image is.
                    if let Ok(chain) = id.key.parse()
                        && is_there(pruned, id)
                    {
                        for target in targets_of(&inventory, pruned, &chain) {
                            one_stays(pruned, outcome, target)?;
                        }
                    }
                }
                LeaseResource::Ingest(_) | LeaseResource::Other { .. } => {}
            }
        }
    }
    for kept in &outcome.plan.kept {
        let is_whole = kept.holders.iter().all(|holder| match holder.kind {
            HolderKind::Image => stays(&holder.id),
            HolderKind::Container
            | HolderKind::Lease
            | HolderKind::Snapshot
            | HolderKind::Content
            | HolderKind::Sandbox
            | HolderKind::Rule
            | HolderKind::Label
            | HolderKind::Snapshotter => true,
        });
        prop_assert!(is_whole, "{} is kept for one that goes", kept.name);
    }
    Ok(())
}

/// Of the records of this target, if there are any, at least one stays.
fn one_stays(
    pruned: &NamespaceInventory,
    outcome: &Outcome,
    target: &Digest,
) -> Result<(), TestCaseError> {
    let mut records = pruned.images.iter();
    let is_any = records.any(|image| image.target.digest == *target);
    let mut kept = outcome.plan.kept.iter();
    let is_kept = kept.any(|kept| kept.target == *target);
    prop_assert!(!is_any || is_kept, "no record of {target} is left");
    Ok(())
}

fn is_there(pruned: &NamespaceInventory, id: &SnapshotId) -> bool {
    let list = pruned.snapshots.get(&id.snapshotter);
    list.is_some_and(|list| list.iter().any(|it| *it.key == *id.key))
}

/// The first chain ID below a snapshot.
fn chain(pruned: &NamespaceInventory, id: &SnapshotId) -> Option<Digest> {
    let list = pruned.snapshots.get(&id.snapshotter)?;
    let mut key = id.key.to_string();
    for _ in 0..=list.len() {
        let snapshot = list.iter().find(|it| *it.key == *key)?;
        if let Ok(chain) = key.parse() {
            return Some(chain);
        }
        key = snapshot.parent.as_deref()?.to_owned();
    }
    None
}

/// Targets that are manifests with a config of this chain.
fn targets_of<'a>(
    inventory: &'a Inventory,
    pruned: &'a NamespaceInventory,
    chain: &Digest,
) -> Vec<&'a Digest> {
    let targets = pruned.images.iter().map(|image| &image.target.digest);
    let has_chain = |target: &&Digest| {
        let Some(Document::Manifest(children)) = inventory.documents.get(*target) else {
            return false;
        };
        let mut documents = children
            .iter()
            .map(|it| inventory.documents.get(&it.digest));
        documents.any(|it| match it {
            Some(Document::Config(config)) => config.chain_id.as_ref() == Some(chain),
            Some(
                Document::Index(_)
                | Document::Manifest(_)
                | Document::Torn(_)
                | Document::NotRead(_),
            )
            | None => false,
        })
    };
    targets.filter(has_chain).collect()
}
