//! containerd's collector as data: the objects of one namespace and what each keeps.
//!
//! Nodes are small integers in four ranges (blobs, snapshots, images, containers), edges one
//! flat array. References never leave a namespace, so each namespace has a graph of its own.
//! A reference to something that does not exist is no edge, as for containerd.
//!
//! Source: containerd `core/metadata/gc.go`, at the release tags that [`CollectorRules`] names.

use reclaim_model::{
    Blob, CollectorRules, Digest, GcLabels, GcRef, LeaseResource, NamespaceInventory, RootMark,
    Snapshot, SnapshotId, SnapshotKind, Snapshotter,
};

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
}

/// The snapshots of one snapshotter within the snapshot range.
#[derive(Debug)]
struct Shelf<'a> {
    name: &'a Snapshotter,
    snapshots: &'a [Snapshot],
    first: usize,
}

/// The objects of one namespace and their references.
#[derive(Debug)]
pub(crate) struct Graph<'a> {
    /// What the graph was made from.
    pub(crate) namespace: &'a NamespaceInventory,
    pub(crate) rules: CollectorRules,
    shelves: Vec<Shelf<'a>>,
    /// Where the ranges of snapshots, images and containers begin, and where all end.
    starts: [usize; 4],
    /// `edges[edge_starts[n]..edge_starts[n + 1]]` are the nodes that `n` keeps.
    edge_starts: Vec<u32>,
    edges: Vec<NodeId>,
    /// The parent of each snapshot, in the order of the snapshot range.
    parents: Vec<Option<NodeId>>,
}

impl<'a> Graph<'a> {
    /// Interns the objects of `namespace` and resolves their references.
    pub(crate) fn new(namespace: &'a NamespaceInventory, rules: CollectorRules) -> Self {
        let mut shelves = Vec::with_capacity(namespace.snapshots.len());
        let mut n_snapshots = 0;
        for (name, snapshots) in &namespace.snapshots {
            shelves.push(Shelf {
                name,
                snapshots,
                first: n_snapshots,
            });
            n_snapshots += snapshots.len();
        }
        let snapshots = namespace.blobs.len();
        let images = snapshots + n_snapshots;
        let containers = images + namespace.images.len();
        let end = containers + namespace.containers.len();
        let mut graph = Self {
            namespace,
            rules,
            shelves,
            starts: [snapshots, images, containers, end],
            edge_starts: Vec::new(),
            edges: Vec::new(),
            parents: Vec::new(),
        };
        graph.parents = graph.resolve_parents();
        graph.resolve_edges();
        graph
    }

    /// Number of nodes.
    pub(crate) fn len(&self) -> usize {
        self.starts[3]
    }

    /// Returns what a node stands for.
    pub(crate) fn node(&self, id: NodeId) -> Node {
        let [snapshots, images, containers, _] = self.starts;
        let id = id as usize;
        if id < snapshots {
            Node::Blob(id)
        } else if id < images {
            Node::Snapshot(id - snapshots)
        } else if id < containers {
            Node::Image(id - images)
        } else {
            Node::Container(id - containers)
        }
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
        let blobs = &self.namespace.blobs;
        let found = blobs.binary_search_by(|blob| blob.digest.cmp(digest));
        found.ok().map(node_id)
    }

    /// Finds a snapshot.
    pub(crate) fn find_snapshot(&self, id: &SnapshotId) -> Option<NodeId> {
        let shelf = self
            .shelves
            .iter()
            .find(|shelf| *shelf.name == id.snapshotter)?;
        self.find_on(shelf, &id.key)
    }

    fn find_on(&self, shelf: &Shelf<'_>, key: &str) -> Option<NodeId> {
        let found = shelf
            .snapshots
            .binary_search_by(|snapshot| (*snapshot.key).cmp(key));
        found
            .ok()
            .map(|at| node_id(self.starts[0] + shelf.first + at))
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
        match resource {
            LeaseResource::Content(digest) => self.find_blob(digest),
            LeaseResource::Snapshot(id) => self.find_snapshot(id),
            LeaseResource::Image(name) if self.rules >= CollectorRules::V2_0 => {
                self.find_image(name)
            }
            LeaseResource::Image(_)
            | LeaseResource::Ingest(_)
            | LeaseResource::Other { kind: _, id: _ } => None,
        }
    }

    /// Finds what a label refers to.
    pub(crate) fn find_reference(&self, reference: &GcRef) -> Option<NodeId> {
        match reference {
            GcRef::Content(digest) => self.find_blob(digest),
            GcRef::Snapshot(id) => self.find_snapshot(id),
            GcRef::Image(name) if self.rules >= CollectorRules::V2_0 => self.find_image(name),
            GcRef::Container(id) if self.rules >= CollectorRules::V2_2 => self.find_container(id),
            GcRef::Image(_) | GcRef::Container(_) => None,
        }
    }

