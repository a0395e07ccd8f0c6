//! Measures what snapshots occupy, and what of a plan is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};

use containerd_client::services::v1::snapshots::UsageRequest;
use containerd_client::services::v1::snapshots::snapshots_client::SnapshotsClient;
use futures::FutureExt;
use futures::stream::{self, StreamExt, TryStreamExt};
use reclaim_model::{
    Blob, Digest, Freed, FreedBlob, Namespace, Snapshot, SnapshotId, SnapshotSizes, Snapshotter,
};
use tonic::Code;

use crate::client::Containerd;
use crate::error::{Class, StoreError};
use crate::observe::with_retries;
use crate::off_thread::{blocking, discard, for_each_yielding};

/// How many snapshots are measured at a time. A committed one is one small read.
const USAGES_AT_ONCE: usize = 32;

/// How often one snapshot is measured. A file that vanishes from a busy container's layer fails one
/// measurement, and hardly the next one.
const TRIES: usize = 3;

/// After so many timeouts no more snapshots of that snapshotter are measured.
const MAX_TIMEOUTS: usize = 4;

/// What a snapshot occupies by itself.
struct Usage {
    bytes: u64,
    inodes: u64,
}

/// The result of measuring one snapshot.
enum Measured {
    Usage(Usage),
    /// The snapshot exists, and its size is unknown for this reason.
    Unknown(String),
    Gone,
}

/// Counts the timeouts of each snapshotter.
#[derive(Default)]
struct Timeouts<'a>(BTreeMap<&'a Snapshotter, AtomicUsize>);

impl<'a> Timeouts<'a> {
    fn new(snapshots: &'a [SnapshotId]) -> Self {
        let mut timeouts = Self::default();
        for id in snapshots {
            timeouts.0.entry(&id.snapshotter).or_default();
        }
        timeouts
    }

    fn of(&self, id: &SnapshotId) -> &AtomicUsize {
        &self.0[&id.snapshotter]
    }
}

impl Containerd {
    /// Measures what each snapshot occupies by itself, in allocated bytes.
    ///
    /// # Errors
    ///
    /// If containerd is away. A size that a snapshotter cannot report is unknown, not an error.
    pub async fn snapshot_bytes(
        &self,
        namespace: &Namespace,
        snapshots: &[SnapshotId],
    ) -> Result<SnapshotSizes, StoreError> {
        self.sizes(namespace, snapshots, |usage| usage.bytes).await
    }

    /// Like [`Self::snapshot_bytes`], in inodes.
    ///
    /// # Errors
    ///
    /// If containerd is away.
    pub async fn snapshot_inodes(
        &self,
        namespace: &Namespace,
        snapshots: &[SnapshotId],
    ) -> Result<SnapshotSizes, StoreError> {
        self.sizes(namespace, snapshots, |usage| usage.inodes).await
    }

    async fn sizes(
        &self,
        namespace: &Namespace,
        snapshots: &[SnapshotId],
        size: fn(&Usage) -> u64,
    ) -> Result<SnapshotSizes, StoreError> {
        let timeouts = &Timeouts::new(snapshots);
        let measuring = snapshots.iter().map(|id| {
            async move {
                let measured = self.measure(namespace, id, timeouts.of(id)).await?;
                Ok::<_, StoreError>((id.clone(), measured))
            }
            .boxed()
        });
        let found: Vec<(SnapshotId, Measured)> = stream::iter(measuring)
            .boxed()
            .buffer_unordered(USAGES_AT_ONCE)
            .try_collect()
            .await?;
        let sorting = blocking(move || {
            let mut sizes = SnapshotSizes::default();
            let mut unknown = Vec::new();
            for (id, measured) in found {
                match measured {
                    Measured::Usage(usage) => sizes.insert(id, size(&usage)),
                    Measured::Unknown(why) => unknown.push((id, why)),
                    Measured::Gone => {}
                }
            }
            // Sorted, because the report shows only the first reason.
            unknown.sort_unstable();
            for (id, why) in unknown {
                sizes.insert_unknown(id, &why);
            }
            sizes
        });
        Ok(sorting.await)
    }

    async fn measure(
        &self,
        namespace: &Namespace,
        id: &SnapshotId,
        timeouts: &AtomicUsize,
    ) -> Result<Measured, StoreError> {
        let mut last = None;
        for _ in 0..TRIES {
            if timeouts.load(Ordering::Relaxed) >= MAX_TIMEOUTS {
                let why = format!("not measured: {MAX_TIMEOUTS} earlier measurements timed out");
                return Ok(Measured::Unknown(why));
            }
            let error = match self.usage(namespace, id).await {
                Ok(usage) => return Ok(Measured::Usage(usage)),
                Err(error) => error,
            };
            if error.is_from_transport() {
                return Err(error);
            }
            if error.class() == Class::Gone {
                return Ok(Measured::Gone);
            }
            // A snapshotter that does not implement it never will.
            let is_final = error.code() == Some(Code::Unimplemented);
            if error.is_timeout() || is_final {
                let enough = if is_final { MAX_TIMEOUTS } else { 1 };
                timeouts.fetch_add(enough, Ordering::Relaxed);
                return Ok(Measured::Unknown(reclaim_model::chain(&error)));
            }
            last = Some(error);
        }
        let why = last.map(|error| reclaim_model::chain(&error));
        Ok(Measured::Unknown(why.unwrap_or_default()))
    }

