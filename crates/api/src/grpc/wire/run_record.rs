//! Runs of policies, as they are remembered.

use reclaim_maintenance::{FilesystemRecord, NamespaceRun, RunRecord};

use super::{moment, size};
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
