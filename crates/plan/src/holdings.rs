//! What holds things, other than images: live leases, containers, sandboxes, `gc.root` labels.

use jiff::Timestamp;
use reclaim_model::{CollectorRules, GcLabels, Holder, HolderKind, Lease};

use crate::graph::{Graph, Node, NodeId};
use crate::image_mounts::container_of;

/// How a node is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Hold {
    /// With everything that it refers to.
    Deep,
    /// By itself; a snapshot still needs its parents, an image its target.
    Flat,
}

impl Hold {
    /// The bit that stands for it in a set.
    pub(crate) const fn bit(self) -> u8 {
        match self {
            Self::Deep => 1,
            Self::Flat => 2,
        }
    }
}

/// One holder and the roots that it puts into the graph.
#[derive(Debug)]
pub(crate) struct Holding {
    pub(crate) holder: Holder,
    pub(crate) hold: Hold,
    /// Whether it only keeps what a run of Reclaim removed, so that it can be undone.
    pub(crate) is_ours: bool,
    pub(crate) roots: Vec<NodeId>,
}

/// Returns every holder that the collector respects at `now`, except images.
pub(crate) fn holdings(graph: &Graph<'_>, now: Timestamp) -> Vec<Holding> {
    let namespace = graph.namespace;
    let live = namespace.leases.iter().filter(|lease| lease.is_live(now));
    let leases = live.map(|lease| of_lease(graph, lease));
    let containers = namespace.containers.iter().enumerate();
    let containers = containers.map(|(index, container)| Holding {
        holder: Holder::new(HolderKind::Container, &container.id),
        hold: Hold::Deep,
        is_ours: false,
        roots: vec![graph.container(index)],
    });
    // By older rules the collector does not respect sandboxes.
    let sandboxes = namespace.sandboxes.iter();
    let sandboxes = sandboxes.filter(|_| graph.rules >= CollectorRules::V2_0);
    let sandboxes = sandboxes.map(|sandbox| Holding {
        holder: Holder::new(HolderKind::Sandbox, &sandbox.id),
        hold: Hold::Deep,
        is_ours: false,
        roots: references(graph, &sandbox.gc),
    });
    leases
        .chain(containers)
        .chain(sandboxes)
        .chain(graph.roots().iter().filter_map(|id| of_root(graph, *id)))
        .collect()
}

/// Returns what a lease holds while it is live.
pub(crate) fn of_lease(graph: &Graph<'_>, lease: &Lease) -> Holding {
    let resources = lease.resources.iter();
    Holding {
        holder: Holder::new(HolderKind::Lease, &lease.id),
        hold: if lease.is_flat {
            Hold::Flat
        } else {
            Hold::Deep
        },
        is_ours: lease.is_ours(),
        roots: resources.filter_map(|it| graph.find_resource(it)).collect(),
    }
}

fn references(graph: &Graph<'_>, labels: &GcLabels) -> Vec<NodeId> {
    let found = labels.refs.iter().filter_map(|it| graph.find_reference(it));
    found.collect()
}

/// Returns a blob or snapshot that is a root by its own label as its own holder; an image mount of
/// nerdctl is held by its container.
fn of_root(graph: &Graph<'_>, id: NodeId) -> Option<Holding> {
    let holder = match graph.node(id) {
        Node::Blob(index) => Holder::new(HolderKind::Content, graph.blob(index).digest.to_string()),
        Node::Snapshot(index) => {
            let (snapshotter, snapshot) = graph.snapshot(index);
            match container_of(graph.namespace, snapshotter, &snapshot.key) {
                Some(container) => Holder::new(HolderKind::Container, &container.id),
                None => Holder::new(
                    HolderKind::Snapshot,
                    format!("{snapshotter}/{}", snapshot.key),
                ),
            }
        }
        Node::Image(_) | Node::Container(_) | Node::Absent => return None,
    };
    Some(Holding {
        holder,
        hold: Hold::Deep,
        is_ours: false,
        roots: vec![id],
    })
}
