//! Pulling: content with its labels, and the snapshots that it is unpacked to.

use super::SNAPSHOTTERS;
use super::draft::Draft;
use super::registry::{Artifact, Registry};
use crate::image::BuiltManifest;
use crate::labels::{GC_REF_SNAPSHOT, Labels};
use crate::namespace::SnapshotKind;
use crate::random::store::What;

/// Pulls a few images into the namespace and returns them.
pub(super) fn pull_some(draft: &mut Draft, registry: &Registry) -> Vec<Artifact> {
    let n_pulls = draft.dice.between(2, 7);
    let pulled = (0..n_pulls).map(|_| {
        let artifact = draft.dice.pick(&registry.artifacts).clone();
        pull(draft, &artifact);
        artifact
    });
    pulled.collect()
}

fn pull(draft: &mut Draft, artifact: &Artifact) {
    let unpacked_in = unpack_all(draft, artifact);
    // A pull that was cut off, or a blob that somebody deleted.
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
        let what = What::Blob {
            bytes: blob.bytes.clone().into(),
            note: format!("{} of {}", artifact.stem, artifact.note),
        };
        draft.add(what, labels);
    }
}

/// Unpacks what one unpacks, and returns the labels that the configs get for it.
fn unpack_all(draft: &mut Draft, artifact: &Artifact) -> Vec<(String, Labels)> {
    let mut labels = Vec::new();
    let mut is_first = true;
    for manifest in artifact.manifests.iter().filter(|it| it.present) {
        // Of several platforms, one as a rule.
        if !is_first && !draft.dice.percent(30) {
            continue;
        }
        is_first = false;
        for snapshotter in SNAPSHOTTERS {
            if draft.dice.percent(50) {
                unpack(draft, manifest, snapshotter);
                // Sometimes the label without the snapshots, or the other way round.
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
        let what = What::Snapshot {
            snapshotter: snapshotter.to_owned(),
            key: key.clone(),
            parent,
            kind: SnapshotKind::Committed,
            bytes: usize::try_from(layer.size).unwrap_or(0),
        };
        draft.add(what, Labels::new());
        parent = Some(key);
    }
}

/// The label by which a config refers to its top snapshot, with the digest of the config.
fn label(manifest: &BuiltManifest, snapshotter: &str) -> Option<(String, Labels)> {
    let top = manifest.chain_ids.last()?;
    let label = (format!("{GC_REF_SNAPSHOT}.{snapshotter}"), top.to_string());
    let config = manifest.config.digest.to_string();
    Some((config, Labels::from([label])))
}
