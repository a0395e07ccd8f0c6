//! The snapshots of a namespace.
//!
//! Files are written without mounting a snapshot: the response of Prepare names the directory that a
//! mount would make writable, which is on the same machine.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use containerd_client::services::v1::snapshots::snapshots_client::SnapshotsClient;
use containerd_client::services::v1::snapshots::{
    CommitSnapshotRequest, Info, Kind, ListSnapshotsRequest, MountsRequest, PrepareSnapshotRequest,
    RemoveSnapshotRequest, StatSnapshotRequest, UpdateSnapshotRequest, UsageRequest,
    ViewSnapshotRequest,
};
use containerd_client::types::Mount;
use prost_types::FieldMask;
use tonic::Status;
use tonic::transport::Channel;

use super::content::size;
use super::{MESSAGE_LIMIT, NamespaceClient, required, wire_labels};
use crate::labels::Labels;

/// The kind of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SnapshotKind {
    /// Read-only, on a committed parent.
    View,
    /// Writable.
    Active,
    /// Immutable; may be a parent.
    Committed,
}

/// A snapshot as containerd lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotInfo {
    /// The key of the parent, if there is one.
    pub parent: Option<String>,
    /// The kind.
    pub kind: SnapshotKind,
    /// The labels of the snapshot.
    pub labels: Labels,
}

impl NamespaceClient {
    fn snapshot_service(&self) -> SnapshotsClient<Channel> {
        SnapshotsClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_LIMIT)
    }

    /// Creates an active snapshot, without a parent if `parent` is empty.
    pub async fn prepare(
        &self,
        snapshotter: &str,
        key: &str,
        parent: &str,
        labels: &Labels,
    ) -> Result<Vec<Mount>, Status> {
        let request = self.request(PrepareSnapshotRequest {
            snapshotter: snapshotter.to_owned(),
            key: key.to_owned(),
            parent: parent.to_owned(),
            labels: wire_labels(labels),
        });
        let response = self.snapshot_service().prepare(request).await?;
        Ok(response.into_inner().mounts)
    }

    /// Creates a view of `parent`, which is read-only.
    pub async fn view(
        &self,
        snapshotter: &str,
        key: &str,
        parent: &str,
        labels: &Labels,
    ) -> Result<Vec<Mount>, Status> {
        let request = self.request(ViewSnapshotRequest {
            snapshotter: snapshotter.to_owned(),
            key: key.to_owned(),
            parent: parent.to_owned(),
            labels: wire_labels(labels),
        });
        let response = self.snapshot_service().view(request).await?;
        Ok(response.into_inner().mounts)
    }

    /// Commits the active snapshot `key` as `name`.
    pub async fn commit(
        &self,
        snapshotter: &str,
        name: &str,
        key: &str,
        labels: &Labels,
    ) -> Result<(), Status> {
        let request = self.request(CommitSnapshotRequest {
            snapshotter: snapshotter.to_owned(),
            name: name.to_owned(),
            key: key.to_owned(),
            labels: wire_labels(labels),
        });
        self.snapshot_service().commit(request).await?;
        Ok(())
    }

    /// Returns one snapshot.
    pub async fn snapshot(&self, snapshotter: &str, key: &str) -> Result<SnapshotInfo, Status> {
        let request = self.request(StatSnapshotRequest {
            snapshotter: snapshotter.to_owned(),
            key: key.to_owned(),
        });
        let response = self.snapshot_service().stat(request).await?.into_inner();
        snapshot_info(required(response.info, "info")?)
    }

    /// Returns all snapshots of a snapshotter by key.
    pub async fn snapshots(
        &self,
        snapshotter: &str,
    ) -> Result<BTreeMap<String, SnapshotInfo>, Status> {
        let request = self.request(ListSnapshotsRequest {
            snapshotter: snapshotter.to_owned(),
            filters: Vec::new(),
        });
        let mut responses = self.snapshot_service().list(request).await?.into_inner();
        let mut snapshots = BTreeMap::new();
        while let Some(response) = responses.message().await? {
            for info in response.info {
                snapshots.insert(info.name.clone(), snapshot_info(info)?);
            }
        }
        Ok(snapshots)
    }

    /// Returns the allocated bytes and the inodes of a snapshot without its parents.
    pub async fn usage(&self, snapshotter: &str, key: &str) -> Result<(u64, u64), Status> {
        let request = self.request(UsageRequest {
            snapshotter: snapshotter.to_owned(),
            key: key.to_owned(),
        });
        let response = self.snapshot_service().usage(request).await?.into_inner();
        Ok((size(response.size)?, size(response.inodes)?))
    }

    /// Removes all labels of a snapshot.
    pub async fn drop_snapshot_labels(&self, snapshotter: &str, key: &str) -> Result<(), Status> {
        let request = self.request(UpdateSnapshotRequest {
            snapshotter: snapshotter.to_owned(),
            info: Some(Info {
                name: key.to_owned(),
                ..Default::default()
            }),
            update_mask: Some(FieldMask {
                paths: vec!["labels".to_owned()],
            }),
        });
        self.snapshot_service().update(request).await?;
        Ok(())
    }

    /// Removes a snapshot that has no children.
    pub async fn remove_snapshot(&self, snapshotter: &str, key: &str) -> Result<(), Status> {
        let request = self.request(RemoveSnapshotRequest {
            snapshotter: snapshotter.to_owned(),
            key: key.to_owned(),
        });
        self.snapshot_service().remove(request).await?;
        Ok(())
    }

    /// Returns the mounts of an active snapshot or a view.
    pub async fn mounts(&self, snapshotter: &str, key: &str) -> Result<Vec<Mount>, Status> {
        let request = self.request(MountsRequest {
            snapshotter: snapshotter.to_owned(),
            key: key.to_owned(),
        });
        let response = self.snapshot_service().mounts(request).await?;
        Ok(response.into_inner().mounts)
    }

    /// Writes a file into an active snapshot.
    pub async fn write_layer_file(
        &self,
        snapshotter: &str,
        key: &str,
        name: &str,
        bytes: &[u8],
    ) -> Result<(), Status> {
        write_file(&self.mounts(snapshotter, key).await?, name, bytes);
        Ok(())
    }
}

