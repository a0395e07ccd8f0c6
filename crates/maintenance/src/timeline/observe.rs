//! Adds what a scan of the store found to the timeline.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use reclaim_engine::{Engine, Shared, blocking};
use reclaim_model::{
    Config, Digest, ImageRecord, Inventory, LastUses, Namespace, OUR_PIN_LABEL, PIN_LABEL,
    SnapshotId, SnapshotSizes, Sources, chain,
};
use reclaim_plan::{Footprint, footprints};
use tracing::debug;

use super::current::Sighting;
use super::recorder::MAX_IMAGES;
use super::{ObjectKey, Recorder, SeenConfig, SeenName};
use crate::last_use::LastUseIndex;

/// How many snapshots one scan measures at most: each takes a call. Images with others follow with the
/// next scans.
const MAX_MEASURED: usize = 500;

/// The maximum bytes of labels that are recorded of a record or a configuration.
const MAX_LABELS: usize = 4096;

/// How many repositories are recorded as the source of an image.
const MAX_SOURCES: usize = 32;

/// The sizes of snapshots that no observation has, by namespace.
type Sizes = BTreeMap<Namespace, SnapshotSizes>;

impl LastUseIndex {
    /// Adds what a scan found to the timeline, if the last observation is old enough. A failure is only
    /// logged: no policy decides by it.
    pub(crate) async fn record_timeline(
        self: &Arc<Self>,
        engine: &Engine,
        found: &Shared<Inventory>,
    ) {
        let index = Arc::clone(self);
        let moment = blocking(move || index.moment()).await;
        if !self.timeline.is_due(moment) {
            return;
        }
        let images = found.namespaces.values().map(|it| it.images.len());
        if images.sum::<usize>() > MAX_IMAGES {
            debug!(max = MAX_IMAGES, "too many images for the timeline");
            return;
        }
        let filesystems = if self.timeline.needs_filesystems(moment) {
            let measured = engine.store().filesystems().await;
            measured.map(|found| found.seen).unwrap_or_default()
        } else {
            Vec::new()
        };
        let mut sizes = Sizes::new();
        // Most scans find no new snapshot.
        for _ in 0..2 {
            let (index, known, filesystems) = (Arc::clone(self), sizes, filesystems.clone());
            let recording = found.read(move |inventory| {
                let images = all_footprints(inventory);
                let unknown = unmeasured(&images, &known, &index.timeline);
                if !unknown.is_empty() && known.is_empty() {
                    return Err(unknown);
                }
                let sightings = sightings(&images, &index, &known);
                Ok(index.timeline.observe(sightings, &filesystems, moment))
            });
            let unknown = match recording.await {
                Err(unknown) => unknown,
                Ok(written) => return self.timeline.note(written),
            };
            sizes = Sizes::new();
            for (namespace, snapshots) in unknown {
                match engine.store().snapshot_bytes(&namespace, &snapshots).await {
                    Ok(measured) => drop(sizes.insert(namespace, measured)),
                    Err(error) => {
                        let error = chain(&error);
                        debug!(%error, "cannot measure snapshots for the timeline");
                        return;
                    }
                }
            }
        }
    }
}

/// The images of each namespace.
type Images<'i> = BTreeMap<&'i Namespace, Vec<Footprint<'i>>>;

fn all_footprints(inventory: &Inventory) -> Images<'_> {
    let namespaces = inventory.namespaces.keys();
    let images = namespaces.map(|namespace| (namespace, footprints(inventory, namespace)));
    images.collect()
}

