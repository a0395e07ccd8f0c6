//! Which layers of each image are here, compressed and unpacked.

use std::collections::BTreeMap;

use reclaim_model::{Digest, Inventory, Namespace, PlatformLayers, SnapshotId};

use crate::graph::Graph;
use crate::slim::manifests::{Manifest, is_complete, manifests};
use crate::targets::Targets;

/// Returns the layers of every image of a namespace, by target: for each platform whose manifest and
/// configuration are here, sorted by manifest. What has no layers of an image has an empty list.
pub fn image_layers(
    inventory: &Inventory,
    namespace: &Namespace,
) -> BTreeMap<Digest, Vec<PlatformLayers>> {
    let Some(namespace) = inventory.namespaces.get(namespace) else {
        return BTreeMap::new();
    };
    let graph = Graph::new(namespace, inventory);
    let targets = Targets::new(namespace, graph.blobs(), inventory);
    let manifests = manifests(&graph, &inventory.documents).into_iter();
    let manifests: BTreeMap<&Digest, Manifest<'_>> = manifests
        .filter(|manifest| manifest.is_image())
        .map(|manifest| (manifest.digest, manifest))
        .collect();
    let layers = targets.iter().map(|(_, target)| {
        let identity = target.contents.identity.iter();
        let platforms = identity.filter_map(|digest| manifests.get(digest));
        let platforms = platforms.map(|manifest| layers(&graph, *manifest));
        (target.digest.clone(), platforms.collect())
    });
    layers.collect()
}

fn layers(graph: &Graph<'_>, manifest: Manifest<'_>) -> PlatformLayers {
    let total = manifest.layers.len();
    let packed = manifest.layers.iter();
    let packed = packed.filter(|layer| graph.blobs().contains(&layer.digest));
    let chain = manifest.chain().map(ToString::to_string);
    let snapshotters = graph.namespace.snapshots.keys();
    let unpacked = snapshotters.filter_map(|snapshotter| {
        let id = SnapshotId::new(snapshotter.clone(), chain.clone()?);
        is_complete(graph, &id, manifest).then(|| (snapshotter.clone(), total))
    });
    PlatformLayers {
        manifest: manifest.digest.clone(),
        platform: manifest.platform().cloned(),
        total,
        packed: packed.count(),
        unpacked: unpacked.collect(),
    }
}