    /// Returns a snapshot with the name of its snapshotter, by its index.
    pub(crate) fn snapshot(&self, index: usize) -> (&'a Snapshotter, &'a Snapshot) {
        let at = self.shelves.partition_point(|shelf| shelf.first <= index);
        let shelf = &self.shelves[at - 1];
        (shelf.name, &shelf.snapshots[index - shelf.first])
    }

    /// Returns the parent of a snapshot, by the snapshot's index.
    pub(crate) fn parent(&self, index: usize) -> Option<NodeId> {
        self.parents[index]
    }

    /// Returns what a node keeps when it is held with all that it refers to.
    pub(crate) fn kept_by(&self, id: NodeId) -> &[NodeId] {
        let at = id as usize;
        &self.edges[self.edge_starts[at] as usize..self.edge_starts[at + 1] as usize]
    }

    /// Whether labels make an object a root by these rules.
    pub(crate) fn is_root(&self, labels: &GcLabels) -> bool {
        match labels.root {
            RootMark::None => false,
            RootMark::Exact => true,
            RootMark::Prefixed => self.rules >= CollectorRules::V2_2,
        }
    }

    /// Returns every snapshot's index that is active or a view.
    pub(crate) fn is_in_use_itself(&self, index: usize) -> bool {
        match self.snapshot(index).1.kind {
            SnapshotKind::Committed => false,
            SnapshotKind::Active | SnapshotKind::View => true,
        }
    }

    /// Returns blobs by index.
    pub(crate) fn blob(&self, index: usize) -> &'a Blob {
        &self.namespace.blobs[index]
    }

    fn resolve_parents(&self) -> Vec<Option<NodeId>> {
        let mut parents = Vec::with_capacity(self.starts[1] - self.starts[0]);
        for shelf in &self.shelves {
            parents.extend(shelf.snapshots.iter().map(|snapshot| {
                let parent = snapshot.parent.as_deref()?;
                self.find_on(shelf, parent)
            }));
        }
        parents
    }

    /// Fills in the edges, node by node: labels, then what the kind itself keeps, then what
    /// names the node as its back reference.
    fn resolve_edges(&mut self) {
        let mut back = self.resolve_back_references().into_iter().peekable();
        let mut starts = Vec::with_capacity(self.len() + 1);
        let mut edges = Vec::new();
        for at in 0..self.len() {
            let id = node_id(at);
            starts.push(node_id(edges.len()));
            let labels = self.labels(id);
            edges.extend(labels.refs.iter().filter_map(|it| self.find_reference(it)));
            match self.node(id) {
                Node::Blob(_) => {}
                Node::Snapshot(index) => edges.extend(self.parents[index]),
                Node::Image(index) => {
                    let target = &self.namespace.images[index].target;
                    edges.extend(self.find_blob(&target.digest));
                }
                Node::Container(index) => {
                    let root = self.namespace.containers[index].snapshot.as_ref();
                    edges.extend(root.and_then(|snapshot| self.find_snapshot(snapshot)));
                }
            }
            while let Some((_, child)) = back.next_if(|(parent, _)| *parent == id) {
                edges.push(child);
            }
        }
        starts.push(node_id(edges.len()));
        self.edge_starts = starts;
        self.edges = edges;
    }

    /// Returns (parent, child) for every back reference, sorted.
    fn resolve_back_references(&self) -> Vec<(NodeId, NodeId)> {
        if self.rules < CollectorRules::V2_2 {
            return Vec::new();
        }
        let mut pairs = Vec::new();
        for at in 0..self.len() {
            let child = node_id(at);
            let labels = self.labels(child);
            let parents = labels
                .back_refs
                .iter()
                .filter_map(|it| self.find_reference(it));
            pairs.extend(parents.map(|parent| (parent, child)));
        }
        pairs.sort_unstable();
        pairs
    }

    fn labels(&self, id: NodeId) -> &'a GcLabels {
        match self.node(id) {
            Node::Blob(index) => &self.namespace.blobs[index].gc,
            Node::Snapshot(index) => &self.snapshot(index).1.gc,
            Node::Image(index) => &self.namespace.images[index].gc,
            Node::Container(index) => &self.namespace.containers[index].gc,
        }
    }
}

/// Narrows a position to a node.
///
/// # Panics
///
/// Beyond 4,294,967,295 objects in one namespace, which no machine that we run on can list.
pub(crate) fn node_id(at: usize) -> NodeId {
    NodeId::try_from(at).expect("fewer than 2^32 objects and references in a namespace")
}