/// Writes a file to the writable directory of `mounts`, which are those of an active snapshot.
pub(crate) fn write_file(mounts: &[Mount], name: &str, bytes: &[u8]) -> PathBuf {
    let directory =
        writable_directory(mounts).unwrap_or_else(|| panic!("no writable directory in {mounts:?}"));
    let file = directory.join(name);
    fs::write(&file, bytes).unwrap_or_else(|error| panic!("write `{}`: {error}", file.display()));
    file
}

/// Returns the writable directory: the upper one of an overlay, the source of a bind mount.
fn writable_directory(mounts: &[Mount]) -> Option<PathBuf> {
    let mount = mounts.first()?;
    let directory = match mount.r#type.as_str() {
        "overlay" => mount
            .options
            .iter()
            .find_map(|option| option.strip_prefix("upperdir="))?,
        // A snapshot without a parent, or one of the native snapshotter.
        "bind" => mount.source.as_str(),
        _ => return None,
    };
    Some(Path::new(directory).to_owned())
}

fn snapshot_info(info: Info) -> Result<SnapshotInfo, Status> {
    let kind = match info.kind() {
        Kind::View => SnapshotKind::View,
        Kind::Active => SnapshotKind::Active,
        Kind::Committed => SnapshotKind::Committed,
        Kind::Unknown => {
            return Err(Status::data_loss(
                "the response has a snapshot without a kind",
            ));
        }
    };
    Ok(SnapshotInfo {
        parent: Some(info.parent).filter(|parent| !parent.is_empty()),
        kind,
        labels: info.labels.into_iter().collect(),
    })
}
