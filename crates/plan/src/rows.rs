//! Docker's report rows: what was untagged, and which blobs of those images are gone.

use std::collections::BTreeSet;

use reclaim_model::{
    Digest, Document, DocumentKind, FreedBlob, ImageRecord, Inventory, Row, familiar_name,
};

/// Returns the rows for images that were removed, in their order, given what is gone (sorted).
///
/// For each image: its name as Docker shows it, then those of its blobs that are gone, indexes
/// and manifests first, then configs and layers as the manifests list them. Each digest
/// appears once, under the first image that has it.
pub fn rows<'a>(
    images: impl IntoIterator<Item = &'a ImageRecord>,
    inventory: &Inventory,
    gone: &[FreedBlob],
) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut shown = BTreeSet::new();
    for image in images {
        rows.push(Row::Untagged(shown_name(image)));
        let (documents, leaves) = walk(&image.target.digest, inventory);
        for digest in documents.into_iter().chain(leaves) {
            let is_gone = gone
                .binary_search_by(|blob| blob.digest.cmp(digest))
                .is_ok();
            if is_gone && shown.insert(digest) {
                rows.push(Row::Deleted(digest.clone()));
            }
        }
    }
    rows
}

/// The name in Docker's familiar form; for a dangling image its digest.
fn shown_name(image: &ImageRecord) -> String {
    if image.is_dangling() {
        image.target.digest.to_string()
    } else {
        familiar_name(&image.name)
    }
}

/// Returns the blobs below a target in walk order: indexes and manifests, then the rest.
fn walk<'a>(target: &'a Digest, inventory: &'a Inventory) -> (Vec<&'a Digest>, Vec<&'a Digest>) {
    let mut seen = BTreeSet::new();
    let mut documents = Vec::new();
    let mut leaves = Vec::new();
    let mut stack = vec![(target, DocumentKind::Manifest)];
    while let Some((digest, kind)) = stack.pop() {
        if !seen.insert(digest) {
            continue;
        }
        match kind {
            DocumentKind::Index | DocumentKind::Manifest => documents.push(digest),
            DocumentKind::Config | DocumentKind::Leaf => leaves.push(digest),
        }
        let children = match inventory.documents.get(digest) {
            Some(Document::Index(children) | Document::Manifest(children)) => children.as_slice(),
            Some(Document::Config(_) | Document::Unreadable(_)) | None => &[],
        };
        // Reversed, so that the first child comes off the stack first.
        stack.extend(
            children
                .iter()
                .rev()
                .map(|child| (&child.digest, child.kind)),
        );
    }
    (documents, leaves)
}
