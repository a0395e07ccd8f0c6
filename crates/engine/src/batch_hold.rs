//! Holds of a few images, or of labels of a few blobs, each, for a disk without room for one journal of all.
//!
//! A journal is content, which needs free blocks. A lease is a few bytes in containerd's database,
//! which needs only free pages. So the first few images are held by a lease that contains the
//! journal in its labels. It is created with all labels, so a lease never has half a journal. The
//! labels keep no content, so the lease's resources, which do, are added afterwards. Later batches
//! have a normal journal, each under its own lease.
//!
//! The lease is marked as that of a crashed run from the start. No other run reads it while this one
//! holds the guard. A run that takes over the guard restores the records of the lease.

use std::collections::{BTreeMap, BTreeSet};
use std::slice;
use std::time::Duration;

use jiff::Timestamp;
use reclaim_model::{
    BlobLabels, GcLabels, GcRef, ImageRecord, Lease, LeaseResource, Namespace, RunId, chain,
    gc_ref_kind,
};
use reclaim_store::{Containerd, HeldBlob, StoreError};
use tracing::warn;

use crate::journal::{self, Changes, Entries};
use crate::lease::{self, ABANDONED, HOLD_PREFIX};
use crate::retry::retry;

/// The prefix of the label keys for the journal.
const JOURNAL: &str = "reclaim/journal.";

/// The bytes of the journal in one label: with the key, less than the 4,096 that containerd allows.
const PART: usize = 4000;

/// The maximum [`weight`] of a record. Larger records wait for room for a journal.
const MAX_WEIGHT: usize = 64 << 10;

/// A lease that holds a few images.
#[derive(Debug)]
pub(crate) struct BatchHold {
    run: RunId,
    id: String,
    form: Form,
}

/// The form of a hold.
#[derive(Debug)]
enum Form {
    /// The journal is in the lease's labels.
    Labels {
        journal: BTreeMap<String, String>,
        resources: BTreeSet<LeaseResource>,
    },
    /// The journal is content.
    Blobs(Vec<HeldBlob>),
}

impl BatchHold {
    /// Prepares the hold of a batch: small, or with a journal.
    ///
    /// Precondition: `blobs` is the journal of the changes, and all of a small one [`fit`](fits), also
    /// [its labels](labels_fit).
    pub(crate) fn new(
        run: &RunId,
        changes: Changes<'_>,
        blobs: Vec<HeldBlob>,
        number: usize,
        is_small: bool,
    ) -> Self {
        let form = if is_small {
            let of_records = changes.steps.iter();
            let of_records = of_records.filter_map(|step| resources_of(&step.image));
            let of_labels = changes.labels.iter().filter_map(resources_of_labels);
            let resources = of_records.chain(of_labels);
            let bodies = blobs.iter().map(|blob| String::from_utf8_lossy(&blob.body));
            Form::Labels {
                journal: labels(&bodies.collect::<String>()),
                resources: resources.flatten().collect(),
            }
        } else {
            Form::Blobs(blobs)
        };
        Self {
            run: run.clone(),
            id: format!("{HOLD_PREFIX}{run}.{number}"),
            form,
        }
    }

    /// Writes the hold, which lasts until `expires`.
    ///
    /// # Errors
    ///
    /// If it cannot be written completely. Then it deletes what it has written, if possible.
    pub(crate) async fn write(
        &self,
        store: &Containerd,
        namespace: &Namespace,
        expires: Timestamp,
    ) -> Result<(), StoreError> {
        let left = Duration::try_from(store.now().duration_until(expires));
        let left = left.unwrap_or(Duration::ZERO);
        let mut labels = lease::new(&self.run, store.now(), left);
        labels.insert(ABANDONED.to_owned(), "true".to_owned());
        self.create(store, namespace, &self.id, labels).await
    }

    /// Replaces the hold by one for the undo window, which a keeper ends. Returns the end of the window.
    pub(crate) async fn keep(
        &self,
        store: &Containerd,
        namespace: &Namespace,
        window: Duration,
        keeper: Option<BTreeMap<String, String>>,
    ) -> Result<Timestamp, StoreError> {
        let kept = format!("{}.kept", self.id);
        let expires = lease::expiry(store.now(), window);
        let labels = lease::held(&self.run, store.now(), window, keeper);
        self.create(store, namespace, &kept, labels).await?;
        self.delete(store, namespace, false).await?;
        Ok(expires)
    }

    /// Deletes the hold; with `collect`, containerd then frees its content.
    pub(crate) async fn delete(
        &self,
        store: &Containerd,
        namespace: &Namespace,
        collect: bool,
    ) -> Result<(), StoreError> {
        lease::delete_hold(store, namespace, slice::from_ref(&self.id), collect).await
    }

