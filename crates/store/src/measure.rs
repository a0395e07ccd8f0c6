//! Measuring: what snapshots occupy, and what is still there.

use std::collections::{BTreeMap, BTreeSet};

use containerd_client::services::v1::snapshots::UsageRequest;
use containerd_client::services::v1::snapshots::snapshots_client::SnapshotsClient;
use futures::FutureExt;
use futures::stream::{self, StreamExt, TryStreamExt};
use reclaim_model::{Digest, Freed, Namespace, SnapshotId, Snapshotter};

use crate::client::Containerd;
use crate::error::{Class, StoreError};

/// How many snapshots are measured at a time. Committed ones are one small read each.
const USAGES_AT_ONCE: usize = 32;

/// What a snapshot occupies by itself.
struct Usage {
    bytes: u64,
    inodes: u64,
}

impl Containerd {
    /// Asks what each snapshot occupies by itself, in allocated bytes. One that is gone by now
    /// is left out.
    ///
    /// # Errors
    ///
    /// If one that is there cannot be measured.
    pub async fn snapshot_bytes(
        &self,
        namespace: &Namespace,
        snapshots: &[SnapshotId],
    ) -> Result<BTreeMap<SnapshotId, u64>, StoreError> {
        let usages = self.usages(namespace, snapshots).await?;
        let bytes = usages.into_iter().map(|(id, usage)| (id, usage.bytes));
        Ok(bytes.collect())
    }

    /// As [`Self::snapshot_bytes`], in inodes.
    ///
    /// # Errors
    ///
    /// If one that is there cannot be measured.
    pub async fn snapshot_inodes(
        &self,
        namespace: &Namespace,
        snapshots: &[SnapshotId],
    ) -> Result<BTreeMap<SnapshotId, u64>, StoreError> {
        let usages = self.usages(namespace, snapshots).await?;
        let inodes = usages.into_iter().map(|(id, usage)| (id, usage.inodes));
        Ok(inodes.collect())
    }

    async fn usages(
        &self,
        namespace: &Namespace,
        snapshots: &[SnapshotId],
    ) -> Result<Vec<(SnapshotId, Usage)>, StoreError> {
        let asked = snapshots.iter().map(|id| {
            let asked = async move {
                let usage = self.usage(namespace, id).await?;
                Ok::<_, StoreError>(usage.map(|usage| (id.clone(), usage)))
            };
            asked.boxed()
        });
        let asked = stream::iter(asked).boxed();
        let found: Vec<Option<(SnapshotId, Usage)>> =
            asked.buffer_unordered(USAGES_AT_ONCE).try_collect().await?;
        Ok(found.into_iter().flatten().collect())
    }

    async fn usage(
        &self,
        namespace: &Namespace,
        id: &SnapshotId,
    ) -> Result<Option<Usage>, StoreError> {
        const OPERATION: &str = "measure snapshot";
        let message = UsageRequest {
            snapshotter: id.snapshotter.to_string(),
            key: id.key.to_string(),
        };
        let request = self.request(OPERATION, Some(namespace), message)?;
        let answer = SnapshotsClient::new(self.channel()).usage(request).await;
        match answer.map_err(|status| StoreError::new(OPERATION, status)) {
            Ok(answer) => {
                let answer = answer.into_inner();
                Ok(Some(Usage {
                    bytes: u64::try_from(answer.size).unwrap_or(0),
                    inodes: u64::try_from(answer.inodes).unwrap_or(0),
                }))
            }
            Err(error) if error.class() == Class::Gone => Ok(None),
            Err(error) => Err(error.within(namespace).about(id)),
        }
    }

    /// Returns what of `planned` is gone: blobs that no namespace has any more, and snapshots
    /// that `namespace` has no more.
    ///
    /// # Errors
    ///
    /// If the store cannot be listed whole; nothing can be said then.
    pub async fn gone(&self, namespace: &Namespace, planned: &Freed) -> Result<Freed, StoreError> {
        let mut there: BTreeSet<Digest> = BTreeSet::new();
        if !planned.blobs.is_empty() {
            for name in self.namespaces().await? {
                let (blobs, _) = self.blobs(&name).await?;
                there.extend(blobs.into_iter().map(|blob| blob.digest));
            }
        }
        let snapshotters: BTreeSet<&Snapshotter> = planned
            .snapshots
            .iter()
            .map(|it| &it.id.snapshotter)
            .collect();
        let mut standing: BTreeSet<SnapshotId> = BTreeSet::new();
        for snapshotter in snapshotters {
            let snapshots = self.snapshots_of(namespace, snapshotter).await?;
            let ids = snapshots
                .into_iter()
                .map(|it| SnapshotId::new(snapshotter.clone(), it.key));
            standing.extend(ids);
        }
        let blobs = planned
            .blobs
            .iter()
            .filter(|blob| !there.contains(&blob.digest));
        let snapshots = planned
            .snapshots
            .iter()
            .filter(|it| !standing.contains(&it.id));
        Ok(Freed {
            blobs: blobs.cloned().collect(),
            snapshots: snapshots.cloned().collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use containerd_client::services::v1::snapshots::{self, ListSnapshotsResponse, UsageResponse};
    use containerd_client::services::v1::{
        self as services, Info, ListContentResponse, ListNamespacesResponse,
    };
    use reclaim_model::{FreedBlob, FreedSnapshot};
    use tonic::Code;

    use super::*;
    use crate::scripted::{Answer, namespace, scripted};

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
        let sum = |sizes: BTreeMap<SnapshotId, u64>| sizes.into_values().collect::<Vec<_>>();
        let store = scripted("2.0.0", script());
        let bytes = store.snapshot_bytes(&namespace(), &ids).await;
        assert_eq!(sum(bytes.unwrap()), [7]);
        let store = scripted("2.0.0", script());
        let inodes = store.snapshot_inodes(&namespace(), &ids).await;
        assert_eq!(sum(inodes.unwrap()), [3]);
        let script = [
            ("Snapshots/Usage", usage()),
            ("Snapshots/Usage", Code::Internal.into()),
        ];
        let store = scripted("2.0.0", script);
        let error = store.snapshot_bytes(&namespace(), &ids).await.unwrap_err();
        assert_eq!(error.class(), Class::Broken);
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
            bytes: 1,
        };
        let planned = Freed {
            blobs: vec![blob("1"), blob("2")],
            snapshots: vec![snapshot("base"), snapshot("top")],
        };
        let store = scripted("2.0.0", script(Code::Ok));
        let gone = store.gone(&namespace(), &planned).await.unwrap();
        let expected = Freed {
            blobs: vec![blob("2")],
            snapshots: vec![snapshot("base")],
        };
        assert_eq!(gone, expected);
        // A list that is cut short says nothing of what is not in it.
        let store = scripted("2.0.0", script(Code::Unavailable));
        assert!(store.gone(&namespace(), &planned).await.is_err());
    }

    fn named(name: &str) -> services::Namespace {
        services::Namespace {
            name: name.to_owned(),
            ..services::Namespace::default()
        }
    }
}
