//! Runs of policies, as they are remembered.

use reclaim_maintenance::{FilesystemRecord, NamespaceRun, RunRecord};

use super::enums::known;
use super::{WireError, count, list, moment, size, some_timestamp, timestamp};
use crate::grpc::proto;

impl From<&RunRecord> for proto::RunRecord {
    fn from(record: &RunRecord) -> Self {
        let RunRecord {
            version,
            policy,
            trigger,
            dry_run,
            outcome,
            began,
            ended,
            filesystems,
            wanted,
            missing,
            released,
            runs,
            error,
        } = record;
        Self {
            version: *version,
            policy: policy.clone(),
            trigger: proto::Trigger::from(*trigger).into(),
            dry_run: *dry_run,
            outcome: proto::Outcome::from(*outcome).into(),
            began: Some(moment(*began)),
            ended: Some(moment(*ended)),
            filesystems: filesystems.iter().map(Into::into).collect(),
            wanted: wanted.clone(),
            missing: missing.clone(),
            released: released.clone(),
            runs: runs.iter().map(Into::into).collect(),
            error: error.clone(),
        }
    }
}

impl TryFrom<proto::RunRecord> for RunRecord {
    type Error = WireError;

    fn try_from(message: proto::RunRecord) -> Result<Self, WireError> {
        Ok(Self {
            version: message.version,
            policy: message.policy,
            trigger: known::<proto::Trigger, _>("trigger", message.trigger)?,
            dry_run: message.dry_run,
            outcome: known::<proto::Outcome, _>("outcome", message.outcome)?,
            began: some_timestamp("began", message.began)?,
            ended: some_timestamp("ended", message.ended)?,
            filesystems: message.filesystems.into_iter().map(Into::into).collect(),
            wanted: message.wanted,
            missing: message.missing,
            released: message.released,
            runs: list(message.runs)?,
            error: message.error,
        })
    }
}

impl From<&FilesystemRecord> for proto::FilesystemRecord {
    fn from(record: &FilesystemRecord) -> Self {
        let FilesystemRecord {
            mount_point,
            total_bytes,
            left_bytes_before,
            left_bytes_after,
            left_inodes_before,
            left_inodes_after,
        } = record;
        Self {
            mount_point: mount_point.display().to_string(),
            total_bytes: *total_bytes,
            left_bytes_before: *left_bytes_before,
            left_bytes_after: *left_bytes_after,
            left_inodes_before: *left_inodes_before,
            left_inodes_after: *left_inodes_after,
        }
    }
}

impl From<proto::FilesystemRecord> for FilesystemRecord {
    fn from(message: proto::FilesystemRecord) -> Self {
        Self {
            mount_point: message.mount_point.into(),
            total_bytes: message.total_bytes,
            left_bytes_before: message.left_bytes_before,
            left_bytes_after: message.left_bytes_after,
            left_inodes_before: message.left_inodes_before,
            left_inodes_after: message.left_inodes_after,
        }
    }
}

impl From<&NamespaceRun> for proto::NamespaceRun {
    fn from(run: &NamespaceRun) -> Self {
        let NamespaceRun {
            namespace,
            run,
            removed,
            kept,
            refused,
            failed,
            estimate_bytes,
            reclaimed_bytes,
            held_until,
        } = run;
        Self {
            namespace: namespace.clone(),
            run: run.clone(),
            removed: size(*removed),
            kept: size(*kept),
            refused: size(*refused),
            failed: size(*failed),
            estimate_bytes: *estimate_bytes,
            reclaimed_bytes: *reclaimed_bytes,
            held_until: held_until.map(moment),
        }
    }
}

impl TryFrom<proto::NamespaceRun> for NamespaceRun {
    type Error = WireError;

    fn try_from(message: proto::NamespaceRun) -> Result<Self, WireError> {
        Ok(Self {
            namespace: message.namespace,
            run: message.run,
            removed: count("removed", message.removed)?,
            kept: count("kept", message.kept)?,
            refused: count("refused", message.refused)?,
            failed: count("failed", message.failed)?,
            estimate_bytes: message.estimate_bytes,
            reclaimed_bytes: message.reclaimed_bytes,
            held_until: message.held_until.map(timestamp).transpose()?,
        })
    }
}
