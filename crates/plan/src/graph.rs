//! containerd's collector as data: the objects of one namespace and what each keeps.
//!
//! Nodes are small integers in four ranges (blobs, snapshots, images, containers), edges one
//! flat array. References never leave a namespace, so each namespace has a graph of its own.
//! A reference to something that does not exist is not an edge, unless another object names the
//! same absent thing in a back reference: containerd follows the one to the other. Such absent
//! things are a fifth range.
//!
//! Source: containerd `core/metadata/gc.go`, at the release tags that [`CollectorRules`] names.

mod resolve;

use std::sync::Arc;

use jiff::Timestamp;
use reclaim_model::{
    Blob, CollectorRules, Digest, FreedBlob, GcLabelSet, GcRef, Inventory, LeaseResource,
    NamespaceInventory, RootMark, Snapshot, SnapshotId, SnapshotKind, Snapshotter,
};

use crate::finder::{ABREAST, Blobs, Finder, text_tag};
use crate::parallel::both;

/// Stands for the parent of a snapshot without one: no namespace has so many objects.
const NO_PARENT: NodeId = NodeId::MAX;

/// One object of a namespace, by position.
pub(crate) type NodeId = u32;

/// What a [`NodeId`] stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Node {
    /// Index into the namespace's blobs.
    Blob(usize),
    /// Index into the concatenation of all snapshotters' snapshots.
    Snapshot(usize),
    /// Index into the namespace's images.
    Image(usize),
    /// Index into the namespace's containers.
    Container(usize),
    /// Something that does not exist and that a back reference names.
    Absent,
}

/// The snapshots of one snapshotter within the snapshot range.
#[derive(Debug)]
struct SnapshotList<'a> {
    name: &'a Snapshotter,
    snapshots: &'a [Snapshot],
    finder: Finder,
    first: usize,
}

impl SnapshotList<'_> {
    /// Finds a snapshot of this list by its key.
    fn find(&self, key: &str) -> Option<usize> {
        let is_it = |at: usize| *self.snapshots[at].key == *key;
        self.finder.find(text_tag(key), is_it)
    }

    /// Finds the parents of at most [`ABREAST`] snapshots, each like [`Self::find`].
    ///
    /// Readers share the texts of keys ([`Texts`](reclaim_model::Texts)), so most parents are found
    /// without comparing texts.
    fn find_parents(&self, snapshots: &[Snapshot], found: &mut [Option<usize>; ABREAST]) {
        let mut tags = [None; ABREAST];
        for (tag, snapshot) in tags.iter_mut().zip(snapshots) {
            *tag = snapshot.parent.as_ref().map(|parent| text_tag(parent));
        }
        let likely = self.finder.likely(&tags);
        for ((found, likely), snapshot) in found.iter_mut().zip(likely).zip(snapshots) {
            let is_it = |parent: &Arc<str>| {
                likely.is_some_and(|at: usize| Arc::ptr_eq(&self.snapshots[at].key, parent))
            };
            *found = snapshot.parent.as_ref().and_then(|parent| {
                if is_it(parent) {
                    likely
                } else {
                    self.find(parent)
                }
            });
        }
    }
}

/// The objects of one namespace and their references.
#[derive(Debug)]
pub(crate) struct Graph<'a> {
    /// The source of the graph.
    pub(crate) namespace: &'a NamespaceInventory,
    pub(crate) rules: CollectorRules,
    /// When the inventory was read.
    pub(crate) observed_at: Timestamp,
    blobs: Blobs<'a>,
    lists: Vec<SnapshotList<'a>>,
    /// The beginnings of the ranges of snapshots, images, containers and absent things, and the end
    /// of the last.
    starts: [usize; 5],
    /// Absent things that back references name, sorted.
    absent: Vec<GcRef>,
    /// `edges[edge_starts[n]..edge_starts[n + 1]]` are the nodes that `n` refers to.
    edge_starts: Vec<u32>,
    edges: Vec<NodeId>,
    /// (parent, child) for every back reference, sorted.
    back_references: Vec<(NodeId, NodeId)>,
    /// The parent of each snapshot, in the order of the snapshot range, or [`NO_PARENT`].
    parents: Vec<NodeId>,
    /// Blobs and snapshots that are roots by their own labels, ascending.
    roots: Vec<NodeId>,
}

