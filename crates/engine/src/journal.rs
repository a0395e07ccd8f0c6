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
mod tests {
    use reclaim_model::{RemoveReason, SnapshotId};

    use super::*;

    fn step(index: u32, labels: &[(&str, &str)]) -> Step {
        let record = Record {
            name: format!("docker.io/library/app:{index}"),
            media_type: "application/vnd.oci.image.manifest.v1+json".to_owned(),
            digest: format!("sha256:{index:064x}").parse().unwrap(),
            size: 17,
            annotations: BTreeMap::from([("a".to_owned(), "b".to_owned())]),
            labels: labels
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect(),
            created_at: Some("2026-01-02T03:04:05.000000006Z".parse().unwrap()),
            pull_records: Vec::new(),
        };
        Step {
            image: record.into_image(),
            reason: RemoveReason::Unused,
            lifted: None,
        }
    }

    fn written(steps: &[Step]) -> Vec<HeldBlob> {
        written_with(steps, &RestrictedImages::new())
    }

    fn written_with(steps: &[Step], restricted: &RestrictedImages) -> Vec<HeldBlob> {
        let run = RunId("run".to_owned());
        let records = steps.iter().map(|step| Record::of(&step.image, restricted));
        blobs(
            &run,
            &"default".parse().unwrap(),
            records.collect(),
            Vec::new(),
        )
    }

    fn blob_labels(index: usize, labels: &[(&str, &str)]) -> BlobLabels {
        let labels = labels.iter();
        BlobLabels {
            blob: format!("sha256:{index:064x}").parse().unwrap(),
            labels: labels
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
        }
    }

    fn written_labels(labels: Vec<BlobLabels>) -> Vec<HeldBlob> {
        let run = RunId("run".to_owned());
        blobs(&run, &"default".parse().unwrap(), Vec::new(), labels)
    }

    #[test]
    fn reads_back_the_labels_of_blobs_and_refers_to_what_they_kept() {
        let layer = format!("sha256:{:064x}", 9);
        let labels = vec![
            blob_labels(7, &[("containerd.io/gc.ref.snapshot.native", "chain")]),
            blob_labels(8, &[("containerd.io/gc.ref.content.l.0", &layer)]),
        ];
        let blobs = written_labels(labels.clone());
        assert_eq!(blobs.len(), 1);
        assert_eq!(read(&blobs[0].body).unwrap().labels, labels);
        let gc = GcLabels::parse(blobs[0].labels.iter().map(|(k, v)| (&**k, &**v)));
        let expected = [
            reclaim_model::GcRef::Content(labels[0].blob.clone()),
            reclaim_model::GcRef::Content(labels[1].blob.clone()),
            reclaim_model::GcRef::Content(layer.parse().unwrap()),
            reclaim_model::GcRef::Snapshot(SnapshotId::new("native", "chain")),
        ];
        assert_eq!(*gc.refs, expected);
    }

