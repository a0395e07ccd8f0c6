//! Finds images in use, in the simplest way; none of them may be removed.
//!
//! The product knows more kinds of use than the obvious ones here: containers with the name of a
//! record or a digest, live leases, and snapshots on layers. Manifests are read with separate code,
//! so that a bug of the product is not repeated.

use std::collections::{BTreeMap, BTreeSet};

use reclaim_testkit::{ObjectKind, RandomStore, SnapshotKind, digest_of};
use serde_json::Value;

use crate::case::Observation;
use crate::closure::{Kind, held, is_expired};
use crate::contents::NamespaceContents;

/// All blobs of a store that are JSON documents, by digest.
pub(crate) type Documents = BTreeMap<String, Value>;

/// The contents of an image, by its documents.
#[derive(Debug, Default)]
struct ImageContents {
    /// Target, indexes, manifests and configs.
    identity: BTreeSet<String>,
    /// Keys of the top snapshots of its platforms.
    chains: BTreeSet<String>,
}

/// Returns an error if an image in use was removed.
pub(crate) fn demand_all_kept(
    observed: &Observation,
    store: &RandomStore,
    removed: &BTreeSet<String>,
) -> Result<(), String> {
    let before = &observed.before.namespaces[&observed.prune.namespace];
    let documents = documents(store, &observed.before.blobs());
    let images: BTreeMap<String, ImageContents> = before
        .images
        .values()
        .map(|image| image.target.digest.to_string())
        .map(|target| (target.clone(), image_contents(&target, &documents)))
        .collect();
    let users = Users {
        observed,
        before,
        removed,
        images,
    };
    users.check_containers()?;
    users.check_leases()?;
    users.check_snapshots()
}

struct Users<'a> {
    observed: &'a Observation,
    before: &'a NamespaceContents,
    removed: &'a BTreeSet<String>,
    /// By target.
    images: BTreeMap<String, ImageContents>,
}

impl Users<'_> {
    fn check_containers(&self) -> Result<(), String> {
        for (id, container) in &self.before.containers {
            if self.removed.contains(&container.image) {
                let image = &container.image;
                return Err(format!("`{image}` of container `{id}` was removed"));
            }
            self.check_targets(&format!("container `{id}`"), |image| {
                image.identity.contains(&container.image)
            })?;
        }
        Ok(())
    }

    fn check_leases(&self) -> Result<(), String> {
        let leases = self.before.leases.iter();
        for (id, lease) in leases.filter(|(_, lease)| !is_expired(&lease.labels)) {
            for resource in &lease.resources {
                let is_content = resource.kind == "content";
                self.check_targets(&format!("lease `{id}`"), |image| {
                    is_content && image.identity.contains(&resource.id)
                })?;
                if resource.kind == "images" && self.removed.contains(&resource.id) {
                    return Err(format!("`{}` of lease `{id}` was removed", resource.id));
                }
            }
        }
        Ok(())
    }

    /// An active snapshot or a view that is not garbage is in use.
    fn check_snapshots(&self) -> Result<(), String> {
        for (kind, key) in held(self.before, self.observed.version) {
            let Some(snapshot) = self.before.snapshots.get(&key) else {
                continue;
            };
            if kind != Kind::Snapshot || snapshot.info.kind == SnapshotKind::Committed {
                continue;
            }
            if let Some(chain) = self.chain_below(&key) {
                self.check_targets(&format!("snapshot `{key}`"), |image| {
                    image.chains.contains(&chain)
                })?;
            }
        }
        Ok(())
    }

    /// Returns the first key that is a digest, from a snapshot down.
    fn chain_below(&self, from: &str) -> Option<String> {
        let mut at = Some(from.to_owned());
        while let Some(key) = at.take() {
            let (_, name) = key.split_once('/')?;
            if name.starts_with("sha256:") {
                return Some(name.to_owned());
            }
            at.clone_from(&self.before.snapshots.get(&key)?.parent);
        }
        None
    }

    /// Returns an error unless each target in use keeps a record: one that does not expire, if
    /// there was one.
    fn check_targets(
        &self,
        user: &str,
        is_used: impl Fn(&ImageContents) -> bool,
    ) -> Result<(), String> {
        let images = self.images.iter();
        for (target, _) in images.filter(|(_, image)| is_used(image)) {
            let (gone, left): (Vec<_>, Vec<_>) = self
                .before
                .images
                .iter()
                .filter(|(_, record)| record.target.digest.to_string() == *target)
                .partition(|(name, _)| self.removed.contains(*name));
            let has_lasting = |records: &[(&String, &reclaim_testkit::ImageRecord)]| {
                records
                    .iter()
                    .any(|(_, record)| !is_expired(&record.labels))
            };
            if left.is_empty() || has_lasting(&gone) && !has_lasting(&left) {
                return Err(format!("{user} uses {target}, which has no record left"));
            }
        }
        Ok(())
    }
}