impl<'a> Graph<'a> {
    /// Interns the objects of `namespace` and resolves their references.
    ///
    /// `inventory` has the rules and the time; `namespace` need not be part of it.
    pub(crate) fn new(namespace: &'a NamespaceInventory, inventory: &Inventory) -> Self {
        let (lists, blobs) = both(|| lists(namespace), || Blobs::new(&namespace.blobs));
        let n_snapshots: usize = namespace.snapshots.values().map(Vec::len).sum();
        let snapshots = namespace.blobs.len();
        let images = snapshots + n_snapshots;
        let containers = images + namespace.images.len();
        let end = containers + namespace.containers.len();
        let mut graph = Self {
            namespace,
            rules: inventory.rules,
            observed_at: inventory.observed_at,
            blobs,
            lists,
            starts: [snapshots, images, containers, end, end],
            absent: Vec::new(),
            edge_starts: Vec::new(),
            edges: Vec::new(),
            back_references: Vec::new(),
            parents: Vec::new(),
            roots: Vec::new(),
        };
        graph.resolve_back_references();
        graph.parents = graph.resolve_parents();
        graph.resolve_edges(inventory.observed_at);
        graph
    }

    /// Number of nodes.
    pub(crate) fn len(&self) -> usize {
        self.starts[4]
    }

    /// Number of snapshots, over all snapshotters.
    pub(crate) fn n_snapshots(&self) -> usize {
        self.starts[1] - self.starts[0]
    }

    /// Returns what a node stands for.
    pub(crate) fn node(&self, id: NodeId) -> Node {
        let [snapshots, images, containers, absent, _] = self.starts;
        let id = id as usize;
        if id < snapshots {
            Node::Blob(id)
        } else if id < images {
            Node::Snapshot(id - snapshots)
        } else if id < containers {
            Node::Image(id - images)
        } else if id < absent {
            Node::Container(id - containers)
        } else {
            Node::Absent
        }
    }

    /// Returns the node of a snapshot by its index.
    pub(crate) fn snapshot_node(&self, index: usize) -> NodeId {
        node_id(self.starts[0] + index)
    }

    /// Returns the node of an image by its index.
    pub(crate) fn image(&self, index: usize) -> NodeId {
        node_id(self.starts[1] + index)
    }

    /// Returns the node of a container by its index.
    pub(crate) fn container(&self, index: usize) -> NodeId {
        node_id(self.starts[2] + index)
    }

    /// Finds a blob.
    pub(crate) fn find_blob(&self, digest: &Digest) -> Option<NodeId> {
        self.blobs.find(digest).map(node_id)
    }

    /// Finds a snapshot.
    pub(crate) fn find_snapshot(&self, id: &SnapshotId) -> Option<NodeId> {
        let list = self
            .lists
            .iter()
            .find(|list| *list.name == id.snapshotter)?;
        self.find_on(list, &id.key)
    }

    fn find_on(&self, list: &SnapshotList<'_>, key: &str) -> Option<NodeId> {
        let at = list.find(key)?;
        Some(self.snapshot_node(list.first + at))
    }

