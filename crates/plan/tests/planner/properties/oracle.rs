//! Who uses what, in the simplest way there is; knows nothing of the crate.

use std::collections::BTreeSet;

use proptest::prelude::*;
use reclaim_model::{
    Container, ContainerSource, Digest, Document, HolderKind, Inventory, LeaseResource,
    NamespaceInventory, SnapshotId, SnapshotKind,
};

use crate::world::{Outcome, World, now};

/// Asserts that the plan leaves a record for each use, and the very record where it is named.
pub(super) fn check(world: &World, outcome: &Outcome) -> Result<(), TestCaseError> {
    let inventory = world.inventory();
    let pruned = &inventory.namespaces[&outcome.plan.namespace];
    let removed = outcome.removed();
    let stays = |name: &str| !removed.contains(&name);
    for container in pruned.containers.iter().chain(&world.registered) {
        let image = &container.image;
        let is_chosen = is_chosen_by_docker(world, pruned, container);
        prop_assert!(is_chosen || stays(image), "{image} is named");
        if let Some(digest) = &container.image_digest {
            one_stays(pruned, outcome, digest)?;
        }
        if let Some(id) = &container.snapshot
            && let Some(chain) = chain(pruned, id)
            && !is_proven(&inventory, pruned, &[container], &chain)
        {
            all_stay(&inventory, pruned, outcome, &chain)?;
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
                        all_stay(&inventory, pruned, outcome, &chain)?;
                    }
                    if is_of_container(pruned, id, &lease.id)
                        && let Some(chain) = chain(pruned, id)
                        && !is_proven(&inventory, pruned, &same(world, pruned, &lease.id), &chain)
                    {
                        all_stay(&inventory, pruned, outcome, &chain)?;
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

/// All containers of an ID.
fn same<'w>(world: &'w World, pruned: &'w NamespaceInventory, id: &str) -> Vec<&'w Container> {
    let all = pruned.containers.iter().chain(&world.registered);
    all.filter(|it| it.id == id).collect()
}

/// Whether dockerd chose the recorded name among those of the image that its list has.
fn is_chosen_by_docker(world: &World, pruned: &NamespaceInventory, container: &Container) -> bool {
    let mut listed = world.registered.iter();
    let listed = listed.find(|it| it.id == container.id && it.source == ContainerSource::Docker);
    let digest = listed.and_then(|it| it.image_digest.as_ref());
    let mut images = pruned.images.iter();
    let named = images.find(|image| image.name == container.image);
    !std::ptr::eq(listed.unwrap_or(container), container)
        && named.is_some_and(|image| Some(&image.target.digest) == digest)
}

/// Whether the digests of containers may say of which image their snapshots with this chain are:
/// each has one whose document is here, belongs to an image, and implies the chain.
pub(super) fn is_proven(
    inventory: &Inventory,
    pruned: &NamespaceInventory,
    containers: &[&Container],
    chain: &Digest,
) -> bool {
    let digests = containers.iter().map(|it| {
        let all = [&it.image_digest, &it.image_manifest, &it.image_config];
        all.into_iter().flatten().collect::<Vec<_>>()
    });
    let mut digests = digests.filter(|it| !it.is_empty()).peekable();
    let belongs_to_image = |digest: &Digest| {
        let mut targets = pruned.images.iter().map(|image| &image.target.digest);
        targets.any(|target| below(inventory, target).contains(digest))
    };
    let implies = |digest: &Digest| {
        let below = below(inventory, digest);
        let mut documents = below.iter().filter_map(|it| inventory.documents.get(it));
        documents
            .any(|it| matches!(it, Document::Config(it) if it.chain_id.as_ref() == Some(chain)))
    };
    digests.peek().is_some()
        && digests.all(|digests| {
            digests.into_iter().any(|digest| {
                let mut blobs = pruned.blobs.iter();
                blobs.any(|it| it.digest == *digest) && belongs_to_image(digest) && implies(digest)
            })
        })
}

/// Whether a digest of a container is of an image here that has layers, even if its document is
/// in another namespace only.
pub(super) fn may_narrow(inventory: &Inventory, container: &Container) -> bool {
    let pruned = &inventory.namespaces[&World::NAMESPACE.parse().unwrap()];
    let digests = [
        &container.image_digest,
        &container.image_manifest,
        &container.image_config,
    ];
    digests.into_iter().flatten().any(|digest| {
        let mut targets = pruned.images.iter().map(|image| &image.target.digest);
        let below_it = below(inventory, digest);
        let mut documents = below_it.iter().filter_map(|it| inventory.documents.get(it));
        targets.any(|target| below(inventory, target).contains(digest))
            && documents.any(|it| matches!(it, Document::Config(it) if it.chain_id.is_some()))
    })
}

/// A document and all that it refers to, directly or not.
fn below(inventory: &Inventory, digest: &Digest) -> BTreeSet<Digest> {
    let mut found = BTreeSet::from([digest.clone()]);
    loop {
        let documents = found.iter().filter_map(|it| inventory.documents.get(it));
        let children = documents.flat_map(Document::children);
        let more: Vec<Digest> = children.map(|it| it.digest.clone()).collect();
        let before = found.len();
        found.extend(more);
        if found.len() == before {
            return found;
        }
    }
}

/// The chains of the configurations that a document leads to.
pub(super) fn chains(inventory: &Inventory, digest: &Digest) -> BTreeSet<Digest> {
    let below = below(inventory, digest);
    let documents = below.iter().filter_map(|it| inventory.documents.get(it));
    documents
        .filter_map(|document| match document {
            Document::Config(config) => config.chain_id.clone(),
            Document::Index(_)
            | Document::Manifest(_)
            | Document::Torn(_)
            | Document::NotRead(_) => None,
        })
        .collect()
}

/// At least one record stays of each target with this chain.
fn all_stay(
    inventory: &Inventory,
    pruned: &NamespaceInventory,
    outcome: &Outcome,
    chain: &Digest,
) -> Result<(), TestCaseError> {
    for target in targets_of(inventory, pruned, chain) {
        one_stays(pruned, outcome, target)?;
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

/// Whether a snapshot that a lease holds is that of the container of the same ID. A committed one is
/// not, except Docker's `-init`: BuildKit's leases have the IDs of the snapshots of its cache.
fn is_of_container(pruned: &NamespaceInventory, id: &SnapshotId, lease: &str) -> bool {
    let is_active = || {
        let list = pruned.snapshots.get(&id.snapshotter).into_iter().flatten();
        list.clone()
            .any(|it| *it.key == *id.key && it.kind != SnapshotKind::Committed)
    };
    id.key.strip_suffix("-init") == Some(lease) || *id.key == *lease && is_active()
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