    /// Earlier versions removed labels of one kind only, and wrote them in another form.
    #[test]
    fn reads_the_labels_that_earlier_versions_wrote() {
        let config = format!("sha256:{:064x}", 7);
        let body = format!(
            r#"{{"version":1,"run":"r","namespace":"n","records":[],
                "labels":[{{"config":"{config}","snapshotter":"native","key":"chain"}}]}}"#
        );
        let expected = blob_labels(7, &[("containerd.io/gc.ref.snapshot.native", "chain")]);
        assert_eq!(read(body.as_bytes()).unwrap().labels, [expected]);
    }

    #[test]
    fn reads_back_the_records() {
        let steps = [step(1, &[("keep", "me")]), step(2, &[])];
        let blobs = written(&steps);
        assert_eq!(blobs.len(), 1);
        let records = read(&blobs[0].body).unwrap().records;
        assert_eq!(records, steps.map(|step| step.image));
    }

    /// Without them, the journal is as earlier versions wrote it, and they can read it.
    #[test]
    fn reads_back_the_images_that_only_some_pods_may_use() {
        let steps = [step(1, &[]), step(2, &[])];
        let plain = written(&steps);
        assert!(!String::from_utf8_lossy(&plain[0].body).contains("pull_records"));
        assert_eq!(
            read(&plain[0].body).unwrap().restricted,
            RestrictedImages::new()
        );
        let id: reclaim_model::Digest = format!("sha256:{:064x}", 7).parse().unwrap();
        let restricted = RestrictedImages::from([(steps[1].image.target.digest.clone(), vec![id])]);
        let blobs = written_with(&steps, &restricted);
        let entries = read(&blobs[0].body).unwrap();
        assert_eq!(entries.restricted, restricted);
        assert_eq!(entries.records, steps.map(|step| step.image));
    }

    #[test]
    fn refers_to_every_target_and_to_the_targets_of_record_labels() {
        let other = format!("sha256:{:064x}", 9);
        let steps = [
            step(1, &[("containerd.io/gc.ref.content", other.as_str())]),
            step(1, &[("containerd.io/gc.ref.snapshot.native", "key")]),
            step(2, &[]),
        ];
        let blobs = written(&steps);
        let gc = GcLabels::parse(blobs[0].labels.iter().map(|(k, v)| (&**k, &**v)));
        let expected = GcLabels::parse([
            (
                "containerd.io/gc.ref.content.0",
                steps[0].image.target.digest.to_string().as_str(),
            ),
            (
                "containerd.io/gc.ref.content.1",
                steps[2].image.target.digest.to_string().as_str(),
            ),
            ("containerd.io/gc.ref.content.2", other.as_str()),
            ("containerd.io/gc.ref.snapshot.native", "key"),
        ]);
        assert_eq!(gc, expected);
    }

    /// A label of a record may have the maximum length; the journal's must be shorter.
    #[test]
    fn refers_to_the_targets_of_long_labels() {
        let digest = format!("sha256:{:064x}", 9);
        let key = format!("containerd.io/gc.ref.content.{}", "k".repeat(3990));
        let by_name = format!("containerd.io/gc.ref.snapshot.native/{}", "s".repeat(3990));
        let labels = [(key.as_str(), digest.as_str()), (by_name.as_str(), "key")];
        let steps = [step(1, &labels), step(2, &labels)];
        let blobs = written(&steps);
        for (key, value) in &blobs[0].labels {
            assert!(key.len() + value.len() <= 4096, "{key}");
        }
        let gc = GcLabels::parse(blobs[0].labels.iter().map(|(k, v)| (&**k, &**v)));
        assert!(
            gc.refs
                .contains(&reclaim_model::GcRef::Content(digest.parse().unwrap()))
        );
        let snapshot = reclaim_model::GcRef::Snapshot(SnapshotId::new("native", "key"));
        assert!(gc.refs.contains(&snapshot));
        assert!(steps[0].image.is_holdable());
    }

    /// Holdable labels with the longest values and the highest numbers fit.
    #[test]
    fn holdable_labels_fit() {
        let kind = "containerd.io/gc.ref.snapshot.native";
        let longest = |length: usize| {
            let value = "v".repeat(length);
            step(3, &[(kind, &value)])
        };
        let room = 4096 - kind.len() - "/999999999".len();
        assert!(longest(room).image.is_holdable());
        assert!(!longest(room + 1).image.is_holdable());
        let value = "v".repeat(4060);
        assert!(step(4, &[("other", &value)]).image.is_holdable());
    }

    #[test]
    fn splits_records_that_do_not_fit_into_one_message() {
        let heavy = "x".repeat(4000);
        let steps: Vec<Step> = (0..3000)
            .map(|index| step(index, &[("fill", &heavy)]))
            .collect();
        let blobs = written(&steps);
        assert!(blobs.len() > 1);
        let records: Vec<ImageRecord> = blobs
            .iter()
            .flat_map(|blob| read(&blob.body).unwrap().records)
            .collect();
        assert_eq!(records.len(), steps.len());
        for blob in &blobs {
            assert!(blob.body.len() < 16 << 20);
        }
    }

    /// Returns the bytes of a blob in a message: its body and its labels.
    fn length(blob: &HeldBlob) -> usize {
        let labels = blob.labels.iter();
        blob.body.len() + labels.map(|(k, v)| k.len() + v.len()).sum::<usize>()
    }

    #[test]
    fn the_weight_of_a_record_is_its_size() {
        let (long, longer) = ("v".repeat(1000), "v".repeat(3000));
        let reference = "containerd.io/gc.ref.snapshot.native";
        let labels: [&[(&str, &str)]; 4] = [
            &[],
            &[(reference, &long)],
            &[(reference, &longer)],
            &[
                (reference, &long),
                ("containerd.io/gc.ref.snapshot.overlayfs", &long),
            ],
        ];
        for labels in labels {
            let step = step(1, labels);
            let taken = length(&written(std::slice::from_ref(&step))[0]);
            let weight = Record::of(&step.image, &RestrictedImages::new()).weight();
            // Up to the constant part of a record.
            assert!(
                weight.abs_diff(taken) < 400,
                "{labels:?}: {weight} of {taken}"
            );
        }
    }

    #[test]
    fn a_blob_is_filled_to_its_limit() {
        let of_weight = |index, weight: usize| {
            let mut step = step(index, &[]);
            let missing = weight - Record::of(&step.image, &RestrictedImages::new()).weight();
            step.image.name.extend(std::iter::repeat_n('n', missing));
            step
        };
        let half = MAX_BYTES / 2;
        let fits = [of_weight(1, half), of_weight(2, half)];
        let full = written(&fits);
        assert_eq!(full.len(), 1);
        let bytes = u64::try_from(full[0].body.len()).unwrap();
        assert!(bytes <= MAX_BODY, "it can be read back");
        let exceeds = [of_weight(1, half), of_weight(2, half + 1)];
        assert_eq!(written(&exceeds).len(), 2);
        // A single record cannot be split.
        assert_eq!(written(&[of_weight(1, MAX_BYTES + 1)]).len(), 1);
    }

    #[test]
    fn many_labels_are_split_into_several_blobs() {
        let of_blob = |index: usize| {
            let layers = (0..50).map(|layer| {
                let key = format!("containerd.io/gc.ref.content.l.{layer}");
                (key, format!("sha256:{:064x}", index * 100 + layer))
            });
            BlobLabels {
                labels: layers.collect(),
                ..blob_labels(index, &[])
            }
        };
        let labels: Vec<BlobLabels> = (0..1500).map(of_blob).collect();
        let blobs = written_labels(labels.clone());
        assert!(blobs.len() > 1);
        assert!(blobs.iter().all(|blob| length(blob) < 16 << 20));
        let read = blobs
            .iter()
            .flat_map(|blob| read(&blob.body).unwrap().labels);
        assert!(read.eq(labels));
    }

    #[test]
    fn refuses_other_versions_and_formats() {
        for body in [
            "",
            "{}",
            r#"{"version":2,"run":"r","namespace":"n","records":[]}"#,
            "[]",
        ] {
            assert!(read(body.as_bytes()).is_none(), "{body}");
        }
    }
}
