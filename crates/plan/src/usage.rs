//! What uses which image, from every piece of evidence.
//!
//! Evidence comes in three strengths. A *name* uses one record. A *digest*, an ID or a chain
//! of snapshots uses a target: at least one record of it must stay. A use that cannot be
//! traced to an image may be a use of any image that it could be of.
//!
//! Which images those are follows from the image and the use alone, never from other images:
//! otherwise adding an image could make another one removable. There are two exceptions. An image
//! that the user itself names and that has the very chain on which the user's snapshot is based
//! explains the use: it is of no image whose chains are unknown. If the engine even gives the
//! digest of that image, the user's own snapshots are of it alone ([`origin`]).
//!
//! For a container that a Docker Engine lists, the name in its list is the name. dockerd writes
//! into containerd's record the first by name of all records that the image has, if the container
//! was created by an ID or a digest (moby, `daemon/start.go` and `daemon/containerd/image.go`). So
//! that name says nothing where it leads to the image that the list has; where it leads elsewhere,
//! or the list has no digest, it counts like any other.

mod origin;
mod spelling;
mod uses;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use reclaim_model::{
    Container, ContainerSource, Digest, Gap, GcLabels, GcRef, Holder, HolderKind, IdPrefix,
    Inventory, LeaseResource, Reference, SnapshotId,
};

use crate::graph::{Graph, Node, NodeId};
use crate::holdings::{Holding, holdings};
use crate::mark::Marker;
use crate::parallel::both;
use crate::targets::{TargetId, Targets, TargetsByDigest};
use origin::{Finders, Origins};
use spelling::{MIN_ID_LENGTH, WHOLE_ID_LENGTH, names_digest, record_names};
pub(crate) use uses::Usage;
use uses::{UNLISTED, blind_snapshotters, unlisted_users};

/// The suffix that Docker adds to a container's ID for the snapshot below the container's own.
const INIT_SUFFIX: &str = "-init";

/// Collects the evidence of one namespace.
///
/// `registered` are containers that engines know of beyond containerd's own records.
pub(crate) fn usage<'a>(
    graph: &Graph<'a>,
    targets: &Targets<'a>,
    registered: &'a [Container],
    inventory: &'a Inventory,
) -> Usage {
    let now = inventory.observed_at;
    let origins = Origins::new(graph, registered, inventory);
    let mut collector = Collector::new(graph, targets, origins);
    collector.add_gaps();
    let recorded = &graph.namespace.containers;
    for container in recorded {
        let is_named_by_list = collector.is_dockers_choice(container);
        collector.add_names(container, is_named_by_list);
    }
    for container in registered {
        collector.add_names(container, false);
    }
    for container in recorded.iter().chain(registered) {
        collector.add_snapshot(container);
    }
    let leases = graph.namespace.leases.iter();
    for lease in leases.filter(|lease| lease.is_live(now) && !lease.is_ours()) {
        let holder = holder(HolderKind::Lease, &lease.id);
        for resource in &lease.resources {
            collector.add_resource(resource, &holder);
        }
    }
    for sandbox in &graph.namespace.sandboxes {
        let holder = holder(HolderKind::Sandbox, &sandbox.id);
        collector.add_unseen(&sandbox.gc, &holder);
    }
    collector.add_holdings(now);
    collector.usage
}

struct Collector<'g, 'a> {
    graph: &'g Graph<'a>,
    targets: &'g Targets<'a>,
    origins: Origins<'a>,
    by_identity: TargetsByDigest<'a>,
    by_chain: TargetsByDigest<'a>,
    /// By index of the image.
    of_images: Vec<TargetId>,
    /// Targets whose documents can all be read.
    sound: BTreeSet<TargetId>,
    /// Snapshotters that do not list, and whether each is configured.
    blind: BTreeMap<&'a str, bool>,
    /// By ID: the targets that a container names, by a name or a digest.
    named: BTreeMap<&'a str, BTreeSet<TargetId>>,
    usage: Usage,
}

impl<'g, 'a> Collector<'g, 'a> {
    fn new(graph: &'g Graph<'a>, targets: &'g Targets<'a>, origins: Origins<'a>) -> Self {
        let sound = targets
            .iter()
            .filter(|(_, target)| target.contents.defect.is_none());
        let sound = sound.map(|(id, _)| id);
        let (by_identity, by_chain) = both(
            || TargetsByDigest::by_identity(targets),
            || TargetsByDigest::by_chain(targets),
        );
        Self {
            graph,
            targets,
            origins,
            by_identity,
            by_chain,
            of_images: targets.of_images().to_vec(),
            sound: sound.collect(),
            blind: blind_snapshotters(graph.namespace),
            named: BTreeMap::new(),
            usage: Usage::default(),
        }
    }

