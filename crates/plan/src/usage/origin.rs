//! Which image a container's own snapshots are of, by the digest that its engine noted.
//!
//! Images that differ only in their configuration have the same chain. Where the engine says by a
//! digest from which of them a container was created, the container's snapshots are of that image
//! alone. Nothing else narrows a use: a name moves, and what an image says about others proves
//! nothing. A digest does, because it is the hash of all that is evaluated here:
//!
//! - The blob with that digest is in the namespace. All documents to which it leads and that are
//!   here can be read, and imply the chain on which the very snapshot is based.
//! - An image has it. That image is then in use, so the content stays.
//! - No label refers to the snapshot: what another holder reaches counts for every image.
//!
//! Otherwise the chain counts for every image that implies it, for example if the image of the
//! digest is gone. The value of a label ([`IMAGE_DIGEST_LABEL`]) narrows a use only if no image
//! with the chain has, or may have, the label itself: then no image's author wrote it.

use std::collections::{BTreeMap, BTreeSet};

use reclaim_model::{
    Container, ContainerSource, Digest, Document, DocumentKind, GcRef, Holder, HolderKind,
    IMAGE_DIGEST_LABEL, Inventory, NamespaceInventory, SnapshotId,
};

use super::INIT_SUFFIX;
use crate::graph::Graph;
use crate::targets::{TargetId, Targets, TargetsByDigest};

/// The containers of a namespace, and what the digests of their images prove.
pub(super) struct Origins<'a> {
    /// An engine's list and containerd's record may have the same container.
    by_id: BTreeMap<&'a str, Vec<&'a Container>>,
    /// Snapshots that something may reach through labels, without those that may be layers.
    labelled: BTreeSet<(&'a str, &'a str)>,
    inventory: &'a Inventory,
}

/// What finds images by a digest.
pub(super) struct Finders<'f, 'a> {
    pub(super) graph: &'f Graph<'a>,
    pub(super) targets: &'f Targets<'a>,
    pub(super) by_identity: &'f TargetsByDigest<'a>,
    pub(super) by_chain: &'f TargetsByDigest<'a>,
}

impl<'a> Origins<'a> {
    /// Collects the containers. `registered` are those that only engines know of.
    pub(super) fn new(
        graph: &Graph<'a>,
        registered: &'a [Container],
        inventory: &'a Inventory,
    ) -> Self {
        let mut by_id: BTreeMap<&str, Vec<&Container>> = BTreeMap::new();
        for container in graph.namespace.containers.iter().chain(registered) {
            by_id.entry(&container.id).or_default().push(container);
        }
        let mut containers = by_id.values().flatten();
        let is_any_known = containers.any(|it| digests(it).next().is_some());
        Self {
            by_id,
            labelled: if is_any_known {
                labelled(graph.namespace)
            } else {
                BTreeSet::new()
            },
            inventory,
        }
    }

