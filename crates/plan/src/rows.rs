//! Docker's report rows: what was untagged, and which manifests of those images are gone.

use std::collections::{BTreeMap, BTreeSet};

use reclaim_model::{
    Digest, Document, DocumentKind, FreedBlob, ImageRecord, Inventory, Row, shown_name,
};

/// Returns the rows for images that were removed, in their order, given what is gone, and what left
/// their namespace and stays in another (both sorted).
///
/// For each image: its name as Docker shows it, then those of its indexes and manifests that left
/// the namespace, in walk order. `BuildKit` keeps those of its history in a namespace of its own.
/// Each digest appears once, under the last image that has it.
///
/// Source: moby from 28.4 on, `daemon/containerd/image_prune.go`; it listed every blob before.
pub fn rows<'a>(
    images: impl IntoIterator<Item = &'a ImageRecord>,
    inventory: &Inventory,
    gone: &[FreedBlob],
    released: &[FreedBlob],
) -> Vec<Row> {
    let images = images.into_iter();
    let images = images.map(|image| (image, manifests(&image.target.digest, inventory)));
    let images: Vec<(&ImageRecord, Vec<&Digest>)> = images.collect();
    let mut last = BTreeMap::new();
    for (at, (_, manifests)) in images.iter().enumerate() {
        last.extend(manifests.iter().map(|digest| (*digest, at)));
    }
    let has = |list: &[FreedBlob], digest: &Digest| {
        let found = list.binary_search_by(|blob| blob.digest.cmp(digest));
        found.is_ok()
    };
    let is_gone = |digest: &Digest| has(gone, digest) || has(released, digest);
    let mut rows = Vec::new();
    for (at, (image, manifests)) in images.iter().enumerate() {
        rows.push(Row::Untagged(shown_name(&image.name, &image.target.digest)));
        let going = manifests.iter().filter(|it| last[*it] == at && is_gone(it));
        rows.extend(going.map(|digest| Row::Deleted((*digest).clone())));
    }
    rows
}

/// Returns the target and the indexes and manifests below it, in walk order.
fn manifests<'a>(target: &'a Digest, inventory: &'a Inventory) -> Vec<&'a Digest> {
    let mut seen = BTreeSet::new();
    let mut manifests = Vec::new();
    let mut stack = vec![target];
    while let Some(digest) = stack.pop() {
        if !seen.insert(digest) {
            continue;
        }
        manifests.push(digest);
        let children = match inventory.documents.get(digest) {
            Some(Document::Index(children) | Document::Manifest(children)) => children.as_slice(),
            Some(Document::Config(_) | Document::Torn(_) | Document::NotRead(_)) | None => &[],
        };
        let children = children.iter().filter(|it| is_manifest(it.kind));
        // Reversed, so that the first child comes off the stack first.
        stack.extend(children.rev().map(|child| &child.digest));
    }
    manifests
}

fn is_manifest(kind: DocumentKind) -> bool {
    matches!(kind, DocumentKind::Index | DocumentKind::Manifest)
}
