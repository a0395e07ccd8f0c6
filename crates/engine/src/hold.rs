//! Holds: leases that keep the removed images of a run restorable.
//!
//! During the run the hold is the lease `reclaim.hold.RUN.unfinished`. It outlives the guard, so if
//! the run does not finish, the next one restores from it. With an undo window, the lease
//! `reclaim.hold.RUN` follows it. It expires, or a daemon keeps it ([`crate::kept_holds`]).

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use reclaim_model::{
    BlobLabels, Digest, HeldRun, ImageRecord, Lease, LeaseResource, Namespace, RunId,
};
use reclaim_store::{Containerd, LeaseDeletion, StoreError};

use crate::batch_hold::{self, LabelJournal};
use crate::journal::{self, Changes};
use crate::kubernetes::RestrictedImages;
use crate::lease::{self, ABANDONED, HOLD_PREFIX, UNFINISHED, unfinished};
use crate::off_thread::blocking;
use crate::retry::{Patience, retry};
use crate::run::Run;

/// A hold that outlives its run.
#[derive(Debug, Clone)]
pub struct Hold {
    /// The run that removed the images.
    pub run: RunId,
    /// When the run began.
    pub started: Option<Timestamp>,
    /// When the hold ends, and its content can be collected; by the wall clock of when it began, if
    /// a daemon keeps it.
    pub expires: Option<Timestamp>,
    /// Whether the run crashed. Then some of its records may still exist.
    pub is_abandoned: bool,
    /// Whether all of its journals could be read, so `records` is complete.
    pub is_whole: bool,
    /// The records as they were.
    pub records: Vec<ImageRecord>,
    /// The labels that were removed from blobs.
    pub labels: Vec<BlobLabels>,
    /// Images that only some pods were allowed to use: by target, the image IDs of the kubelet's pull
    /// records.
    pub restricted: BTreeMap<Digest, Vec<Digest>>,
    /// The IDs of its leases: one, or several after a run on a full disk.
    pub leases: Vec<String>,
}

impl From<&Hold> for HeldRun {
    fn from(hold: &Hold) -> Self {
        Self {
            run: hold.run.clone(),
            started: hold.started,
            held_until: hold.expires,
            crashed: hold.is_abandoned,
            images: hold
                .records
                .iter()
                .map(|image| image.name.clone())
                .collect(),
            labels: hold.labels.len(),
        }
    }
}

impl Hold {
    /// Writes the journal of a run under its own lease. From then on the lease keeps all content of
    /// the records.
    pub(crate) async fn write(
        store: &Containerd,
        namespace: &Namespace,
        run: &RunId,
        changes: Changes<'_>,
    ) -> Result<Vec<Digest>, StoreError> {
        let lease = unfinished(run);
        let mut labels = lease::new(run, store.now(), UNFINISHED);
        labels.insert(ABANDONED.to_owned(), "true".to_owned());
        retry(|| store.create_lease(namespace, &lease, labels.clone())).await?;
        let mut written = Vec::new();
        for blob in journal::write(run, namespace, changes).await {
            let digest = retry(|| store.write_held(namespace, &lease, blob.clone()));
            written.push(digest.await?);
        }
        Ok(written)
    }

    /// Holds the journals of a run for its undo window, which a keeper ends. `bytes` is the run's
    /// estimate. Returns the end of the window.
    pub(crate) async fn keep(
        store: &Containerd,
        run: Run<'_>,
        journals: &[Digest],
        bytes: u64,
        keeper: Option<BTreeMap<String, String>>,
    ) -> Result<Timestamp, StoreError> {
        let (namespace, patience) = (&run.request.namespace, run.patience);
        let window = run.options.undo_window;
        let now = store.now();
        if journals.is_empty() {
            // The batches have their own holds.
            return Ok(lease::expiry(now, window));
        }
        let id = lease::kept(run.id);
        let mut labels = lease::held(run.id, now, window, keeper);
        labels.insert(lease::BYTES.to_owned(), bytes.to_string());
        let making = patience.retry(|| store.create_lease(namespace, &id, labels.clone()));
        making.await?;
        for digest in journals {
            let adding = patience.retry(|| store.add_to_lease(namespace, &id, digest));
            adding.await?;
        }
        Ok(lease::expiry(now, window))
    }

    /// Deletes the hold of a run under way; with `collect`, containerd then frees its content.
    pub(crate) async fn finish(
        store: &Containerd,
        namespace: &Namespace,
        run: &RunId,
        collect: bool,
        patience: &Patience,
    ) -> Result<LeaseDeletion, StoreError> {
        let lease = unfinished(run);
        let deleting = patience.retry(|| store.delete_lease(namespace, &lease, collect));
        deleting.await
    }

    /// Moves the content that an older version held with its guard to a hold of a crashed run.
    pub(crate) async fn abandon(
        store: &Containerd,
        namespace: &Namespace,
        guard: &Lease,
    ) -> Result<(), StoreError> {
        let journals: Vec<&Digest> = content(guard).collect();
        let Some(run) = lease::run(guard).filter(|_| !journals.is_empty()) else {
            return Ok(());
        };
        let id = lease::kept(&run);
        let mut labels = lease::new(&run, store.now(), UNFINISHED);
        labels.insert(ABANDONED.to_owned(), "true".to_owned());
        retry(|| store.create_lease(namespace, &id, labels.clone())).await?;
        for digest in journals {
            retry(|| store.add_to_lease(namespace, &id, digest)).await?;
        }
        Ok(())
    }