    async fn usage(&self, namespace: &Namespace, id: &SnapshotId) -> Result<Usage, StoreError> {
        const OPERATION: &str = "measure snapshot";
        let message = UsageRequest {
            snapshotter: id.snapshotter.to_string(),
            key: id.key.to_string(),
        };
        let request = self.request(OPERATION, Some(namespace), message)?;
        let usage = SnapshotsClient::new(self.channel())
            .usage(request)
            .await
            .map_err(|status| {
                StoreError::new(OPERATION, status)
                    .within(namespace)
                    .about(id)
            })?
            .into_inner();
        Ok(Usage {
            bytes: u64::try_from(usage.size).unwrap_or(0),
            inodes: u64::try_from(usage.inodes).unwrap_or(0),
        })
    }

    /// Returns what of `planned` is gone: blobs that are in no namespace, and snapshots that are
    /// not in `namespace`. The second part of the result has those of `released`, which other
    /// namespaces keep, that are not in `namespace`. What cannot be listed counts as present; the
    /// third part has a warning for each failed list.
    ///
    /// # Errors
    ///
    /// If containerd is away, or the blobs of `namespace` itself cannot be listed.
    pub async fn gone(
        &self,
        namespace: &Namespace,
        planned: &Freed,
        released: &Freed,
    ) -> Result<(Freed, Freed, Vec<String>), StoreError> {
        let mut unknown = Vec::new();
        let mut is_released = Vec::new();
        // Each list is sorted.
        let mut blob_lists: Vec<Vec<Blob>> = Vec::new();
        let mut is_content_known = true;
        if !planned.blobs.is_empty() || !released.blobs.is_empty() {
            for name in self.namespaces().await? {
                match with_retries(|| self.blobs(&name)).await {
                    Ok((blobs, _)) => {
                        if name == *namespace {
                            is_released = without(&released.blobs, &blobs);
                        }
                        blob_lists.push(blobs);
                    }
                    Err(error) if error.is_from_transport() || name == *namespace => {
                        return Err(error);
                    }
                    Err(error) => {
                        is_content_known = false;
                        let error = reclaim_model::chain(&error);
                        unknown.push(format!(
                            "cannot tell which content was removed; counting none: {error}"
                        ));
                    }
                }
            }
        }
        let mut snapshotters: BTreeSet<&Snapshotter> = BTreeSet::new();
        for_each_yielding(&planned.snapshots, |snapshot| {
            snapshotters.insert(&snapshot.id.snapshotter);
        })
        .await;
        // Each list is sorted; those that failed are missing.
        let mut snapshot_lists: BTreeMap<&Snapshotter, Vec<Snapshot>> = BTreeMap::new();
        for snapshotter in snapshotters {
            match with_retries(|| self.snapshots_of(namespace, snapshotter)).await {
                Ok(snapshots) => drop(snapshot_lists.insert(snapshotter, snapshots)),
                Err(error) if error.is_from_transport() => return Err(error),
                Err(error) => {
                    let error = reclaim_model::chain(&error);
                    unknown.push(format!(
                        "cannot tell which snapshots of `{snapshotter}` were removed; counting \
                         none: {error}"
                    ));
                }
            }
        }
        let has_blob = |digest: &Digest| blob_lists.iter().any(|blobs| is_listed(digest, blobs));
        let may_have_snapshot = |id: &SnapshotId| {
            snapshot_lists.get(&id.snapshotter).is_none_or(|snapshots| {
                snapshots
                    .binary_search_by(|snapshot| snapshot.key.cmp(&id.key))
                    .is_ok()
            })
        };
        let mut gone = Freed::default();
        for_each_yielding(&planned.blobs, |blob| {
            if is_content_known && !has_blob(&blob.digest) {
                gone.blobs.push(blob.clone());
            }
        })
        .await;
        for_each_yielding(&planned.snapshots, |snapshot| {
            if !may_have_snapshot(&snapshot.id) {
                gone.snapshots.push(snapshot.clone());
            }
        })
        .await;
        // Dropping them takes as long as sorting them.
        discard((blob_lists, snapshot_lists.into_values().collect::<Vec<_>>()));
        Ok((gone, Freed::new(is_released, Vec::new()), unknown))
    }
}

/// Returns those of `planned` that a sorted list lacks.
fn without(planned: &[FreedBlob], listed: &[Blob]) -> Vec<FreedBlob> {
    let planned = planned.iter();
    planned
        .filter(|blob| !is_listed(&blob.digest, listed))
        .cloned()
        .collect()
}