    async fn create(
        &self,
        store: &Containerd,
        namespace: &Namespace,
        id: &str,
        mut labels: BTreeMap<String, String>,
    ) -> Result<(), StoreError> {
        if let Form::Labels { journal, .. } = &self.form {
            labels.extend(journal.clone());
        }
        let creating = async {
            retry(|| store.create_lease(namespace, id, labels.clone())).await?;
            match &self.form {
                Form::Labels { resources, .. } => {
                    for resource in resources {
                        retry(|| store.add_resource(namespace, id, resource)).await?;
                    }
                }
                Form::Blobs(blobs) => {
                    for blob in blobs {
                        retry(|| store.write_held(namespace, id, blob.clone())).await?;
                    }
                }
            }
            Ok(())
        };
        let created = creating.await;
        if created.is_err()
            && let Err(error) = retry(|| store.delete_lease(namespace, id, false)).await
        {
            let error = chain(&error);
            warn!(%error, lease = id, "cannot delete an incomplete hold; it expires later");
        }
        created
    }
}

/// Returns about how many bytes the record needs in a small hold.
pub(crate) fn weight(image: &ImageRecord) -> usize {
    let pairs = image.labels.iter().chain(&image.target.annotations);
    image.name.len()
        + pairs
            .map(|(key, value)| key.len() + value.len())
            .sum::<usize>()
}

/// Returns whether a small hold can keep the content of a record.
pub(crate) fn fits(image: &ImageRecord) -> bool {
    weight(image) <= MAX_WEIGHT && resources_of(image).is_some()
}

/// Returns about how many bytes the labels of a blob need in a small hold.
pub(crate) fn labels_weight(labels: &BlobLabels) -> usize {
    let pairs = labels.labels.iter();
    pairs.map(|(key, value)| key.len() + value.len()).sum()
}

/// Returns whether a small hold can keep what the labels of a blob refer to.
pub(crate) fn labels_fit(labels: &BlobLabels) -> bool {
    labels_weight(labels) <= MAX_WEIGHT && resources_of_labels(labels).is_some()
}

/// Returns the resources of a lease that keeps a blob, and the targets of its labels. `None` if a lease
/// cannot refer to one of them.
fn resources_of_labels(labels: &BlobLabels) -> Option<Vec<LeaseResource>> {
    let mut resources = vec![LeaseResource::Content(labels.blob.clone())];
    add_targets(&labels.labels, &mut resources)?;
    Some(resources)
}

/// Returns the resources of a lease that keeps the content of a record: its target, and the targets
/// of its labels. `None` if a lease cannot refer to one of them.
fn resources_of(image: &ImageRecord) -> Option<Vec<LeaseResource>> {
    let mut resources = vec![LeaseResource::Content(image.target.digest.clone())];
    add_targets(&image.labels, &mut resources)?;
    Some(resources)
}

fn add_targets(
    labels: &BTreeMap<String, String>,
    resources: &mut Vec<LeaseResource>,
) -> Option<()> {
    let labels = labels.iter();
    for (key, value) in labels.filter(|(key, _)| gc_ref_kind(key).is_some()) {
        let parsed = GcLabels::parse([(&**key, &**value)]);
        let [reference] = &*parsed.refs else {
            return None;
        };
        resources.push(match reference {
            GcRef::Content(digest) => LeaseResource::Content(digest.clone()),
            GcRef::Snapshot(id) => LeaseResource::Snapshot(id.clone()),
            GcRef::NoContent(_) | GcRef::Image(_) | GcRef::Container(_) => return None,
        });
    }
    Some(())
}

/// Splits a journal into labels, in the order of their keys.
fn labels(journal: &str) -> BTreeMap<String, String> {
    let mut parts = vec![String::new()];
    for letter in journal.chars() {
        if parts
            .last()
            .is_some_and(|part| part.len() + letter.len_utf8() > PART)
        {
            parts.push(String::new());
        }
        if let Some(part) = parts.last_mut() {
            part.push(letter);
        }
    }
    let parts = parts.into_iter().enumerate();
    parts
        .map(|(index, part)| (format!("{JOURNAL}{index:06}"), part))
        .collect()
}

/// The journal in the labels of a lease.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum LabelJournal {
    /// The entries whose content the lease holds.
    Entries(Entries),
    /// The journal is damaged, or from a newer version.
    Unreadable,
}