    /// Returns those of some blobs, sorted by digest, that are here, with their nodes.
    pub(crate) fn sorted_blobs<'b>(
        &self,
        blobs: &'b [FreedBlob],
    ) -> impl Iterator<Item = (NodeId, &'b FreedBlob)> {
        let mut here = (0..).zip(&self.namespace.blobs).peekable();
        blobs.iter().filter_map(move |blob| {
            while here.next_if(|(_, it)| it.digest < blob.digest).is_some() {}
            let (id, it) = here.peek()?;
            (it.digest == blob.digest).then_some((*id, blob))
        })
    }

    /// Returns those of some snapshots, sorted by their IDs, that are here, with their nodes.
    pub(crate) fn sorted_snapshots<'s, S>(
        &self,
        snapshots: &'s [S],
        id_of: impl Fn(&S) -> &SnapshotId,
    ) -> impl Iterator<Item = (NodeId, &'s S)> {
        let mut here = (0..self.n_snapshots())
            .map(|index| (index, self.snapshot(index)))
            .peekable();
        snapshots.iter().filter_map(move |wanted| {
            let id = id_of(wanted);
            let is_same = |snapshot: &Snapshot| Arc::ptr_eq(&snapshot.key, &id.key);
            let is_before = |(name, snapshot): (&Snapshotter, &Snapshot)| {
                (&**name, &*snapshot.key) < (&*id.snapshotter, &*id.key)
            };
            let is_it = |(name, snapshot): (&Snapshotter, &Snapshot)| {
                *name == id.snapshotter && (is_same(snapshot) || snapshot.key == id.key)
            };
            while here
                .next_if(|(_, it)| !is_it(*it) && is_before(*it))
                .is_some()
            {}
            let (index, it) = here.peek()?;
            is_it(*it).then(|| (self.snapshot_node(*index), wanted))
        })
    }

    /// Finds an image record.
    pub(crate) fn find_image(&self, name: &str) -> Option<NodeId> {
        let images = &self.namespace.images;
        let found = images.binary_search_by(|image| image.name.as_str().cmp(name));
        found.ok().map(|at| self.image(at))
    }

    fn find_container(&self, id: &str) -> Option<NodeId> {
        let containers = &self.namespace.containers;
        let found = containers.binary_search_by(|container| container.id.as_str().cmp(id));
        found.ok().map(|at| self.container(at))
    }

    /// Finds what a lease lists, if the collector of these rules knows the kind.
    pub(crate) fn find_resource(&self, resource: &LeaseResource) -> Option<NodeId> {
        self.find_reference(&match resource {
            LeaseResource::Content(digest) => GcRef::Content(digest.clone()),
            LeaseResource::Snapshot(id) => GcRef::Snapshot(id.clone()),
            LeaseResource::Image(name) => GcRef::Image(name.as_str().into()),
            LeaseResource::Ingest(_) | LeaseResource::Other { kind: _, id: _ } => return None,
        })
    }

    /// Finds what a label refers to.
    pub(crate) fn find_reference(&self, reference: &GcRef) -> Option<NodeId> {
        self.find_existing(reference)
            .or_else(|| self.find_absent(reference))
    }

    fn find_existing(&self, reference: &GcRef) -> Option<NodeId> {
        match reference {
            GcRef::Content(digest) => self.find_blob(digest),
            GcRef::Snapshot(id) => self.find_snapshot(id),
            GcRef::Image(name) if self.rules >= CollectorRules::V2_0 => self.find_image(name),
            GcRef::Container(id) if self.rules >= CollectorRules::V2_2 => self.find_container(id),
            GcRef::NoContent(_) | GcRef::Image(_) | GcRef::Container(_) => None,
        }
    }

    fn find_absent(&self, reference: &GcRef) -> Option<NodeId> {
        let found = self.absent.binary_search(reference).ok()?;
        Some(node_id(self.starts[3] + found))
    }

    /// Finds the content of an image's target.
    pub(crate) fn find_target(&self, image: usize) -> Option<NodeId> {
        let digest = &self.namespace.images[image].target.digest;
        self.find_blob(digest).or_else(|| {
            // Clone the digest only if there are absent things.
            let is_any = !self.absent.is_empty();
            is_any.then(|| self.find_absent(&GcRef::Content(digest.clone())))?
        })
    }

    /// Returns a snapshot with the name of its snapshotter, by its index.
    pub(crate) fn snapshot(&self, index: usize) -> (&'a Snapshotter, &'a Snapshot) {
        let at = self.lists.partition_point(|list| list.first <= index);
        let list = &self.lists[at - 1];
        (list.name, &list.snapshots[index - list.first])
    }

    /// Returns the parent of a snapshot, by the snapshot's index.
    pub(crate) fn parent(&self, index: usize) -> Option<NodeId> {
        let parent = self.parents[index];
        (parent != NO_PARENT).then_some(parent)
    }

    /// Returns what a node refers to and so keeps when it is held deeply.
    pub(crate) fn kept_by(&self, id: NodeId) -> &[NodeId] {
        let at = id as usize;
        &self.edges[self.edge_starts[at] as usize..self.edge_starts[at + 1] as usize]
    }

    /// Returns every reference that a deep hold follows, as (to, from).
    pub(crate) fn references(&self) -> impl Iterator<Item = (NodeId, NodeId)> {
        let nodes = (0..self.len()).map(node_id);
        let kept = nodes.flat_map(|from| self.kept_by(from).iter().map(move |to| (*to, from)));
        let attached = self.back_references.iter();
        kept.chain(attached.map(|(from, to)| (*to, *from)))
    }

    /// Returns for every node, in order, whether it keeps nothing: it refers to nothing, and nothing
    /// has attached itself to it.
    pub(crate) fn leaves(&self) -> impl Iterator<Item = bool> {
        let mut attached = self.back_references.iter().peekable();
        let nodes = self.edge_starts.windows(2).zip(0..);
        nodes.map(move |(edges, id)| {
            let mut is_leaf = edges[0] == edges[1];
            while attached.next_if(|(parent, _)| *parent == id).is_some() {
                is_leaf = false;
            }
            is_leaf
        })
    }

    /// Returns what has attached itself to a node by back references, as (node, attached).
    pub(crate) fn attached_to(&self, id: NodeId) -> &[(NodeId, NodeId)] {
        let all = &self.back_references;
        let first = all.partition_point(|(parent, _)| *parent < id);
        let n_attached = all[first..].partition_point(|(parent, _)| *parent == id);
        &all[first..first + n_attached]
    }

    /// Returns the blobs and snapshots that are roots by their own labels, ascending.
    pub(crate) fn roots(&self) -> &[NodeId] {
        &self.roots
    }

    /// Whether labels make an object a root by these rules.
    fn is_root(&self, labels: &GcLabelSet) -> bool {
        match labels.root {
            RootMark::None => false,
            RootMark::Exact => true,
            RootMark::Prefixed => self.rules >= CollectorRules::V2_2,
        }
    }

    /// Whether the snapshot of this index is active or a view.
    pub(crate) fn is_in_use_itself(&self, index: usize) -> bool {
        match self.snapshot(index).1.kind {
            SnapshotKind::Committed => false,
            SnapshotKind::Active | SnapshotKind::View => true,
        }
    }

    /// Returns the blobs, found by digest.
    pub(crate) fn blobs(&self) -> &Blobs<'a> {
        &self.blobs
    }

    /// Returns blobs by index.
    pub(crate) fn blob(&self, index: usize) -> &'a Blob {
        &self.namespace.blobs[index]
    }

    fn labels(&self, id: NodeId) -> Option<&'a GcLabelSet> {
        let labels = match self.node(id) {
            Node::Blob(index) => &self.namespace.blobs[index].gc,
            Node::Snapshot(index) => &self.snapshot(index).1.gc,
            Node::Image(index) => &self.namespace.images[index].gc,
            Node::Container(index) => &self.namespace.containers[index].gc,
            Node::Absent => return None,
        };
        labels.get()
    }
}

/// Narrows a position to a node.
///
/// # Panics
///
/// With more than 4,294,967,295 objects in one namespace, which no host can list.
pub(crate) fn node_id(at: usize) -> NodeId {
    NodeId::try_from(at).expect("fewer than 2^32 objects and references in a namespace")
}

/// Returns the snapshots of all snapshotters, each with what finds them.
fn lists(namespace: &NamespaceInventory) -> Vec<SnapshotList<'_>> {
    let mut first = 0;
    let lists = namespace.snapshots.iter().map(|(name, snapshots)| {
        let list = SnapshotList {
            name,
            snapshots,
            finder: Finder::new(snapshots.iter().map(|it| text_tag(&it.key))),
            first,
        };
        first += snapshots.len();
        list
    });
    lists.collect()
}