    /// Adds the uses that the gaps of the namespace may hide: any snapshot of a snapshotter that
    /// does not list may be in use, and an unlisted sandbox may hold anything, by rules under
    /// which sandboxes hold.
    fn add_gaps(&mut self) {
        for gap in &self.graph.namespace.gaps {
            match gap {
                Gap::Snapshotter {
                    name,
                    is_configured: true,
                    ..
                } => {
                    let holder = holder(HolderKind::Snapshotter, name);
                    let unseen = self.usage.unseen.entry(name.clone()).or_default();
                    unseen.anonymous.insert(holder);
                }
                Gap::List { list, .. } => {
                    let kind = unlisted_users(*list, self.graph.rules);
                    let holders = kind.map(|kind| holder(kind, UNLISTED));
                    self.usage.untraced.extend(holders);
                }
                Gap::Snapshotter { .. } | Gap::Content { .. } | Gap::Image { .. } => {}
            }
        }
    }

    /// Adds what a container was created from, by its own record, and what it mounts. Its name does
    /// not count if an engine's list has the right one.
    fn add_names(&mut self, container: &'a Container, is_named_by_list: bool) {
        let holder = holder(HolderKind::Container, &container.id);
        let mut named = if is_named_by_list {
            Vec::new()
        } else {
            self.add_name(&container.image, &holder)
        };
        let by_digest = container.image_digest.as_ref();
        let by_digest = by_digest.map(|digest| self.add_identity(digest, &holder));
        if let Some(manifest) = &container.image_manifest
            && !self.has_manifest(container, manifest)
        {
            named.extend(self.add_identity(manifest, &holder));
        }
        if let Some(config) = &container.image_config {
            named.extend(self.add_identity(config, &holder));
        }
        // A label is evidence of a use, but of no other.
        if container.source != ContainerSource::Label {
            named.extend(by_digest.into_iter().flatten());
        }
        for image in &container.mounts {
            self.add_mounted(image, &holder);
        }
        self.add_unseen(&container.gc, &holder);
        self.named.entry(&container.id).or_default().extend(named);
    }

    /// Whether dockerd, not a user, chose the name in containerd's record of a container: it leads
    /// to the image that the Docker Engine lists for it.
    fn is_dockers_choice(&self, container: &Container) -> bool {
        let Some(digest) = self.origins.of_docker(&container.id) else {
            return false;
        };
        let reference = Reference::parse_normalized(&container.image).ok();
        let names = reference.into_iter().flat_map(record_names);
        let names = names.chain([container.image.clone()]);
        let found = names.filter_map(|name| self.find_record(&name));
        let targets = found.map(|index| &self.graph.namespace.images[index].target.digest);
        let mut targets = targets.peekable();
        targets.peek().is_some() && targets.all(|target| target == digest)
    }

    /// Adds the image on which a container's snapshot is based.
    ///
    /// A root filesystem that cannot be seen may be based on any image that is unpacked there. If
    /// the snapshotter is not even configured, an image that the container names explains it;
    /// otherwise a name does not, because it may now lead to another image.
    fn add_snapshot(&mut self, container: &'a Container) {
        let Some(snapshot) = &container.snapshot else {
            return;
        };
        let holder = holder(HolderKind::Container, &container.id);
        if let Some(id) = self.graph.find_snapshot(snapshot) {
            self.add_chain(id, &holder);
        } else if let Some(is_configured) = self.blind.get(&*snapshot.snapshotter) {
            let is_named = !self.named[&*container.id].is_empty();
            if is_named && !is_configured {
                return;
            }
            let snapshotter = snapshot.snapshotter.clone();
            let unseen = self.usage.unseen.entry(snapshotter).or_default();
            if names_digest(container) {
                unseen.known_by_digest.insert(holder);
            } else {
                unseen.anonymous.insert(holder);
            }
        }
    }

    /// Adds an image that a container mounts: by what its name means, and by the name itself.
    fn add_mounted(&mut self, image: &'a str, holder: &Holder) {
        self.add_name(image, holder);
        let reference = Reference::parse_normalized(image).ok();
        let names = reference.into_iter().flat_map(record_names);
        for name in names.chain([image.to_owned()]) {
            if let Some(index) = self.find_record(&name) {
                let target = self.of_images[index];
                add_targets(&mut self.usage, std::iter::once(target), holder);
            }
        }
    }

