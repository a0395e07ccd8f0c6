//! Amounts, blobs, snapshots and holders.

use reclaim_model::{
    Amount, Cut, CutTarget, Freed, FreedBlob, FreedSnapshot, Holder, LeaseHolding, Left,
    LeftHolder, LeftThing, Part, Row, Slimmed, SnapshotId, Unrecorded,
};

use super::{moment, size};
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

impl From<&FreedBlob> for proto::Blob {
    fn from(blob: &FreedBlob) -> Self {
        Self {
            digest: blob.digest.to_string(),
            bytes: blob.bytes,
        }
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

impl From<&FreedSnapshot> for proto::Snapshot {
    fn from(snapshot: &FreedSnapshot) -> Self {
        Self {
            id: Some((&snapshot.id).into()),
            bytes: snapshot.bytes,
        }
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

impl From<&Holder> for proto::Holder {
    fn from(holder: &Holder) -> Self {
        Self {
            kind: proto::HolderKind::from(holder.kind).into(),
            id: holder.id.clone(),
            role: holder
                .role
                .map_or(proto::HolderRole::Unspecified, Into::into)
                .into(),
        }
    }
}

impl From<&LeaseHolding> for proto::LeaseHolding {
    fn from(holding: &LeaseHolding) -> Self {
        Self {
            lease: Some(proto::Holder::from(&holding.holder())),
            since: holding.since.map(moment),
            until: holding.until.map(moment),
            things: Some((&holding.things).into()),
        }
    }
}

impl From<&Unrecorded> for proto::Unrecorded {
    fn from(unrecorded: &Unrecorded) -> Self {
        let places = unrecorded.places.iter().map(|place| proto::Place {
            path: place.path.clone(),
            bytes: place.bytes,
            why: place.why.clone(),
        });
        Self {
            snapshotter: unrecorded.snapshotter.to_string(),
            directories: size(unrecorded.directories),
            bytes: unrecorded.bytes,
            is_exact: unrecorded.is_exact,
            places: places.collect(),
        }
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
            .map(|LeftHolder { namespace, holder }| proto::HolderIn {
                namespace: namespace.to_string(),
                holder: Some(holder.into()),
            });
        Self {
            thing: Some(match &left.thing {
                LeftThing::Blob { digest } => proto::left::Thing::Blob(digest.to_string()),
                LeftThing::Snapshot(id) => proto::left::Thing::Snapshot(id.into()),
            }),
            bytes: left.bytes,
            holders: holders.collect(),
        }
    }
}

impl From<&Cut> for proto::Cut {
    fn from(cut: &Cut) -> Self {
        Self {
            part: proto::Part::from(cut.part).into(),
            blob: cut.blob.to_string(),
            target: Some(match &cut.target {
                CutTarget::Snapshot(id) => proto::cut::Target::Snapshot(id.into()),
                CutTarget::Content { digest } => proto::cut::Target::Digest(digest.to_string()),
            }),
        }
    }
}

impl From<&Slimmed> for proto::Slimmed {
    fn from(slimmed: &Slimmed) -> Self {
        let parts = slimmed.parts.iter();
        let parts = parts.map(|(part, blobs)| proto::SlimmedPart {
            part: proto::Part::from(*part).into(),
            blobs: blobs.iter().map(ToString::to_string).collect(),
        });
        Self {
            name: slimmed.name.clone(),
            target: slimmed.target.to_string(),
            parts: parts.collect(),
        }
    }
}

/// Writes the cuts of build history in the form of the time when there were no others.
pub(super) fn unpinned(cuts: &[Cut]) -> Vec<proto::Unpin> {
    let of_history = cuts.iter().filter(|cut| cut.part == Part::BuildHistory);
    let unpinned = of_history.filter_map(|cut| match &cut.target {
        CutTarget::Snapshot(id) => Some(proto::Unpin {
            config: cut.blob.to_string(),
            snapshot: Some(id.into()),
        }),
        CutTarget::Content { .. } => None,
    });
    unpinned.collect()
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
