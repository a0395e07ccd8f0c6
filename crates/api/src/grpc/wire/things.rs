//! Amounts, blobs, snapshots and holders.

use reclaim_model::{
    Amount, Digest, Freed, FreedBlob, FreedSnapshot, Holder, Left, LeftThing, Row, SnapshotId,
    Unpin,
};

use super::enums::known;
use super::{WireError, count, list, parsed, size};
use crate::grpc::proto;

impl From<Amount> for proto::Amount {
    fn from(amount: Amount) -> Self {
        Self {
            content_bytes: amount.content_bytes,
            snapshot_bytes: amount.snapshot_bytes,
            blobs: size(amount.blobs),
            snapshots: size(amount.snapshots),
            unmeasured: size(amount.unmeasured),
        }
    }
}

impl TryFrom<proto::Amount> for Amount {
    type Error = WireError;

    fn try_from(message: proto::Amount) -> Result<Self, WireError> {
        Ok(Self {
            content_bytes: message.content_bytes,
            snapshot_bytes: message.snapshot_bytes,
            blobs: count("blobs", message.blobs)?,
            snapshots: count("snapshots", message.snapshots)?,
            unmeasured: count("unmeasured", message.unmeasured)?,
        })
    }
}

impl From<&FreedBlob> for proto::Blob {
    fn from(blob: &FreedBlob) -> Self {
        Self {
            digest: blob.digest.to_string(),
            bytes: blob.bytes,
        }
    }
}

impl TryFrom<proto::Blob> for FreedBlob {
    type Error = WireError;

    fn try_from(message: proto::Blob) -> Result<Self, WireError> {
        Ok(Self {
            digest: parsed("digest", &message.digest)?,
            bytes: message.bytes,
        })
    }
}

impl From<&SnapshotId> for proto::SnapshotId {
    fn from(id: &SnapshotId) -> Self {
        Self {
            snapshotter: id.snapshotter.to_string(),
            key: id.key.to_string(),
        }
    }
}

impl From<proto::SnapshotId> for SnapshotId {
    fn from(message: proto::SnapshotId) -> Self {
        Self::new(message.snapshotter, message.key)
    }
}

impl From<&FreedSnapshot> for proto::Snapshot {
    fn from(snapshot: &FreedSnapshot) -> Self {
        Self {
            id: Some((&snapshot.id).into()),
            bytes: snapshot.bytes,
        }
    }
}

impl TryFrom<proto::Snapshot> for FreedSnapshot {
    type Error = WireError;

    fn try_from(message: proto::Snapshot) -> Result<Self, WireError> {
        let id = message.id.ok_or_else(|| WireError::missing("snapshot"))?;
        Ok(Self {
            id: id.into(),
            bytes: message.bytes,
        })
    }
}

impl From<&Freed> for proto::Freed {
    fn from(freed: &Freed) -> Self {
        Self {
            blobs: freed.blobs.iter().map(Into::into).collect(),
            snapshots: freed.snapshots.iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<proto::Freed> for Freed {
    type Error = WireError;

    fn try_from(message: proto::Freed) -> Result<Self, WireError> {
        Ok(Self {
            blobs: list(message.blobs)?,
            snapshots: list(message.snapshots)?,
        })
    }
}

impl From<&Holder> for proto::Holder {
    fn from(holder: &Holder) -> Self {
        Self {
            kind: proto::HolderKind::from(holder.kind).into(),
            id: holder.id.clone(),
        }
    }
}

impl TryFrom<proto::Holder> for Holder {
    type Error = WireError;

    fn try_from(message: proto::Holder) -> Result<Self, WireError> {
        Ok(Self {
            kind: known::<proto::HolderKind, _>("kind of a holder", message.kind)?,
            id: message.id,
        })
    }
}

/// Writes a list of holders.
pub(super) fn holders(holders: &[Holder]) -> Vec<proto::Holder> {
    holders.iter().map(Into::into).collect()
}

impl From<&Left> for proto::Left {
    fn from(left: &Left) -> Self {
        let holders = left
            .holders
            .iter()
            .map(|(namespace, holder)| proto::HolderIn {
                namespace: namespace.to_string(),
                holder: Some(holder.into()),
            });
        Self {
            thing: Some(match &left.thing {
                LeftThing::Blob(digest) => proto::left::Thing::Blob(digest.to_string()),
                LeftThing::Snapshot(id) => proto::left::Thing::Snapshot(id.into()),
            }),
            bytes: left.bytes,
            holders: holders.collect(),
        }
    }
}

impl TryFrom<proto::Left> for Left {
    type Error = WireError;

    fn try_from(message: proto::Left) -> Result<Self, WireError> {
        let thing = message.thing.ok_or_else(|| WireError::missing("thing"))?;
        let holders = message.holders.into_iter().map(|it| {
            let holder = it.holder.ok_or_else(|| WireError::missing("holder"))?;
            Ok((parsed("namespace", &it.namespace)?, holder.try_into()?))
        });
        Ok(Self {
            thing: match thing {
                proto::left::Thing::Blob(digest) => {
                    LeftThing::Blob(parsed::<Digest>("blob", &digest)?)
                }
                proto::left::Thing::Snapshot(id) => LeftThing::Snapshot(id.into()),
            },
            bytes: message.bytes,
            holders: holders.collect::<Result<_, WireError>>()?,
        })
    }
}

impl From<&Unpin> for proto::Unpin {
    fn from(unpin: &Unpin) -> Self {
        Self {
            config: unpin.config.to_string(),
            snapshot: Some((&unpin.snapshot).into()),
        }
    }
}

impl TryFrom<proto::Unpin> for Unpin {
    type Error = WireError;

    fn try_from(message: proto::Unpin) -> Result<Self, WireError> {
        let snapshot = message.snapshot;
        Ok(Self {
            config: parsed("config", &message.config)?,
            snapshot: snapshot
                .ok_or_else(|| WireError::missing("snapshot"))?
                .into(),
        })
    }
}

impl From<&Row> for proto::Row {
    fn from(row: &Row) -> Self {
        Self {
            row: Some(match row {
                Row::Untagged(name) => proto::row::Row::Untagged(name.clone()),
                Row::Deleted(digest) => proto::row::Row::Deleted(digest.to_string()),
            }),
        }
    }
}

impl TryFrom<proto::Row> for Row {
    type Error = WireError;

    fn try_from(message: proto::Row) -> Result<Self, WireError> {
        match message.row.ok_or_else(|| WireError::missing("row"))? {
            proto::row::Row::Untagged(name) => Ok(Self::Untagged(name)),
            proto::row::Row::Deleted(digest) => Ok(Self::Deleted(parsed("deleted", &digest)?)),
        }
    }
}
