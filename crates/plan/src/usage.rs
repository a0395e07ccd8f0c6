//! Who uses which image, from every piece of evidence there is.
//!
//! Evidence comes in three strengths. A *name* uses one record. A *digest*, an ID or a chain
//! of snapshots uses a target: at least one record of it must stay. A use that cannot be
//! traced to any image may be a use of any that it could be.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use reclaim_model::{
    Container, Digest, Gap, GcLabels, GcRef, Holder, HolderKind, IdPrefix, LeaseResource,
    NamespaceInventory, Reference, SnapshotId,
};

use crate::graph::{Graph, Node, NodeId};
use crate::holdings::{Holding, holdings};
use crate::mark::Marker;
use crate::targets::{TargetId, Targets, TargetsByDigest};

/// The shortest text that is taken for the beginning of an ID where no record has that name.
///
/// Docker's own look-up of images wants four to sixty-four hexadecimal characters.
const MIN_ID_LENGTH: usize = 4;

/// The length of a whole SHA-256 in hexadecimal.
const WHOLE_ID_LENGTH: usize = 64;

/// What Docker adds to a container's ID for the snapshot below the container's own.
const INIT_SUFFIX: &str = "-init";

type Holders = BTreeSet<Holder>;

/// Who uses what.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    /// By index of the image: who names this very record.
    pub(crate) records: BTreeMap<usize, Holders>,
    /// By target: who uses its content, under whatever name.
    pub(crate) targets: BTreeMap<TargetId, Holders>,
    /// Uses of a chain that no image is known to have: they may be of an image that is not
    /// all there.
    pub(crate) unexplained: Holders,
    /// Uses of which nothing can be seen: they may be of any image.
    pub(crate) untraced: Holders,
}