    /// Adds what a container was created from, in every spelling that engines use, and returns the
    /// targets to which that leads.
    fn add_name(&mut self, image: &str, holder: &Holder) -> Vec<TargetId> {
        let mut named: Vec<TargetId> = self.add_record(image, holder).into_iter().collect();
        let mut by_digest = Vec::new();
        if let Ok(reference) = Reference::parse_normalized(image) {
            if let Some(digest) = reference.digest() {
                by_digest.extend(self.add_identity(digest, holder));
            }
            for spelling in record_names(reference) {
                named.extend(self.add_record(&spelling, holder));
            }
        }
        // A name wins over an ID that begins like it; a whole digest is never only a name.
        if let Some(prefix) = IdPrefix::parse(image)
            && prefix.hex_len() >= MIN_ID_LENGTH
            && (named.is_empty() || prefix.hex_len() == WHOLE_ID_LENGTH)
        {
            let targets = self.by_identity.matching(&prefix);
            by_digest.extend(add_targets(&mut self.usage, targets, holder));
        }
        named.append(&mut by_digest);
        named
    }

    /// Returns the index of the image record with a name.
    fn find_record(&self, name: &str) -> Option<usize> {
        match self.graph.node(self.graph.find_image(name)?) {
            Node::Image(index) => Some(index),
            Node::Blob(_) | Node::Snapshot(_) | Node::Container(_) | Node::Absent => None,
        }
    }

    /// Returns the target of the record, if there is one of that name.
    fn add_record(&mut self, name: &str, holder: &Holder) -> Option<TargetId> {
        let index = self.find_record(name)?;
        let holders = self.usage.records.entry(index).or_default();
        holders.insert(holder.clone());
        Some(self.of_images[index])
    }

    /// Adds every target of which `digest` is an index, manifest or config, and returns them.
    fn add_identity(&mut self, digest: &Digest, holder: &Holder) -> Vec<TargetId> {
        add_targets(&mut self.usage, self.by_identity.get(digest), holder)
    }

    /// Adds every target whose chain the snapshot is based on, or the one that its engine's digest
    /// proves.
    ///
    /// Between a container's snapshot and the image's there may be others (Docker's `-init`,
    /// a remapped copy): the first key that is a chain ID decides. The use is explained if the
    /// container of the holder's ID names one of these targets: Docker's leases have the ID of
    /// their container. Another image with the same chain does not explain it.
    fn add_chain(&mut self, from: NodeId, holder: &Holder) {
        let mut at = Some(from);
        // A chain visits no snapshot twice, so more steps than nodes would be a cycle.
        for _ in 0..self.graph.len() {
            let Some(Node::Snapshot(index)) = at.map(|id| self.graph.node(id)) else {
                return;
            };
            let Ok(chain) = self.graph.snapshot(index).1.key.parse::<Digest>() else {
                at = self.graph.parent(index);
                continue;
            };
            let targets = match self.origin(from, &chain, holder) {
                Some(proven) => proven.into_iter().collect(),
                None => self.by_chain.get(&chain).collect::<Vec<_>>(),
            };
            let of_chain = add_targets(&mut self.usage, targets.into_iter(), holder);
            let named = self.named.get(&*holder.id);
            let is_named = |it: &TargetId| named.is_some_and(|named| named.contains(it));
            let explains = |it: &TargetId| is_named(it) && self.sound.contains(it);
            if !of_chain.iter().any(explains) {
                self.usage.unexplained.insert(holder.clone());
            }
            return;
        }
    }

    /// Returns the images of which a snapshot on a chain is, if that is proven.
    fn origin(&self, from: NodeId, chain: &Digest, holder: &Holder) -> Option<BTreeSet<TargetId>> {
        let Node::Snapshot(index) = self.graph.node(from) else {
            return None;
        };
        let (snapshotter, snapshot) = self.graph.snapshot(index);
        let id = SnapshotId::new(snapshotter.clone(), Arc::clone(&snapshot.key));
        let finders = self.finders();
        self.origins.of_snapshot(holder, &id, chain, &finders)
    }

    /// Whether the image of a container is here, and the manifest is a part of it.
    fn has_manifest(&self, container: &Container, manifest: &Digest) -> bool {
        let image = container.image_digest.as_ref();
        image.is_some_and(|image| self.origins.is_part(manifest, image, &self.finders()))
    }

    fn finders(&self) -> Finders<'_, 'a> {
        Finders {
            graph: self.graph,
            targets: self.targets,
            by_identity: &self.by_identity,
            by_chain: &self.by_chain,
        }
    }

    /// Adds what a live lease lists by itself.
    ///
    /// An image record in it is a use at any version, though only containerd 2.0 and newer keep
    /// the image for it: it was listed on purpose.
    fn add_resource(&mut self, resource: &LeaseResource, holder: &Holder) {
        match resource {
            LeaseResource::Content(digest) => {
                self.add_identity(digest, holder);
            }
            LeaseResource::Image(name) => {
                self.add_record(name, holder);
            }
            LeaseResource::Snapshot(id) => self.add_leased_snapshot(id, holder),
            LeaseResource::Ingest(_) | LeaseResource::Other { kind: _, id: _ } => {}
        }
    }

