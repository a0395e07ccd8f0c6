//! The form of the journal, and how it is divided.

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