/// Returns snapshots of images whose size is unknown.
fn unmeasured(
    images: &Images<'_>,
    sizes: &Sizes,
    known: &Recorder,
) -> BTreeMap<Namespace, Vec<SnapshotId>> {
    let mut unknown = BTreeMap::new();
    let mut left = MAX_MEASURED;
    for (namespace, images) in images {
        let sizes = sizes.get(namespace);
        let snapshots = images.iter().flat_map(|image| &image.snapshots);
        let is_unknown = |id: &&SnapshotId| {
            sizes.is_none_or(|sizes| sizes.get(id).is_none())
                && known.bytes(&snapshot_key(namespace, id)).is_none()
        };
        let of_namespace: BTreeSet<&SnapshotId> = snapshots.filter(is_unknown).collect();
        let of_namespace = of_namespace.into_iter().take(left).cloned();
        let of_namespace: Vec<SnapshotId> = of_namespace.collect();
        left -= of_namespace.len();
        if !of_namespace.is_empty() {
            unknown.insert((*namespace).clone(), of_namespace);
        }
    }
    unknown
}

fn snapshot_key(namespace: &Namespace, id: &SnapshotId) -> ObjectKey {
    ObjectKey::Snapshot {
        namespace: namespace.clone(),
        snapshotter: id.snapshotter.clone(),
        key: id.key.to_string(),
    }
}

fn sightings(images: &Images<'_>, index: &LastUseIndex, sizes: &Sizes) -> Vec<Sighting> {
    let mut found = Vec::new();
    for (namespace, images) in images {
        let uses = index.uses(namespace);
        let none = SnapshotSizes::default();
        let sizes = sizes.get(namespace).unwrap_or(&none);
        found.extend(images.iter().filter_map(|image| {
            sighting(namespace, image, &uses, |key, id| {
                // A snapshot that nothing can measure counts as empty.
                let measured = sizes.get(id).map(Option::unwrap_or_default);
                index.timeline.bytes(key).or(measured)
            })
        }));
    }
    found
}

/// Returns an image as the timeline has it, without snapshots that are not measured yet; `None` if it is
/// not in the index.
fn sighting(
    namespace: &Namespace,
    image: &Footprint<'_>,
    uses: &LastUses,
    bytes: impl Fn(&ObjectKey, &SnapshotId) -> Option<u64>,
) -> Option<Sighting> {
    let last = uses.targets.get(image.target)?;
    let blobs = image.blobs.iter();
    let blobs = blobs.map(|blob| (ObjectKey::Blob(blob.digest.clone()), blob.size));
    let snapshots = image.snapshots.iter().filter_map(|id| {
        let key = snapshot_key(namespace, id);
        let bytes = bytes(&key, id)?;
        Some((key, bytes))
    });
    let sources = image.sources.into_iter().flat_map(Sources::repositories);
    Some(Sighting {
        namespace: namespace.clone(),
        target: image.target.clone(),
        media_type: image.records.first()?.target.media_type.clone(),
        names: image.records.iter().map(|record| name(record)).collect(),
        objects: blobs.chain(snapshots).collect(),
        configs: image.configs.iter().map(config).collect(),
        sources: sources.take(MAX_SOURCES).map(str::to_owned).collect(),
        is_unreadable: image.is_unreadable,
        // An image in use was used now. If its use has just ended, the scan found it unused.
        is_in_use: last.last_used == uses.now && last.unused_since.is_none(),
        first_seen: last.first_seen,
        last_used: last.last_used,
        spared_until: last.spared_until,
    })
}

fn name(record: &ImageRecord) -> SeenName {
    let mut labels = record.labels.clone();
    if length(&labels) > MAX_LABELS {
        labels.retain(|key, _| [PIN_LABEL, OUR_PIN_LABEL].contains(&key.as_str()));
    }
    SeenName {
        name: record.name.clone(),
        created: record.created_at,
        updated: record.updated_at,
        labels,
    }
}

fn config((digest, config): &(&Digest, &Config)) -> SeenConfig {
    let mut labels = config.labels.clone();
    let mut left_out = config.labels_left_out;
    if length(&labels) > MAX_LABELS {
        left_out += labels.len();
        labels.clear();
    }
    SeenConfig {
        digest: (*digest).clone(),
        labels,
        labels_left_out: left_out,
    }
}

fn length(labels: &BTreeMap<String, String>) -> usize {
    labels
        .iter()
        .map(|(key, value)| key.len() + value.len())
        .sum()
}
