//! Which image a container's own snapshots are of, by the digest that its engine noted.
//!
//! Images that differ only in their configuration have the same chain. Where the engine says by a
//! digest from which of them a container was created, the container's snapshots are of that image
//! alone. Nothing else narrows a use: a name moves, and what an image says about others proves
//! nothing. A digest does, because it is the hash of all that is evaluated here:
//!
//! - The blob with that digest is in the namespace, and what it refers to implies the chain on
//!   which the very snapshot is based.
//! - An image has it, and all documents of that image that are here can be read. That image is
//!   then in use, so the content stays.
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
    /// Targets whose documents can all be read.
    pub(super) sound: &'f BTreeSet<TargetId>,
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
                .filter(|digest| self.implies(digest, chain))
                .find_map(|digest| readable(digest, finders))?;
            images.extend(proven);
        }
        Some(images).filter(|images| !images.is_empty())
    }

    /// Whether a document, with what it refers to, implies a chain.
    fn implies(&self, digest: &Digest, chain: &Digest) -> bool {
        self.below(digest).into_iter().any(|digest| {
            let document = self.inventory.documents.get(digest);
            matches!(document, Some(Document::Config(it)) if it.chain_id.as_ref() == Some(chain))
        })
    }

    /// Whether an image that is here and can be read has `digest`, which leads to `part`.
    pub(super) fn is_part(
        &self,
        part: &Digest,
        digest: &Digest,
        finders: &Finders<'_, '_>,
    ) -> bool {
        readable(digest, finders).is_some() && self.below(digest).contains(part)
    }

    /// Returns a digest and those of all documents to which it leads.
    fn below<'d>(&'d self, digest: &'d Digest) -> BTreeSet<&'d Digest> {
        let mut found = BTreeSet::from([digest]);
        let mut pending = vec![digest];
        while let Some(digest) = pending.pop() {
            let document = self.inventory.documents.get(digest);
            let children = document.map_or(&[][..], Document::children);
            let children = children.iter().filter(|it| it.kind != DocumentKind::Leaf);
            let children = children.map(|it| &it.digest);
            pending.extend(children.filter(|it| found.insert(it)));
        }
        found
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

/// Returns the images that have a digest and can be read; `None` if there are none, or the blob is
/// absent.
fn readable(digest: &Digest, finders: &Finders<'_, '_>) -> Option<Vec<TargetId>> {
    finders.graph.find_blob(digest)?;
    let images = finders.by_identity.get(digest);
    let images: Vec<TargetId> = images.filter(|it| finders.sound.contains(it)).collect();
    Some(images).filter(|images| !images.is_empty())
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
