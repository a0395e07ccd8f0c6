//! Pulls: content with its labels, and unpacked snapshots.

use super::SNAPSHOTTERS;
use super::draft::Draft;
use super::registry::{Artifact, Registry};
use crate::image::BuiltManifest;
use crate::labels::{GC_REF_SNAPSHOT, Labels};
use crate::namespace::SnapshotKind;
use crate::random::store::ObjectKind;

/// Pulls a few images into the namespace and returns them.
pub(super) fn pull_some(draft: &mut Draft, registry: &Registry) -> Vec<Artifact> {
    let n_pulls = draft.dice.between(2, 7);
    (0..n_pulls)
        .map(|_| {
            let artifact = draft.dice.pick(&registry.artifacts).clone();
            pull(draft, &artifact);
            artifact
        })
        .collect()
}

fn pull(draft: &mut Draft, artifact: &Artifact) {
    let unpacked_in = unpack_all(draft, artifact);
    // As after an interrupted pull, or a deleted blob.
    let loss = if draft.dice.percent(20) { 25 } else { 0 };
    for blob in &artifact.blobs {
        if draft.dice.percent(loss) {
            continue;
        }
        let mut labels = blob.labels.clone();
        for (config, label) in &unpacked_in {
            if *config == blob.descriptor.digest.to_string() {
                labels.extend(label.clone());
            }
        }
        if draft.dice.percent(3) {
            labels = Labels::new();
        }
        let object = ObjectKind::Blob {
            bytes: blob.bytes.clone().into(),
            note: format!("{} of {}", artifact.stem, artifact.note),
        };
        draft.add(object, labels);
    }
}

/// Unpacks manifests, and returns the labels of their configs for it.
fn unpack_all(draft: &mut Draft, artifact: &Artifact) -> Vec<(String, Labels)> {
    let mut labels = Vec::new();
    let mut is_first = true;
    for manifest in artifact
        .manifests
        .iter()
        .filter(|manifest| manifest.present)
    {
        // Usually one of several platforms is unpacked.
        if !is_first && !draft.dice.percent(30) {
            continue;
        }
        is_first = false;
        for snapshotter in SNAPSHOTTERS {
            if draft.dice.percent(50) {
                unpack(draft, manifest, snapshotter);
                // Sometimes the label is missing.
                if !draft.dice.percent(10) {
                    labels.extend(label(manifest, snapshotter));
                }
            }
        }
    }
    labels
}

fn unpack(draft: &mut Draft, manifest: &BuiltManifest, snapshotter: &str) {
    let mut length = manifest.chain_ids.len();
    if draft.dice.percent(15) {
        length = draft.dice.below(length + 1);
    }
    let mut parent = None;
    for (chain_id, layer) in manifest.chain_ids.iter().zip(&manifest.layers).take(length) {
        let key = chain_id.to_string();
        let object = ObjectKind::Snapshot {
            snapshotter: snapshotter.to_owned(),
            key: key.clone(),
            parent,
            kind: SnapshotKind::Committed,
            bytes: usize::try_from(layer.size).unwrap_or(0),
        };
        draft.add(object, Labels::new());
        parent = Some(key);
    }
}

/// Returns the digest of a config, and the label by which it refers to its top snapshot.
fn label(manifest: &BuiltManifest, snapshotter: &str) -> Option<(String, Labels)> {
    let top = manifest.chain_ids.last()?;
    let label = (format!("{GC_REF_SNAPSHOT}.{snapshotter}"), top.to_string());
    let config = manifest.config.digest.to_string();
    Some((config, Labels::from([label])))
}
