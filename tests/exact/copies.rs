//! Which images can be started from what their records keep.
//!
//! An image needs each layer once: compressed, or unpacked as part of a whole chain of committed
//! snapshots. What leases and containers keep does not count, because it goes with them.

use std::collections::BTreeSet;

use reclaim_testkit::{SnapshotKind, Version};
use serde_json::Value;

use crate::closure::{Kind, kept_by};
use crate::contents::NamespaceContents;
use crate::users::{Documents, chain};

const SNAPSHOTTERS: [&str; 2] = ["native", "overlayfs"];

/// A manifest with its configuration and layers.
#[derive(Debug, Clone)]
pub(crate) struct Platform {
    pub(crate) manifest: String,
    pub(crate) config: String,
    pub(crate) layers: Vec<String>,
    /// The key of its top snapshot.
    pub(crate) chain: Option<String>,
}

/// Finds the manifests among documents.
pub(crate) fn platforms(documents: &Documents) -> Vec<Platform> {
    let found = documents.iter().filter_map(|(digest, document)| {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let config = text(&document["config"]["digest"])?;
        let layers = document["layers"].as_array()?.iter();
        let layers = layers.map(|layer| text(&layer["digest"]));
        let diff_ids = documents.get(&config)?["rootfs"]["diff_ids"].as_array()?;
        Some(Platform {
            manifest: digest.clone(),
            config,
            layers: layers.collect::<Option<_>>()?,
            chain: chain(diff_ids),
        })
    });
    found.collect()
}

/// Returns each record with each manifest that could be started from what the record keeps.
pub(crate) fn startable(
    contents: &NamespaceContents,
    version: Version,
    platforms: &[Platform],
) -> BTreeSet<(String, String)> {
    let mut startable = BTreeSet::new();
    for name in contents.images.keys() {
        let kept = kept_by(contents, version, name);
        let has_blob = |digest: &String| {
            contents.blobs.contains_key(digest) && kept.contains(&(Kind::Content, digest.clone()))
        };
        let has_snapshot = |key: &String| kept.contains(&(Kind::Snapshot, key.clone()));
        for platform in platforms {
            if !has_blob(&platform.manifest) || !has_blob(&platform.config) {
                continue;
            }
            let tops = SNAPSHOTTERS.iter().filter_map(|snapshotter| {
                let chain = platform.chain.as_ref()?;
                Some(format!("{snapshotter}/{chain}"))
            });
            let mut tops = tops.filter(has_snapshot);
            if platform.layers.iter().all(has_blob)
                || tops.any(|top| depth(contents, &top) == Some(platform.layers.len()))
            {
                startable.insert((name.clone(), platform.manifest.clone()));
            }
        }
    }
    startable
}

/// Returns the number of snapshots of a chain, if all of them exist and are committed.
fn depth(contents: &NamespaceContents, top: &String) -> Option<usize> {
    let mut depth = 0;
    let mut at = Some(top);
    while let Some(key) = at {
        let snapshot = contents.snapshots.get(key)?;
        if snapshot.info.kind != SnapshotKind::Committed {
            return None;
        }
        depth += 1;
        at = snapshot.parent.as_ref();
    }
    Some(depth)
}
