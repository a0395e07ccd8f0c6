//! The objects of a namespace, with the images that keep them.

use std::collections::BTreeSet;

use reclaim_model::{
    Child, Column, Digest, Document, DocumentKind, ImageRecord, ManifestObjects, NamespaceMap,
    ObjectKind, StoredObject,
};

use super::Counted;
use super::keepers::keepers;
use crate::graph::{Node, NodeId};
use crate::sizes::chain_snapshots;
use crate::weights::Weight;

/// Lists every blob and snapshot. Its position is its node: these are the first two ranges.
pub(super) fn map(counted: &Counted<'_, '_>) -> NamespaceMap {
    let graph = &counted.facts.graph;
    let kinds = kinds(counted);
    let keepers = keepers(graph, graph.observed_at);
    let objects = (0..).zip(keepers).map_while(|(id, (images, is_held))| {
        let (kind, id_text, is_elsewhere) = match graph.node(id) {
            Node::Blob(index) => {
                let digest = &graph.blob(index).digest;
                let is_elsewhere = counted.kept_elsewhere.contains(digest);
                (kinds[index], digest.to_string(), is_elsewhere)
            }
            Node::Snapshot(index) => {
                let (snapshotter, snapshot) = graph.snapshot(index);
                let id = format!("{snapshotter}/{}", snapshot.key);
                (ObjectKind::Snapshot, id, false)
            }
            Node::Image(_) | Node::Container(_) | Node::Absent => return None,
        };
        let column = counted.columns[id as usize];
        Some(StoredObject {
            kind,
            id: id_text,
            bytes: match counted.weights[id as usize] {
                Weight::Bytes(bytes) => Some(bytes),
                Weight::Unknown => None,
                // It was gone when it was measured.
                Weight::Nothing => Some(0),
            },
            column: if column.is_released() && is_elsewhere {
                Column::Elsewhere
            } else {
                column
            },
            images,
            held: is_held || is_elsewhere,
        })
    });
    let objects = objects.collect();
    let images = graph.namespace.images.iter();
    NamespaceMap {
        objects,
        images: images.map(|image| manifests(counted, image)).collect(),
    }
}

/// Returns the kind of every blob: by its own bytes, or else by the manifests that list it.
fn kinds(counted: &Counted<'_, '_>) -> Vec<ObjectKind> {
    let graph = &counted.facts.graph;
    let blobs = graph.namespace.blobs.iter();
    let mut kinds: Vec<ObjectKind> = blobs
        .map(|blob| match counted.inventory.documents.get(&blob.digest) {
            Some(Document::Index(_)) => ObjectKind::Index,
            Some(Document::Manifest(_)) => ObjectKind::Manifest,
            Some(Document::Config(_)) => ObjectKind::Config,
            Some(Document::Torn(_) | Document::NotRead(_)) | None => ObjectKind::Content,
        })
        .collect();
    for document in counted.inventory.documents.values() {
        let Document::Manifest(children) = document else {
            continue;
        };
        for child in children.iter().filter(|child| child.is_layer) {
            if let Some(Node::Blob(index)) = find(counted, child).map(|id| graph.node(id))
                && kinds[index] == ObjectKind::Content
            {
                kinds[index] = ObjectKind::Layer;
            }
        }
    }
    kinds
}

/// Lists the indexes and manifests of an image that are here, each once, in the order of the image.
fn manifests(counted: &Counted<'_, '_>, image: &ImageRecord) -> Vec<ManifestObjects> {
    let mut manifests = Vec::new();
    let mut seen = BTreeSet::new();
    let mut stack = vec![(&image.target.digest, false)];
    while let Some((digest, is_attestation)) = stack.pop() {
        let Some(id) = counted.facts.graph.find_blob(digest) else {
            continue;
        };
        if !seen.insert(digest) {
            continue;
        }
        let mut manifest = ManifestObjects {
            digest: digest.clone(),
            platform: None,
            objects: vec![id],
        };
        match counted.inventory.documents.get(digest) {
            Some(Document::Index(children)) => {
                let children = children.iter().rev();
                let children = children.filter(|child| child.kind != DocumentKind::Leaf);
                stack.extend(children.map(|child| (&child.digest, child.is_attestation)));
            }
            Some(Document::Manifest(children)) => {
                add_parts(counted, &mut manifest, children, is_attestation);
            }
            Some(Document::Config(_) | Document::Torn(_) | Document::NotRead(_)) | None => {}
        }
        manifests.push(manifest);
    }
    manifests
}

/// Adds what a manifest lists, and what it is unpacked to.
fn add_parts(
    counted: &Counted<'_, '_>,
    manifest: &mut ManifestObjects,
    children: &[Child],
    is_attestation: bool,
) {
    let parts = children.iter().filter_map(|child| find(counted, child));
    manifest.objects.extend(parts);
    let configs = children
        .iter()
        .filter(|child| child.kind == DocumentKind::Config);
    let mut configs = configs.filter_map(|child| config(counted, &child.digest));
    if let Some(config) = configs.next().filter(|_| !is_attestation) {
        manifest.platform = config.platform.as_deref().cloned();
        if let Some(chain) = &config.chain_id {
            for stack in chain_snapshots(&counted.facts.graph, chain) {
                manifest.objects.extend(stack.into_iter().rev());
            }
        }
    }
    let mut seen = BTreeSet::new();
    manifest.objects.retain(|id| seen.insert(*id));
}

fn config<'a>(counted: &Counted<'_, 'a>, digest: &Digest) -> Option<&'a reclaim_model::Config> {
    match counted.inventory.documents.get(digest) {
        Some(Document::Config(config)) => Some(config),
        _ => None,
    }
}

fn find(counted: &Counted<'_, '_>, child: &Child) -> Option<NodeId> {
    counted.facts.graph.find_blob(&child.digest)
}