    /// Lists the holds of a namespace, oldest run first.
    ///
    /// # Errors
    ///
    /// If containerd cannot be read.
    pub async fn list(store: &Containerd, namespace: &Namespace) -> Result<Vec<Self>, StoreError> {
        let leases = retry(|| store.leases(namespace)).await?;
        Self::from_leases(store, namespace, &leases).await
    }

    /// Reads the holds from all leases of a namespace, oldest run first.
    pub(crate) async fn from_leases(
        store: &Containerd,
        namespace: &Namespace,
        leases: &[Lease],
    ) -> Result<Vec<Self>, StoreError> {
        let mut holds: Vec<Self> = Vec::new();
        for lease in leases {
            let Some(run) = lease::run(lease) else {
                continue;
            };
            if !lease.id.starts_with(HOLD_PREFIX) || !lease.is_live(store.now()) {
                continue;
            }
            let is_abandoned = lease.labels.contains_key(ABANDONED);
            let found = records(store, namespace, lease).await?;
            let hold = Self {
                run,
                started: lease::started(lease),
                expires: lease::hold_end(lease),
                is_abandoned,
                is_whole: found.is_whole,
                records: found.records,
                labels: found.labels,
                restricted: found.restricted,
                leases: vec![lease.id.clone()],
            };
            let is_same = |it: &&mut Self| it.run == hold.run && it.is_abandoned == is_abandoned;
            match holds.iter_mut().find(is_same) {
                Some(other) => other.merge(hold),
                None => holds.push(hold),
            }
        }
        holds.sort_by(|a, b| (a.started, &a.run.0).cmp(&(b.started, &b.run.0)));
        Ok(holds)
    }

    /// Adds another lease of the same run.
    fn merge(&mut self, other: Self) {
        self.started = self.started.min(other.started);
        // A lease without an expiry never expires.
        self.expires = match (self.expires, other.expires) {
            (Some(ours), Some(theirs)) => Some(ours.min(theirs)),
            (ours, theirs) => ours.or(theirs),
        };
        self.is_whole &= other.is_whole;
        self.records.extend(other.records);
        self.records.sort_by(|a, b| a.name.cmp(&b.name));
        // A hold that a daemon takes over has two leases for a moment.
        self.records.dedup();
        self.labels.extend(other.labels);
        self.restricted.extend(other.restricted);
        self.leases.extend(other.leases);
    }

    /// Deletes the hold; with `collect`, containerd then frees its content.
    pub(crate) async fn delete(
        &self,
        store: &Containerd,
        namespace: &Namespace,
        collect: bool,
    ) -> Result<(), StoreError> {
        lease::delete_hold(store, namespace, &self.leases, collect).await
    }
}

/// Returns the progress of the run that holds the guard: records removed, and records in its
/// journal.
pub(crate) async fn progress(
    store: &Containerd,
    namespace: &Namespace,
    guard: &Lease,
) -> Result<Option<(usize, usize)>, StoreError> {
    let Some(run) = lease::run(guard) else {
        return Ok(None);
    };
    let Some(lease) = store.lease(namespace, &unfinished(&run)).await? else {
        return Ok(None);
    };
    let Journals { records, .. } = records(store, namespace, &lease).await?;
    if records.is_empty() {
        return Ok(None);
    }
    let (images, _) = store.images(namespace).await?;
    let counting = blocking(move || {
        let names: BTreeSet<&str> = images.iter().map(|image| image.name.as_str()).collect();
        let left = records
            .iter()
            .filter(|image| names.contains(image.name.as_str()));
        (records.len() - left.count(), records.len())
    });
    Ok(Some(counting.await))
}

/// The content of a lease's journals.
struct Journals {
    records: Vec<ImageRecord>,
    labels: Vec<BlobLabels>,
    restricted: RestrictedImages,
    /// Whether all of them could be read: none is damaged or from a newer version.
    is_whole: bool,
}

/// Reads the records in the journals that a lease holds.
async fn records(
    store: &Containerd,
    namespace: &Namespace,
    lease: &Lease,
) -> Result<Journals, StoreError> {
    let mut records = Vec::new();
    let mut labels = Vec::new();
    let mut restricted = RestrictedImages::new();
    let mut is_whole = true;
    if let Some(listed) = batch_hold::read(lease) {
        match listed {
            LabelJournal::Unreadable => is_whole = false,
            LabelJournal::Entries(listed) => {
                restricted = listed.restricted;
                labels = listed.labels;
                for record in listed.records {
                    // A lease accepts digests that do not exist.
                    if retry(|| store.has_content(namespace, &record.target.digest)).await? {
                        records.push(record);
                    }
                }
            }
        }
        return Ok(Journals {
            records,
            labels,
            restricted,
            is_whole,
        });
    }
    for digest in content(lease) {
        let reading = retry(|| store.read_held(namespace, digest, journal::MAX_BODY));
        let body = reading.await?;
        match blocking(move || body.and_then(|body| journal::read(&body))).await {
            Some(read) => {
                records.extend(read.records);
                labels.extend(read.labels);
                restricted.extend(read.restricted);
            }
            None => is_whole = false,
        }
    }
    records.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(Journals {
        records,
        labels,
        restricted,
        is_whole,
    })
}

fn content(lease: &Lease) -> impl Iterator<Item = &Digest> {
    lease
        .resources
        .iter()
        .filter_map(|resource| match resource {
            LeaseResource::Content(digest) => Some(digest),
            LeaseResource::Snapshot(_)
            | LeaseResource::Image(_)
            | LeaseResource::Ingest(_)
            | LeaseResource::Other { kind: _, id: _ } => None,
        })
}