/// Reads the journal in the labels of a lease; `None` if it has none.
///
/// If the lease lacks a resource, there are no entries: the run removes nothing before its hold is
/// complete.
pub(crate) fn read(lease: &Lease) -> Option<LabelJournal> {
    let parts = lease.labels.range(JOURNAL.to_owned()..);
    let parts = parts.take_while(|(key, _)| key.starts_with(JOURNAL));
    let body: String = parts.map(|(_, part)| part.as_str()).collect();
    if body.is_empty() {
        return None;
    }
    let Some(entries) = journal::read(body.as_bytes()) else {
        return Some(LabelJournal::Unreadable);
    };
    let is_held = |needed: Option<Vec<LeaseResource>>| {
        needed.is_some_and(|needed| {
            needed
                .iter()
                .all(|resource| lease.resources.contains(resource))
        })
    };
    let mut records = entries.records.iter().map(resources_of);
    let mut labels = entries.labels.iter().map(resources_of_labels);
    let is_whole = records.all(is_held) && labels.all(is_held);
    Some(LabelJournal::Entries(if is_whole {
        entries
    } else {
        Entries::default()
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use reclaim_model::Step;

    use crate::fixture::{digest, step};
    use crate::kubernetes::RestrictedImages;

    fn with_labels(name: &str, labels: &[(&str, &str)]) -> Step {
        let mut step = step(name, '1');
        let labels = labels.iter();
        step.image.labels = labels
            .map(|&(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        step
    }

    /// The complete lease of a small hold.
    async fn lease(steps: &[Step], labels: &[BlobLabels]) -> Lease {
        let run = RunId("run".to_owned());
        let (namespace, restricted) = ("default".parse().unwrap(), RestrictedImages::new());
        let changes = Changes {
            steps,
            labels,
            restricted: &restricted,
        };
        let blobs = journal::write(&run, &namespace, changes).await;
        let hold = BatchHold::new(&run, changes, blobs, 1, true);
        let Form::Labels { journal, resources } = hold.form else {
            unreachable!("it is small")
        };
        Lease {
            id: hold.id,
            labels: journal,
            expires: None,
            created: None,
            is_flat: false,
            resources: resources.into_iter().collect(),
        }
    }

    #[tokio::test]
    async fn a_journal_in_labels_is_read_back() {
        let long = "ü".repeat(1000);
        let steps: Vec<Step> = (0..8)
            .map(|index| with_labels(&format!("app:{index}"), &[("note", &long)]))
            .collect();
        let lease = lease(&steps, &[]).await;
        assert_eq!(lease.id, "reclaim.hold.run.1");
        assert!(lease.labels.len() > 1);
        for (key, value) in &lease.labels {
            assert!(key.len() + value.len() <= 4096, "{key}");
        }
        let entries = Entries {
            records: steps.into_iter().map(|step| step.image).collect(),
            ..Entries::default()
        };
        assert_eq!(read(&lease), Some(LabelJournal::Entries(entries)));
    }

    #[tokio::test]
    async fn an_incomplete_hold_has_no_records() {
        let content = digest('2').to_string();
        let labels = [
            ("containerd.io/gc.ref.content.x", &*content),
            ("containerd.io/gc.ref.snapshot.native/1", "layer"),
        ];
        let whole = lease(&[with_labels("app:1", &labels)], &[]).await;
        assert_eq!(whole.resources.len(), 3);
        let none = || Some(LabelJournal::Entries(Entries::default()));
        assert_ne!(read(&whole), none());
        for missing in 0..3 {
            let mut half = whole.clone();
            half.resources.remove(missing);
            assert_eq!(read(&half), none(), "{missing}");
        }
        let mut damaged = whole.clone();
        damaged.labels.values_mut().for_each(|it| it.truncate(9));
        assert_eq!(read(&damaged), Some(LabelJournal::Unreadable));
        let mut plain = whole;
        plain.labels.clear();
        assert_eq!(read(&plain), None);
    }

    #[tokio::test]
    async fn labels_of_blobs_are_held_with_their_targets() {
        let labels = BlobLabels {
            blob: digest('1'),
            labels: [
                ("containerd.io/gc.ref.snapshot.native", "layer"),
                ("containerd.io/gc.ref.content.l.0", &digest('2').to_string()),
            ]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
        };
        assert!(labels_fit(&labels));
        let lease = lease(&[], std::slice::from_ref(&labels)).await;
        assert_eq!(lease.resources.len(), 3);
        let entries = Entries {
            labels: vec![labels],
            ..Entries::default()
        };
        assert_eq!(read(&lease), Some(LabelJournal::Entries(entries)));
        for missing in 0..3 {
            let mut half = lease.clone();
            half.resources.remove(missing);
            let none = Some(LabelJournal::Entries(Entries::default()));
            assert_eq!(read(&half), none, "{missing}");
        }
    }

    #[test]
    fn records_that_do_not_fit_into_a_lease_need_a_journal() {
        let huge = "x".repeat(MAX_WEIGHT);
        for (labels, expected) in [
            (&[][..], true),
            (&[("team", "shop")], true),
            (&[("containerd.io/gc.ref.snapshot.native", "layer")], true),
            (&[("containerd.io/gc.ref.content", "no digest")], false),
            (&[("containerd.io/gc.ref.image", "other")], false),
            (&[("containerd.io/gc.ref.volume.x/y", "other")], false),
            (&[("team", &huge)], false),
        ] {
            assert_eq!(
                fits(&with_labels("a", labels).image),
                expected,
                "{labels:?}"
            );
        }
    }
}