/// Parses the blobs that any namespace has before the prune.
///
/// The namespace does not matter, because a digest means the same in each. A blob must be present:
/// a collection before the prune may have freed it, and then it cannot explain a snapshot.
pub(crate) fn documents(store: &RandomStore, present: &BTreeMap<String, u64>) -> Documents {
    let mut documents = all_documents(store);
    documents.retain(|digest, _| present.contains_key(digest));
    documents
}

/// Parses the blobs of a store.
pub(crate) fn all_documents(store: &RandomStore) -> Documents {
    let objects = store.objects.iter();
    let documents = objects.filter_map(|thing| match &thing.kind {
        ObjectKind::Blob { bytes, note: _ } => {
            let document = serde_json::from_slice(bytes).ok()?;
            Some((digest_of(bytes).to_string(), document))
        }
        ObjectKind::Snapshot { .. }
        | ObjectKind::Image { .. }
        | ObjectKind::Container { .. }
        | ObjectKind::Lease { .. }
        | ObjectKind::Ingest { .. }
        | ObjectKind::Sandbox { .. } => None,
    });
    documents.collect()
}

fn image_contents(target: &str, documents: &Documents) -> ImageContents {
    let mut contents = ImageContents::default();
    let mut queue = vec![target.to_owned()];
    while let Some(digest) = queue.pop() {
        let document = documents.get(&digest);
        if contents.identity.insert(digest)
            && let Some(document) = document
        {
            let digest = |descriptor: &Value| descriptor["digest"].as_str().map(str::to_owned);
            let listed = document["manifests"].as_array().into_iter().flatten();
            let named = listed.chain(Some(&document["config"]));
            queue.extend(
                named
                    .filter(|descriptor| is_document(descriptor))
                    .filter_map(digest),
            );
            let layers = document["rootfs"]["diff_ids"].as_array();
            contents
                .chains
                .extend(layers.and_then(|layers| chain(layers)));
        }
    }
    contents
}

/// Whether a descriptor's media type is that of an index, manifest or configuration. An index may
/// also list a layer, which many images share and which therefore identifies none of them; the same
/// goes for unknown media types.
fn is_document(descriptor: &Value) -> bool {
    let media_type = descriptor["mediaType"].as_str().unwrap_or_default();
    let kinds = [
        "application/vnd.oci.image.index.",
        "application/vnd.oci.image.manifest.",
        "application/vnd.oci.image.config.",
        "application/vnd.docker.distribution.manifest.",
        "application/vnd.docker.container.image.",
    ];
    kinds.iter().any(|kind| media_type.starts_with(kind))
}

/// Returns the chain ID of all layers.
pub(crate) fn chain(diff_ids: &[Value]) -> Option<String> {
    diff_ids
        .iter()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .reduce(|below, diff_id| digest_of(format!("{below} {diff_id}").as_bytes()).to_string())
}

#[cfg(test)]
mod tests {
    use reclaim_testkit::{Labels, StoreObject};

    use super::*;

    #[test]
    fn a_collected_document_explains_no_snapshot() {
        let bytes: &[u8] = br#"{"rootfs":{"diff_ids":["sha256:01"]}}"#;
        let digest = digest_of(bytes).to_string();
        let store = RandomStore {
            seed: 0,
            objects: vec![StoreObject {
                namespace: "k8s.io".to_owned(),
                labels: Labels::new(),
                kind: ObjectKind::Blob {
                    bytes: bytes.into(),
                    note: String::new(),
                },
            }],
        };
        let chains = |present: &BTreeMap<String, u64>| {
            image_contents(&digest, &documents(&store, present)).chains
        };
        let present = BTreeMap::from([(digest.clone(), 37)]);
        assert_eq!(chains(&present), BTreeSet::from(["sha256:01".to_owned()]));
        assert_eq!(chains(&BTreeMap::new()), BTreeSet::new());
    }
}
