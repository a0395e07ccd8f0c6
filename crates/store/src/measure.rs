//! Measuring: what snapshots occupy, and what is still there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};

use containerd_client::services::v1::snapshots::UsageRequest;
use containerd_client::services::v1::snapshots::snapshots_client::SnapshotsClient;
use futures::FutureExt;
use futures::stream::{self, StreamExt, TryStreamExt};
use reclaim_model::{
    Blob, Digest, Freed, Namespace, Snapshot, SnapshotId, SnapshotSizes, Snapshotter,
};
use tonic::Code;

use crate::client::Containerd;

use crate::error::{Class, StoreError};
use crate::observe::patient;
use crate::off_thread::{blocking, discard, in_turns};

/// How many snapshots are measured at a time. Committed ones are one small read each.
const USAGES_AT_ONCE: usize = 32;

/// How often one snapshot is measured: files that vanish while a busy container's layer is walked
/// spoil that walk, and hardly the next one.
const TRIES: usize = 3;

/// After so many snapshots of one snapshotter that had no answer in time it is asked no more.
const MAX_TIMEOUTS: usize = 4;

/// What a snapshot occupies by itself.
struct Usage {
    bytes: u64,
    inodes: u64,
}

/// What came of measuring one snapshot.
enum Measured {
    Usage(Usage),
    /// It is there, and its size cannot be had: why.
    Unknown(String),
    Gone,
}

/// Which snapshotters are asked no more.
#[derive(Default)]
struct Silent<'a>(BTreeMap<&'a Snapshotter, AtomicUsize>);

impl<'a> Silent<'a> {
    fn of(snapshots: &'a [SnapshotId]) -> Self {
        let mut silent = Self::default();
        for id in snapshots {
            if !silent.0.contains_key(&id.snapshotter) {
                silent.0.insert(&id.snapshotter, AtomicUsize::default());
            }
        }
        silent
    }

    fn count(&self, id: &SnapshotId) -> &AtomicUsize {
        &self.0[&id.snapshotter]
    }
}

impl Containerd {
    /// Measures what each snapshot occupies by itself, in allocated bytes.
    ///
    /// # Errors
    ///
    /// If containerd is away. What a snapshotter cannot tell is unknown, and no error.
    pub async fn snapshot_bytes(
        &self,
        namespace: &Namespace,
        snapshots: &[SnapshotId],
    ) -> Result<SnapshotSizes, StoreError> {
        self.sizes(namespace, snapshots, |usage| usage.bytes).await
    }