fn is_listed(digest: &Digest, listed: &[Blob]) -> bool {
    let found = listed.binary_search_by(|blob| blob.digest.cmp(digest));
    found.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scripted::{Answer, namespace, recorded, scripted};
    use containerd_client::services::v1::snapshots::{self, ListSnapshotsResponse, UsageResponse};
    use containerd_client::services::v1::{
        self as services, Info, ListContentResponse, ListNamespacesResponse,
    };
    use reclaim_model::FreedSnapshot;

    #[tokio::test]
    async fn a_snapshot_that_is_gone_is_not_measured() {
        let usage = || Answer::of(&UsageResponse { size: 7, inodes: 3 });
        let ids = ["present", "gone"].map(|key| SnapshotId::new("native", key));
        let script = || {
            [
                ("Snapshots/Usage", usage()),
                ("Snapshots/Usage", Code::NotFound.into()),
            ]
        };
        let known = |sizes: SnapshotSizes| sizes.iter().map(|(_, size)| size).collect::<Vec<_>>();
        let store = scripted("2.0.0", script());
        let bytes = store.snapshot_bytes(&namespace(), &ids).await;
        assert_eq!(known(bytes.unwrap()), [Some(7)]);
        let store = scripted("2.0.0", script());
        let inodes = store.snapshot_inodes(&namespace(), &ids).await;
        assert_eq!(known(inodes.unwrap()), [Some(3)]);
    }

    #[tokio::test]
    async fn a_failed_measurement_is_retried_and_then_unknown() {
        let usage = Answer::of(&UsageResponse { size: 7, inodes: 3 });
        let ids = [SnapshotId::new("native", "busy")];
        let refused = || ("Snapshots/Usage", Answer::from(Code::Unknown));
        // A file vanished during the first measurement.
        let script = [refused(), ("Snapshots/Usage", usage)];
        let store = scripted("2.0.0", script);
        let sizes = store.snapshot_bytes(&namespace(), &ids).await.unwrap();
        assert_eq!(sizes.get(&ids[0]), Some(Some(7)));
        let script = (0..TRIES).map(|_| refused());
        let store = scripted("2.0.0", script);
        let sizes = store.snapshot_bytes(&namespace(), &ids).await.unwrap();
        assert_eq!(sizes.get(&ids[0]), Some(None));
        assert_eq!(sizes.warnings().count(), 1);
        // A snapshotter that does not implement it is called once.
        let ids = ["1", "2", "3"].map(|key| SnapshotId::new("zfs", key));
        let (store, requests) =
            recorded("2.0.0", [("Snapshots/Usage", Code::Unimplemented.into())]);
        let sizes = store.snapshot_bytes(&namespace(), &ids).await.unwrap();
        assert!(ids.iter().all(|id| sizes.get(id) == Some(None)));
        assert!(requests.is_over());
    }

    /// Of two planned blobs and two planned snapshots, another namespace has one of the blobs, and
    /// one of the snapshots still exists.
    #[tokio::test]
    async fn counts_only_what_no_list_has() {
        let digest = |digit: &str| format!("sha256:{}", digit.repeat(64));
        let namespaces = ListNamespacesResponse {
            namespaces: ["default", "other"].map(named).into(),
        };
        let content = |digest: String| ListContentResponse {
            info: vec![Info {
                digest,
                ..Info::default()
            }],
        };
        let snapshots = ListSnapshotsResponse {
            info: vec![snapshots::Info {
                name: "top".to_owned(),
                ..snapshots::Info::default()
            }],
        };
        let script = |end| {
            [
                ("Namespaces/List", Answer::of(&namespaces)),
                ("Content/List", Answer::of(&content(digest("3")))),
                ("Content/List", Answer::stream(&[content(digest("1"))], end)),
                ("Snapshots/List", Answer::of(&snapshots)),
            ]
        };
        let blob = |digit| FreedBlob {
            digest: digest(digit).parse().unwrap(),
            bytes: 1,
        };
        let snapshot = |key| FreedSnapshot {
            id: SnapshotId::new("native", key),
            bytes: Some(1),
        };
        let planned = Freed::new(
            vec![blob("1"), blob("2")],
            vec![snapshot("base"), snapshot("top")],
        );
        let store = scripted("2.0.0", script(Code::Ok));
        let elsewhere = Freed::new(vec![blob("1"), blob("3")], Vec::new());
        let measured = store.gone(&namespace(), &planned, &elsewhere).await;
        let (gone, released, unknown) = measured.unwrap();
        assert_eq!(unknown, Vec::<String>::new());
        assert_eq!(released.blobs, [blob("1")]);
        let expected = Freed::new(vec![blob("2")], vec![snapshot("base")]);
        assert_eq!(gone, expected);
        // A truncated list does not prove that anything is gone.
        let store = scripted("2.0.0", script(Code::Unimplemented));
        let measured = store.gone(&namespace(), &planned, &elsewhere).await;
        let (gone, _, unknown) = measured.unwrap();
        assert_eq!(gone.blobs, []);
        assert_eq!(gone.snapshots, [snapshot("base")]);
        assert_eq!(unknown.len(), 1, "{unknown:?}");
    }

    fn named(name: &str) -> services::Namespace {
        services::Namespace {
            name: name.to_owned(),
            ..services::Namespace::default()
        }
    }
}