/// Collects the evidence of one namespace.
///
/// `registered` are containers that engines know of beyond containerd's own records.
pub(crate) fn usage<'a>(
    graph: &Graph<'a>,
    targets: &Targets<'a>,
    registered: &'a [Container],
    now: Timestamp,
) -> Usage {
    let mut collector = Collector::new(graph, targets);
    for container in graph.namespace.containers.iter().chain(registered) {
        collector.add_container(container);
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
    by_identity: TargetsByDigest<'a>,
    by_chain: TargetsByDigest<'a>,
    /// By index of the image.
    of_images: Vec<TargetId>,
    blind: BTreeSet<&'a str>,
    usage: Usage,
}

impl<'g, 'a> Collector<'g, 'a> {
    fn new(graph: &'g Graph<'a>, targets: &Targets<'a>) -> Self {
        let identities = targets.iter().flat_map(|(id, target)| {
            let identity = target.anatomy.identity.iter();
            identity.map(move |digest| (*digest, id))
        });
        let chains = targets.iter().flat_map(|(id, target)| {
            let chains = target.anatomy.chains.iter();
            chains.map(move |digest| (*digest, id))
        });
        let by_identity = TargetsByDigest::new(identities);
        let by_chain = TargetsByDigest::new(chains);
        Self {
            graph,
            by_identity,
            by_chain,
            of_images: targets.of_images().to_vec(),
            blind: blind_snapshotters(graph.namespace),
            usage: Usage::default(),
        }
    }

    /// Takes all that a container says: its name, its digest, what it stands on.
    ///
    /// A root filesystem that cannot be seen may stand on any image, unless the digest tells. A
    /// name does not: it may lead elsewhere by now.
    fn add_container(&mut self, container: &'a Container) {
        let holder = holder(HolderKind::Container, &container.id);
        let mut has_digest = self.add_name(&container.image, &holder);
        if let Some(digest) = &container.image_digest {
            has_digest |= self.add_identity(digest, &holder);
        }
        for image in &container.mounts {
            self.add_mounted(image, &holder);
        }
        self.add_unseen(&container.gc, &holder);
        let Some(snapshot) = &container.snapshot else {
            return;
        };
        if let Some(id) = self.graph.find_snapshot(snapshot) {
            self.add_chain(id, &holder);
        } else if !has_digest && self.is_unseen(snapshot) {
            self.usage.untraced.insert(holder);
        }
    }

    /// Takes an image that a container mounts: by what its name means, and by the name itself.
    fn add_mounted(&mut self, image: &'a str, holder: &Holder) {
        self.add_name(image, holder);
        let reference = Reference::parse_normalized(image).ok();
        let names = reference.into_iter().flat_map(record_names);
        for name in names.chain([image.to_owned()]) {
            if let Some(id) = self.graph.find_image(&name)
                && let Node::Image(index) = self.graph.node(id)
            {
                let target = self.of_images[index];
                add_targets(&mut self.usage, std::iter::once(target), holder);
            }
        }
    }

    /// Takes what a container was created from, in all the ways in which engines write it.
    /// Returns whether it has a digest that leads to an image.
    fn add_name(&mut self, image: &str, holder: &Holder) -> bool {
        let mut is_record = self.add_record(image, holder);
        let mut has_digest = false;
        if let Ok(reference) = Reference::parse_normalized(image) {
            let digest = reference.digest();
            has_digest |= digest.is_some_and(|digest| self.add_identity(digest, holder));
            for spelling in record_names(reference) {
                is_record |= self.add_record(&spelling, holder);
            }
        }
        // A name wins over an ID that begins like it; a whole digest is never only a name.
        if let Some(prefix) = IdPrefix::parse(image)
            && prefix.hex_len() >= MIN_ID_LENGTH
            && (!is_record || prefix.hex_len() == WHOLE_ID_LENGTH)
        {
            let targets = self.by_identity.matching(&prefix);
            has_digest |= add_targets(&mut self.usage, targets, holder);
        }
        has_digest
    }

    fn add_record(&mut self, name: &str, holder: &Holder) -> bool {
        let Some(id) = self.graph.find_image(name) else {
            return false;
        };
        if let Node::Image(index) = self.graph.node(id) {
            let holders = self.usage.records.entry(index).or_default();
            holders.insert(holder.clone());
        }
        true
    }

    /// Marks every target of which `digest` is an index, manifest or config.
    fn add_identity(&mut self, digest: &Digest, holder: &Holder) -> bool {
        add_targets(&mut self.usage, self.by_identity.get(digest), holder)
    }

    /// Marks every target whose chain the snapshot stands on.
    ///
    /// Between a container's snapshot and the image's there may be others (Docker's `-init`,
    /// a remapped copy): the first key that is a chain ID decides. What an engine put on a
    /// chain of which no image is known is remembered as unexplained.
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
            if !add_targets(&mut self.usage, self.by_chain.get(&chain), holder) {
                self.usage.unexplained.insert(holder.clone());
            }
            return;
        }
    }

    /// Takes what a live lease lists by itself.
    ///
    /// An image record in it is a use at any version, though only containerd 2.0 and newer keep
    /// the image for it: whoever listed it meant it.
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

    /// An active snapshot or view uses what it stands on; a committed one uses the image of
    /// which it is the top, but not those that it merely builds upon, or every build cache
    /// would hold its base images for good. Docker's `<container>-init` is committed a moment
    /// before the container's own snapshot stands on it, and is a use from then on.
    fn add_leased_snapshot(&mut self, id: &SnapshotId, holder: &Holder) {
        let Some(node) = self.graph.find_snapshot(id) else {
            if self.is_unseen(id) {
                self.usage.untraced.insert(holder.clone());
            }
            return;
        };
        let is_containers = id.key.strip_suffix(INIT_SUFFIX) == Some(&*holder.id);
        if is_containers || self.is_in_use_itself(node) {
            self.add_chain(node, holder);
        } else if let Ok(chain) = id.key.parse::<Digest>() {
            add_targets(&mut self.usage, self.by_chain.get(&chain), holder);
        }
    }

    /// Takes labels that refer to snapshots where none can be seen.
    fn add_unseen(&mut self, labels: &GcLabels, holder: &Holder) {
        let mut references = labels.refs.iter();
        if references.any(|it| matches!(it, GcRef::Snapshot(id) if self.is_unseen(id))) {
            self.usage.untraced.insert(holder.clone());
        }
    }

    fn is_unseen(&self, id: &SnapshotId) -> bool {
        self.blind.contains(&*id.snapshotter)
    }

    /// Takes what every holder reaches.
    ///
    /// A label that makes a root does not lead on through image records: what an image itself
    /// keeps is no use of it, or it would keep itself.
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

    /// Takes what a holder reaches through labels.
    ///
    /// `gc.root` on content keeps bytes, not images: it is no use. An active snapshot is one,
    /// whoever reaches it.
    fn add_reached(&mut self, holding: &Holding, reached: &[NodeId]) {
        let holder = &holding.holder;
        let is_user = is_user(holder);
        for id in reached {
            match self.graph.node(*id) {
                Node::Blob(index) if is_user => {
                    self.add_identity(&self.graph.blob(index).digest, holder);
                }
                // Nothing but users leads to records.
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

/// Returns whether there was any.
fn add_targets(
    usage: &mut Usage,
    targets: impl Iterator<Item = TargetId>,
    holder: &Holder,
) -> bool {
    let mut is_any = false;
    for target in targets {
        let holders = usage.targets.entry(target).or_default();
        holders.insert(holder.clone());
        is_any = true;
    }
    is_any
}

/// Whether the holder is somebody, not a thing that holds itself.
fn is_user(holder: &Holder) -> bool {
    match holder.kind {
        HolderKind::Container | HolderKind::Lease | HolderKind::Sandbox => true,
        HolderKind::Snapshot
        | HolderKind::Content
        | HolderKind::Image
        | HolderKind::Rule
        | HolderKind::Label => false,
    }
}

/// The record names that a reference may mean: with its default tag, and where it has both a
/// tag and a digest also by the tag alone and by the digest alone.
///
/// Source: Docker's pruner keeps `name:tag` for a container created from `name:tag@digest`,
/// whatever the tag points at by now.
fn record_names(reference: Reference) -> Vec<String> {
    let mut names = Vec::new();
    if let Some(digest) = reference.digest() {
        names.push(format!("{}@{digest}", reference.repository()));
        if let Some(tag) = reference.tag() {
            names.push(format!("{}:{tag}", reference.repository()));
        }
    }
    names.push(reference.with_default_tag().to_string());
    names
}

fn blind_snapshotters(namespace: &NamespaceInventory) -> BTreeSet<&str> {
    let names = namespace.gaps.iter().filter_map(|gap| match gap {
        Gap::Snapshotter { name, why: _ } => Some(&**name),
        Gap::Content { .. } => None,
    });
    names.collect()
}

fn holder(kind: HolderKind, id: &str) -> Holder {
    Holder::new(kind, id)
}