    /// As [`Self::snapshot_bytes`], in inodes.
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
        let silent = Silent::of(snapshots);
        let silent = &silent;
        let asked = snapshots.iter().map(|id| {
            let asked = async move {
                let measured = self.measure(namespace, id, silent.count(id)).await?;
                Ok::<_, StoreError>((id.clone(), measured))
            };
            asked.boxed()
        });
        let asked = stream::iter(asked).boxed();
        let found: Vec<(SnapshotId, Measured)> =
            asked.buffer_unordered(USAGES_AT_ONCE).try_collect().await?;
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
            // In order, so that the reason that is shown is always the same one.
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
                let why = format!("not asked for: {MAX_TIMEOUTS} before it had no answer");
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
            // A snapshotter that never measures says so each time.
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
        let mut client = SnapshotsClient::new(self.channel());
        let answer = client.usage(request).await;
        let answer = answer.map_err(|status| {
            StoreError::new(OPERATION, status)
                .within(namespace)
                .about(id)
        });
        let answer = answer?.into_inner();
        Ok(Usage {
            bytes: u64::try_from(answer.size).unwrap_or(0),
            inodes: u64::try_from(answer.inodes).unwrap_or(0),
        })
    }

    /// Returns what of `planned` is gone: blobs that no namespace has any more, and snapshots
    /// that `namespace` has no more. What cannot be listed counts as still there; the second part
    /// says what that was.
    ///
    /// # Errors
    ///
    /// If containerd is away, or `namespace` itself cannot be listed.
    pub async fn gone(
        &self,
        namespace: &Namespace,
        planned: &Freed,
    ) -> Result<(Freed, Vec<String>), StoreError> {
        let mut unknown = Vec::new();
        // Sorted each.
        let mut there: Vec<Vec<Blob>> = Vec::new();
        let mut is_content_known = true;
        if !planned.blobs.is_empty() {
            for name in self.namespaces().await? {
                match patient(|| self.blobs(&name)).await {
                    Ok((blobs, _)) => there.push(blobs),
                    Err(error) if error.is_from_transport() || name == *namespace => {
                        return Err(error);
                    }
                    Err(error) => {
                        is_content_known = false;
                        let error = reclaim_model::chain(&error);
                        unknown.push(format!(
                            "what content is gone is unknown, none is counted: {error}"
                        ));
                    }
                }
            }
        }
        let mut snapshotters: BTreeSet<&Snapshotter> = BTreeSet::new();
        in_turns(&planned.snapshots, |it| {
            snapshotters.insert(&it.id.snapshotter);
        })
        .await;
        // Those that could be listed, sorted each.
        let mut standing: BTreeMap<&Snapshotter, Vec<Snapshot>> = BTreeMap::new();
        for snapshotter in snapshotters {
            match patient(|| self.snapshots_of(namespace, snapshotter)).await {
                Ok(snapshots) => drop(standing.insert(snapshotter, snapshots)),
                Err(error) if error.is_from_transport() => return Err(error),
                Err(error) => {
                    let error = reclaim_model::chain(&error);
                    unknown.push(format!(
                        "what snapshots of `{snapshotter}` are gone is unknown, none is counted: \
                         {error}"
                    ));
                }
            }
        }
        let is_there = |digest: &Digest| {
            let mut lists = there.iter();
            lists.any(|it| it.binary_search_by(|blob| blob.digest.cmp(digest)).is_ok())
        };
        let is_standing = |id: &SnapshotId| {
            let standing = standing.get(&id.snapshotter);
            standing.is_none_or(|it| it.binary_search_by(|it| it.key.cmp(&id.key)).is_ok())
        };
        let mut gone = Freed::default();
        in_turns(&planned.blobs, |blob| {
            if is_content_known && !is_there(&blob.digest) {
                gone.blobs.push(blob.clone());
            }
        })
        .await;
        in_turns(&planned.snapshots, |snapshot| {
            if !is_standing(&snapshot.id) {
                gone.snapshots.push(snapshot.clone());
            }
        })
        .await;
        // Freeing them takes as long as sorting them.
        discard((there, standing.into_values().collect::<Vec<_>>()));
        Ok((gone, unknown))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scripted::{Answer, namespace, recorded, scripted};
    use containerd_client::services::v1::snapshots::{self, ListSnapshotsResponse, UsageResponse};
    use containerd_client::services::v1::{
        self as services, Info, ListContentResponse, ListNamespacesResponse,
    };
    use reclaim_model::{FreedBlob, FreedSnapshot};

    #[tokio::test]
    async fn what_is_gone_is_left_out_and_what_is_unknown_an_error() {
        let usage = || Answer::of(&UsageResponse { size: 7, inodes: 3 });
        let ids = ["there", "gone"].map(|key| SnapshotId::new("native", key));
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
    async fn a_size_that_cannot_be_had_is_unknown_and_asked_for_again() {
        let usage = Answer::of(&UsageResponse { size: 7, inodes: 3 });
        let ids = [SnapshotId::new("native", "busy")];
        let refused = || ("Snapshots/Usage", Answer::from(Code::Unknown));
        // Files vanish while they are walked.
        let script = [refused(), ("Snapshots/Usage", usage)];
        let store = scripted("2.0.0", script);
        let sizes = store.snapshot_bytes(&namespace(), &ids).await.unwrap();
        assert_eq!(sizes.get(&ids[0]), Some(Some(7)));
        let script = (0..TRIES).map(|_| refused());
        let store = scripted("2.0.0", script);
        let sizes = store.snapshot_bytes(&namespace(), &ids).await.unwrap();
        assert_eq!(sizes.get(&ids[0]), Some(None));
        assert_eq!(sizes.warnings().count(), 1);
        // One that never measures is asked once.
        let ids = ["1", "2", "3"].map(|key| SnapshotId::new("zfs", key));
        let (store, asked) = recorded("2.0.0", [("Snapshots/Usage", Code::Unimplemented.into())]);
        let sizes = store.snapshot_bytes(&namespace(), &ids).await.unwrap();
        assert!(ids.iter().all(|id| sizes.get(id) == Some(None)));
        assert!(asked.is_over());
    }

    /// Two blobs and two snapshots were to go; another namespace has one blob, and one snapshot is
    /// still there.
    #[tokio::test]
    async fn what_is_still_there_is_not_gone() {
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
        let (gone, unknown) = store.gone(&namespace(), &planned).await.unwrap();
        assert_eq!(unknown, Vec::<String>::new());
        let expected = Freed::new(vec![blob("2")], vec![snapshot("base")]);
        assert_eq!(gone, expected);
        // A list that is cut short says nothing of what is not in it.
        let store = scripted("2.0.0", script(Code::Unimplemented));
        let (gone, unknown) = store.gone(&namespace(), &planned).await.unwrap();
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
