//! The journal of a run: the complete records that it is about to remove.
//!
//! It is a blob whose labels refer to every target, written under the run's lease before the first
//! removal. While the lease exists, the content of the records is not collected, and containerd has
//! all that is needed to restore them.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use reclaim_model::{
    BlobLabels, GcLabels, ImageRecord, Namespace, Plan, RunId, Step, Target, gc_ref_kind,
};
use reclaim_store::HeldBlob;
use serde::{Deserialize, Serialize};

use crate::cuts::CutLabels;
use crate::kubernetes::RestrictedImages;
use crate::off_thread::{blocking, for_each_yielding};

/// The version of the format. Other versions are not read.
const VERSION: u32 = 1;

/// The maximum number of records in a blob. Its labels are sent in one message of at most 16 MiB,
/// which fits twice as many records of the usual length.
const MAX_RECORDS: usize = 50_000;

/// The maximum bytes of records and labels in a blob.
const MAX_BYTES: usize = 8 << 20;

/// The maximum size of a journal that is read, in bytes. Reclaim writes no larger ones.
pub(crate) const MAX_BODY: u64 = 64 << 20;

const CONTENT_REF: &str = "containerd.io/gc.ref.content";

/// The beginning of the key of a label by which a config keeps what was unpacked of it.
const SNAPSHOT_REF: &str = "containerd.io/gc.ref.snapshot";

/// The records in one blob.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Journal {
    version: u32,
    pub(crate) run: String,
    pub(crate) namespace: String,
    pub(crate) records: Vec<Record>,
    /// Labels that are removed from image configs, as earlier versions wrote them.
    #[serde(default, skip_serializing)]
    labels: Vec<Label>,
    /// The labels that are removed from blobs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    blob_labels: Vec<BlobLabels>,
}

/// What a run is about to change.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Changes<'a> {
    pub(crate) steps: &'a [Step],
    /// The labels that blobs lose.
    pub(crate) labels: &'a [BlobLabels],
    /// The images that only some pods may use.
    pub(crate) restricted: &'a RestrictedImages,
}

impl<'a> Changes<'a> {
    /// Returns the changes of a plan, with the labels of its cuts.
    pub(crate) fn new(
        plan: &'a Plan,
        labels: &'a CutLabels,
        restricted: &'a RestrictedImages,
    ) -> Self {
        Self {
            steps: &plan.steps,
            labels: labels.labels(),
            restricted,
        }
    }
}

/// The label of an image config for its unpacked layers.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Label {
    config: reclaim_model::Digest,
    snapshotter: String,
    key: String,
}

/// The content of a journal.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Entries {
    pub(crate) records: Vec<ImageRecord>,
    pub(crate) labels: Vec<BlobLabels>,
    pub(crate) restricted: RestrictedImages,
}

/// An image record before its removal.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    name: String,
    media_type: String,
    digest: reclaim_model::Digest,
    size: u64,
    annotations: BTreeMap<String, String>,
    labels: BTreeMap<String, String>,
    created_at: Option<Timestamp>,
    /// The image IDs under which the kubelet had a pull record that restricts who may use the image.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pull_records: Vec<reclaim_model::Digest>,
}

impl Record {
    fn of(image: &ImageRecord, restricted: &RestrictedImages) -> Self {
        let pull_records = restricted.get(&image.target.digest);
        Self {
            pull_records: pull_records.cloned().unwrap_or_default(),
            name: image.name.clone(),
            media_type: image.target.media_type.clone(),
            digest: image.target.digest.clone(),
            size: image.target.size,
            annotations: image.target.annotations.clone(),
            labels: image.labels.clone(),
            created_at: image.created_at,
        }
    }

    fn into_image(self) -> ImageRecord {
        let expires = self.labels.get(reclaim_model::EXPIRE);
        ImageRecord {
            gc: GcLabels::parse(self.labels.iter().map(|(key, value)| (&**key, &**value))),
            expires: expires.and_then(|it| reclaim_model::parse_expiry(it)),
            name: self.name,
            target: Target {
                media_type: self.media_type,
                digest: self.digest,
                size: self.size,
                annotations: self.annotations,
            },
            labels: self.labels,
            created_at: self.created_at,
            updated_at: None,
        }
    }

    /// Returns about how many bytes the record needs in the journal and its labels.
    fn weight(&self) -> usize {
        let pairs = self.labels.iter().chain(&self.annotations);
        let pairs: usize = pairs.map(|(key, value)| key.len() + value.len() + 8).sum();
        self.name.len() + self.media_type.len() + 2 * pairs + 75 * self.pull_records.len() + 320
    }
}