    /// Returns the digest of the image that a Docker Engine lists for a container.
    pub(super) fn of_docker(&self, id: &str) -> Option<&'a Digest> {
        let mut containers = self.by_id.get(id)?.iter();
        let listed = containers.find(|it| it.source == ContainerSource::Docker)?;
        listed.image_digest.as_ref()
    }

    /// Returns the images of which a snapshot with this chain is, if it is the holder's own and the
    /// digests of its engine prove it; `None` if it may be of every image with the chain.
    pub(super) fn of_snapshot(
        &self,
        holder: &Holder,
        snapshot: &SnapshotId,
        chain: &Digest,
        finders: &Finders<'_, '_>,
    ) -> Option<BTreeSet<TargetId>> {
        // The lease of a Docker container has its ID.
        if !matches!(holder.kind, HolderKind::Container | HolderKind::Lease) {
            return None;
        }
        let containers = self.by_id.get(&*holder.id)?;
        let key = (&*snapshot.snapshotter, &*snapshot.key);
        if !containers.iter().any(|it| is_own(it, snapshot))
            || may_be_layer(&snapshot.key)
            || self.labelled.contains(&key)
        {
            return None;
        }
        let mut images = BTreeSet::new();
        for container in containers {
            let mut digests = digests(container).peekable();
            if digests.peek().is_none() {
                continue;
            }
            let is_copy =
                container.source == ContainerSource::Label && self.may_have_label(chain, finders);
            let proven = digests
                .filter(|_| !is_copy)
                .find(|digest| is_here(digest, finders) && self.implies(digest, chain))?;
            images.extend(finders.by_identity.get(proven));
        }
        Some(images).filter(|images| !images.is_empty())
    }

    /// Whether a document, with what it refers to, can be read and implies a chain.
    fn implies(&self, digest: &Digest, chain: &Digest) -> bool {
        let documents = self.below(digest).unwrap_or_default();
        documents.into_iter().any(|digest| {
            let document = self.inventory.documents.get(digest);
            matches!(document, Some(Document::Config(it)) if it.chain_id.as_ref() == Some(chain))
        })
    }

    /// Whether `digest` is here, can be read, and leads to `part`.
    pub(super) fn is_part(
        &self,
        part: &Digest,
        digest: &Digest,
        finders: &Finders<'_, '_>,
    ) -> bool {
        is_here(digest, finders) && self.below(digest).is_some_and(|it| it.contains(part))
    }

    /// Returns a digest and those of all documents to which it leads, present or not; `None` if one
    /// that is present cannot be read, or is called something else than it is.
    fn below<'d>(&'d self, digest: &'d Digest) -> Option<BTreeSet<&'d Digest>> {
        let mut found = BTreeSet::from([digest]);
        let mut seen = BTreeSet::new();
        let mut pending = vec![(digest, None)];
        while let Some((digest, called)) = pending.pop() {
            let Some(document) = self.inventory.documents.get(digest) else {
                continue;
            };
            let kind = document.kind()?;
            if called.is_some_and(|called| called != kind) {
                return None;
            }
            let children = document.children().iter();
            for child in children.filter(|it| it.kind != DocumentKind::Leaf) {
                found.insert(&child.digest);
                if seen.insert((&child.digest, child.kind)) {
                    pending.push((&child.digest, Some(child.kind)));
                }
            }
        }
        Some(found)
    }

    /// Whether an image with this chain has, or may have, the label that nerdctl writes.
    fn may_have_label(&self, chain: &Digest, finders: &Finders<'_, '_>) -> bool {
        let targets = finders.by_chain.get(chain);
        let mut documents = targets.flat_map(|target| {
            let identity = finders.targets.get(target).contents.identity.iter();
            identity.filter_map(|digest| self.inventory.documents.get(digest))
        });
        documents.any(|document| match document {
            Document::Config(config) => {
                config.labels.contains_key(IMAGE_DIGEST_LABEL)
                    || config.may_have(IMAGE_DIGEST_LABEL, &self.inventory.label_keys)
            }
            Document::Torn(_) | Document::NotRead(_) => true,
            Document::Index(_) | Document::Manifest(_) => false,
        })
    }
}

/// Whether the namespace has the blob of a digest, and an image of which it is a part.
fn is_here(digest: &Digest, finders: &Finders<'_, '_>) -> bool {
    let is_of_image = || finders.by_identity.get(digest).next().is_some();
    finders.graph.find_blob(digest).is_some() && is_of_image()
}

/// Returns the snapshots to which labels refer, or that labels attach to something.
fn labelled(namespace: &NamespaceInventory) -> BTreeSet<(&str, &str)> {
    let snapshots = || {
        let lists = namespace.snapshots.iter();
        lists.flat_map(|(snapshotter, list)| list.iter().map(move |it| (snapshotter, it)))
    };
    let attached = snapshots().filter(|(_, snapshot)| !snapshot.gc.back_refs.is_empty());
    let attached = attached.map(|(snapshotter, snapshot)| (&**snapshotter, &*snapshot.key));
    let blobs = namespace.blobs.iter().map(|it| &it.gc);
    let images = namespace.images.iter().map(|it| &it.gc);
    let containers = namespace.containers.iter().map(|it| &it.gc);
    let sandboxes = namespace.sandboxes.iter().map(|it| &it.gc);
    let objects = blobs.chain(images).chain(containers).chain(sandboxes);
    let objects = objects.chain(snapshots().map(|(_, snapshot)| &snapshot.gc));
    let references = objects.flat_map(|labels| &labels.refs);
    let references = references.filter_map(|reference| match reference {
        GcRef::Snapshot(id) if !may_be_layer(&id.key) => Some((&*id.snapshotter, &*id.key)),
        GcRef::Snapshot(_)
        | GcRef::Content(_)
        | GcRef::NoContent(_)
        | GcRef::Image(_)
        | GcRef::Container(_) => None,
    });
    references.chain(attached).collect()
}

/// Whether a snapshot may be an image's layer, by its key. Engines make other keys for containers.
fn may_be_layer(key: &str) -> bool {
    key.contains(':')
}

/// Returns the digests of a container's image, the most exact first.
fn digests(container: &Container) -> impl Iterator<Item = &Digest> {
    let digests = [
        &container.image_digest,
        &container.image_manifest,
        &container.image_config,
    ];
    digests.into_iter().flatten()
}

/// Whether a snapshot is the root filesystem of a container, or Docker's snapshot below it. Only
/// containers without a snapshot in their record have snapshots by their ID.
fn is_own(container: &Container, snapshot: &SnapshotId) -> bool {
    let key = &*snapshot.key;
    container.snapshot.as_ref().map_or_else(
        || key.strip_suffix(INIT_SUFFIX).unwrap_or(key) == container.id,
        |own| own == snapshot,
    )
}
