//! Who uses what, read off the store in the plainest way; none of it may be removed.
//!
//! Not all that the judge knows of use, only what nobody could argue about: containers by the
//! very name of a record or by a digest, live leases, and what stands on layers. Its own small
//! reader of manifests, so that a mistake of ours is not made twice.

use std::collections::{BTreeMap, BTreeSet};

use reclaim_testkit::{ObjectKind, RandomStore, SnapshotKind, digest_of};
use serde_json::Value;

use crate::case::Seen;
use crate::closure::{Kind, held, is_expired};
use crate::picture::Contents;

/// The documents of a store, by digest, of those blobs that are documents.
type Documents = BTreeMap<String, Value>;

/// What an image is, by what its documents say.
#[derive(Debug, Default)]
struct Makeup {
    /// Target, indexes, manifests and configs.
    identity: BTreeSet<String>,
    /// Keys of the top snapshots to which its platforms are unpacked.
    chains: BTreeSet<String>,
}

/// Demands that nothing in use is among what was removed.
pub(crate) fn demand_all_kept(
    seen: &Seen,
    store: &RandomStore,
    removed: &BTreeSet<String>,
) -> Result<(), String> {
    let before = &seen.before.namespaces[&seen.question.namespace];
    let documents = documents(store, &seen.before.blobs());
    let makeups: BTreeMap<String, Makeup> = before
        .images
        .values()
        .map(|image| image.target.digest.to_string())
        .map(|target| {
            let makeup = makeup(&target, &documents);
            (target, makeup)
        })
        .collect();
    let users = Users {
        seen,
        before,
        removed,
        makeups,
    };
    users.check_containers()?;
    users.check_leases()?;
    users.check_snapshots()
}

struct Users<'a> {
    seen: &'a Seen,
    before: &'a Contents,
    removed: &'a BTreeSet<String>,
    /// By target.
    makeups: BTreeMap<String, Makeup>,
}

impl Users<'_> {
    fn check_containers(&self) -> Result<(), String> {
        for (id, container) in &self.before.containers {
            if self.removed.contains(&container.image) {
                let image = &container.image;
                return Err(format!("`{image}` of container `{id}` was removed"));
            }
            self.check_targets(&format!("container `{id}`"), |makeup| {
                makeup.identity.contains(&container.image)
            })?;
        }
        Ok(())
    }

    fn check_leases(&self) -> Result<(), String> {
        let leases = self.before.leases.iter();
        for (id, lease) in leases.filter(|(_, lease)| !is_expired(&lease.labels)) {
            for resource in &lease.resources {
                let is_content = resource.kind == "content";
                self.check_targets(&format!("lease `{id}`"), |makeup| {
                    is_content && makeup.identity.contains(&resource.id)
                })?;
                if resource.kind == "images" && self.removed.contains(&resource.id) {
                    return Err(format!("`{}` of lease `{id}` was removed", resource.id));
                }
            }
        }
        Ok(())
    }

    /// What is active or a view and will not be collected is somebody's, whoever it is.
    fn check_snapshots(&self) -> Result<(), String> {
        for (kind, key) in held(self.before, self.seen.version) {
            let Some(snapshot) = self.before.snapshots.get(&key) else {
                continue;
            };
            if kind != Kind::Snapshot || snapshot.info.kind == SnapshotKind::Committed {
                continue;
            }
            if let Some(chain) = self.chain_below(&key) {
                self.check_targets(&format!("snapshot `{key}`"), |makeup| {
                    makeup.chains.contains(&chain)
                })?;
            }
        }
        Ok(())
    }

    /// The first digest among the keys from a snapshot downwards.
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

    /// Demands that of each target that is used a record stays: one that is not to expire, if
    /// there was one.
    fn check_targets(&self, user: &str, is_used: impl Fn(&Makeup) -> bool) -> Result<(), String> {
        let makeups = self.makeups.iter();
        for (target, _) in makeups.filter(|(_, makeup)| is_used(makeup)) {
            let records = self.before.images.iter();
            let records = records.filter(|(_, it)| it.target.digest.to_string() == *target);
            let (gone, left): (Vec<_>, Vec<_>) =
                records.partition(|(name, _)| self.removed.contains(*name));
            let has_lasting = |records: &[(&String, &reclaim_testkit::ImageRecord)]| {
                records.iter().any(|(_, it)| !is_expired(&it.labels))
            };
            if left.is_empty() || has_lasting(&gone) && !has_lasting(&left) {
                return Err(format!("{user} uses {target}, of which nothing is left"));
            }
        }
        Ok(())
    }
}

/// Reads the documents of those blobs that some namespace has when the question is asked.
///
/// The namespace does not matter, since a digest means the same in each. That it is there does:
/// a collection before the question may have taken what the store was built with, and what is
/// in no namespace any more cannot explain a snapshot.
fn documents(store: &RandomStore, present: &BTreeMap<String, u64>) -> Documents {
    let objects = store.objects.iter();
    let documents = objects.filter_map(|thing| match &thing.kind {
        ObjectKind::Blob { bytes, note: _ } => {
            let digest = digest_of(bytes).to_string();
            let document = serde_json::from_slice(bytes).ok()?;
            present.contains_key(&digest).then_some((digest, document))
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

fn makeup(target: &str, documents: &Documents) -> Makeup {
    let mut makeup = Makeup::default();
    let mut queue = vec![target.to_owned()];
    while let Some(digest) = queue.pop() {
        let document = documents.get(&digest);
        if makeup.identity.insert(digest)
            && let Some(document) = document
        {
            let digest = |descriptor: &Value| descriptor["digest"].as_str().map(str::to_owned);
            let listed = document["manifests"].as_array().into_iter().flatten();
            let named = listed.chain(Some(&document["config"]));
            queue.extend(named.filter(|it| is_document(it)).filter_map(digest));
            let layers = document["rootfs"]["diff_ids"].as_array();
            makeup
                .chains
                .extend(layers.and_then(|layers| chain(layers)));
        }
    }
    makeup
}

/// Whether a descriptor calls its blob a document of any kind. An index may list a bare layer,
/// which many images share: naming that means none of them. Nor do kinds that nobody knows.
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

/// The chain ID of all layers.
fn chain(diff_ids: &[Value]) -> Option<String> {
    let diff_ids = diff_ids.iter().filter_map(Value::as_str);
    diff_ids.map(str::to_owned).reduce(|below, diff_id| {
        let both = format!("{below} {diff_id}");
        digest_of(both.as_bytes()).to_string()
    })
}

#[cfg(test)]
mod tests {
    use reclaim_testkit::{Labels, StoreObject};

    use super::*;

    #[test]
    fn a_document_that_was_collected_explains_nothing() {
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
        let chains =
            |present: &BTreeMap<String, u64>| makeup(&digest, &documents(&store, present)).chains;
        let present = BTreeMap::from([(digest.clone(), 37)]);
        assert_eq!(chains(&present), BTreeSet::from(["sha256:01".to_owned()]));
        assert_eq!(chains(&BTreeMap::new()), BTreeSet::new());
    }
}