    /// Adds what a snapshot that a lease lists uses.
    ///
    /// An active snapshot or view uses the image on which it is based. A committed one uses the
    /// image of which it is the top, but not those below it, or every build cache would hold its
    /// base images forever. Docker's `<container>-init` is committed a moment before the
    /// container's own snapshot is based on it, and is a use from then on.
    fn add_leased_snapshot(&mut self, id: &SnapshotId, holder: &Holder) {
        let Some(node) = self.graph.find_snapshot(id) else {
            self.add_unseen_snapshot(id, holder);
            return;
        };
        let is_containers = id.key.strip_suffix(INIT_SUFFIX) == Some(&*holder.id);
        if is_containers || self.is_in_use_itself(node) {
            self.add_chain(node, holder);
        } else if let Ok(chain) = id.key.parse::<Digest>() {
            add_targets(&mut self.usage, self.by_chain.get(&chain), holder);
        }
    }

    /// Adds labels that refer to snapshots of a snapshotter that does not list.
    fn add_unseen(&mut self, labels: &GcLabels, holder: &Holder) {
        for reference in &labels.refs {
            if let GcRef::Snapshot(id) = reference {
                self.add_unseen_snapshot(id, holder);
            }
        }
    }

    /// Adds the use of a snapshot, if its snapshotter does not list.
    fn add_unseen_snapshot(&mut self, id: &SnapshotId, holder: &Holder) {
        if self.blind.contains_key(&*id.snapshotter) {
            let unseen = self.usage.unseen.entry(id.snapshotter.clone()).or_default();
            unseen.anonymous.insert(holder.clone());
        }
    }

    /// Adds what every holder reaches.
    ///
    /// A label that makes a root does not lead on through image records: what an image itself
    /// keeps is not a use of it, or it would keep itself.
    fn add_holdings(&mut self, now: Timestamp) {
        let images: Vec<usize> = (0..self.graph.namespace.images.len()).collect();
        let mut of_users = Marker::new(self.graph);
        let mut of_labels = Marker::new(self.graph).without_images(&images);
        let holdings = holdings(self.graph, now).into_iter();
        for holding in holdings.filter(|holding| !holding.is_ours) {
            let marker = if is_user(&holding.holder) {
                &mut of_users
            } else {
                &mut of_labels
            };
            let before = marker.n_reached();
            marker.extend_all(&holding);
            self.add_reached(&holding, marker.reached_since(before));
        }
    }

    /// Adds what a holder reaches through labels.
    ///
    /// `gc.root` on content keeps bytes, not images: it is not a use. An active snapshot is one,
    /// whichever holder reaches it.
    fn add_reached(&mut self, holding: &Holding, reached: &[NodeId]) {
        let holder = &holding.holder;
        let is_user = is_user(holder);
        for id in reached {
            match self.graph.node(*id) {
                Node::Blob(index) if is_user => {
                    self.add_identity(&self.graph.blob(index).digest, holder);
                }
                // Only users lead to records.
                Node::Image(index) => {
                    let holders = self.usage.records.entry(index).or_default();
                    holders.insert(holder.clone());
                }
                Node::Snapshot(_) if self.is_in_use_itself(*id) => self.add_chain(*id, holder),
                Node::Blob(_) | Node::Snapshot(_) | Node::Container(_) | Node::Absent => {}
            }
        }
    }

    fn is_in_use_itself(&self, id: NodeId) -> bool {
        matches!(self.graph.node(id), Node::Snapshot(index) if self.graph.is_in_use_itself(index))
    }
}

/// Adds a use of each target, and returns them.
fn add_targets(
    usage: &mut Usage,
    targets: impl Iterator<Item = TargetId>,
    holder: &Holder,
) -> Vec<TargetId> {
    let targets: Vec<TargetId> = targets.collect();
    for target in &targets {
        let holders = usage.targets.entry(*target).or_default();
        holders.insert(holder.clone());
    }
    targets
}

/// Whether the holder is a user, not a thing that holds itself.
fn is_user(holder: &Holder) -> bool {
    match holder.kind {
        HolderKind::Container | HolderKind::Lease | HolderKind::Sandbox => true,
        HolderKind::Snapshot
        | HolderKind::Content
        | HolderKind::Image
        | HolderKind::Rule
        | HolderKind::Label
        | HolderKind::Snapshotter => false,
    }
}

fn holder(kind: HolderKind, id: &str) -> Holder {
    Holder::new(kind, id)
}