/// Writes the changes of a run as blobs, in the order of the plan.
pub(crate) async fn write(
    run: &RunId,
    namespace: &Namespace,
    changes: Changes<'_>,
) -> Vec<HeldBlob> {
    let Changes {
        steps,
        labels,
        restricted,
    } = changes;
    let mut records = Vec::with_capacity(steps.len());
    for_each_yielding(steps, |step| {
        records.push(Record::of(&step.image, restricted));
    })
    .await;
    let (run, namespace, labels) = (run.clone(), namespace.clone(), labels.to_vec());
    blocking(move || blobs(&run, &namespace, records, labels)).await
}

fn blobs(
    run: &RunId,
    namespace: &Namespace,
    records: Vec<Record>,
    labels: Vec<BlobLabels>,
) -> Vec<HeldBlob> {
    let records = in_parts(records, Record::weight).into_iter();
    let records = records.map(|records| blob(run, namespace, records, Vec::new()));
    let labels = in_parts(labels, weight).into_iter();
    let labels = labels.map(|labels| blob(run, namespace, Vec::new(), labels));
    records.chain(labels).collect()
}

/// Divides entries into parts, each for one blob.
fn in_parts<T>(all: Vec<T>, weight: impl Fn(&T) -> usize) -> Vec<Vec<T>> {
    let mut parts: Vec<Vec<T>> = Vec::new();
    let mut bytes = 0;
    for entry in all {
        let weight = weight(&entry);
        match parts.last_mut() {
            Some(part) if part.len() < MAX_RECORDS && bytes + weight <= MAX_BYTES => {
                bytes += weight;
                part.push(entry);
            }
            _ => {
                bytes = weight;
                parts.push(vec![entry]);
            }
        }
    }
    parts
}

/// Returns about how many bytes the labels of a blob need in the journal and its labels.
fn weight(labels: &BlobLabels) -> usize {
    let pairs = labels.labels.iter();
    let pairs: usize = pairs.map(|(key, value)| key.len() + value.len() + 60).sum();
    2 * pairs + 300
}

fn blob(
    run: &RunId,
    namespace: &Namespace,
    records: Vec<Record>,
    blob_labels: Vec<BlobLabels>,
) -> HeldBlob {
    let labels = labels(&records, &blob_labels);
    let journal = Journal {
        version: VERSION,
        run: run.to_string(),
        namespace: namespace.to_string(),
        records,
        labels: Vec::new(),
        blob_labels,
    };
    HeldBlob {
        body: serde_json::to_vec(&journal).expect("maps with text keys and no floats"),
        labels,
    }
}

/// Returns the labels that keep all content of the journal: one for each target, for each blob that
/// loses labels, and for each target of the labels of both.
fn labels(records: &[Record], removed: &[BlobLabels]) -> BTreeMap<String, String> {
    let targets = records.iter().map(|it| it.digest.to_string());
    let blobs = removed.iter().map(|it| it.blob.to_string());
    let targets: BTreeSet<String> = targets.chain(blobs).collect();
    let targets = targets.into_iter().enumerate();
    let mut labels: BTreeMap<String, String> = targets
        .map(|(index, digest)| (format!("{CONTENT_REF}.{index}"), digest))
        .collect();
    let of_records = records.iter().map(|it| &it.labels);
    let of_blobs = removed.iter().map(|it| &it.labels);
    let references = of_records.chain(of_blobs).flat_map(references);
    for (index, (kind, value)) in references.enumerate() {
        labels.insert(format!("{kind}/{index}"), value.to_owned());
    }
    labels
}

/// Returns the references in the labels of a record: the part of the key that defines the kind, and
/// the value. The rest of the key, which may be long, is left out.
fn references(labels: &BTreeMap<String, String>) -> impl Iterator<Item = (&str, &str)> {
    let references = labels.iter();
    references.filter_map(|(key, value)| Some((gc_ref_kind(key)?, value.as_str())))
}

/// Reads a journal; `None` for any other text or version.
pub(crate) fn read(body: &[u8]) -> Option<Entries> {
    let journal: Journal = serde_json::from_slice(body).ok()?;
    let restricted = journal.records.iter();
    let restricted = restricted.filter(|record| !record.pull_records.is_empty());
    let restricted = restricted.map(|record| (record.digest.clone(), record.pull_records.clone()));
    let restricted = restricted.collect();
    let records = journal.records.into_iter();
    let of_configs = journal.labels.into_iter().map(|label| BlobLabels {
        blob: label.config,
        labels: [(format!("{SNAPSHOT_REF}.{}", label.snapshotter), label.key)].into(),
    });
    let labels = of_configs.chain(journal.blob_labels);
    (journal.version == VERSION).then(|| Entries {
        records: records.map(Record::into_image).collect(),
        labels: labels.collect(),
        restricted,
    })
}

#[cfg(test)]
mod tests;
