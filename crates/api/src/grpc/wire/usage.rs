//! Disk usage.

use reclaim_model::{DiskUsage, ImageUsage, OutsideRecords, UsageByColumn};

use super::moment;
use super::things::holders;
use crate::grpc::proto;
use proto::image_usage::Verdict;

impl From<&UsageByColumn> for proto::Account {
    fn from(usage: &UsageByColumn) -> Self {
        let columns = usage.columns().map(|(column, amount)| proto::ColumnAmount {
            column: proto::Column::from(column).into(),
            amount: Some(amount.into()),
        });
        Self {
            columns: columns.collect(),
        }
    }
}

impl From<&DiskUsage> for proto::DiskUsageResponse {
    fn from(usage: &DiskUsage) -> Self {
        let namespaces = usage.namespaces.iter().map(|found| {
            let images = found.image_usage.iter().flatten();
            let leases = found.leases.iter().flatten();
            proto::NamespaceUsage {
                namespace: found.namespace.to_string(),
                account: Some((&found.usage).into()),
                shared_bytes: found.shared_bytes,
                images: images.map(Into::into).collect(),
                leases: leases.map(Into::into).collect(),
            }
        });
        Self {
            total: Some((&usage.total).into()),
            namespaces: namespaces.collect(),
            is_orphaned_known: usage.orphaned_known,
            warnings: usage.warnings.clone(),
            outside_records: usage.outside_records.as_ref().map(Into::into),
        }
    }
}

impl From<&OutsideRecords> for proto::OutsideRecords {
    fn from(outside_records: &OutsideRecords) -> Self {
        Self {
            unrecorded: outside_records.unrecorded.iter().map(Into::into).collect(),
            own_bytes: outside_records.own_bytes,
            unseen: outside_records
                .unseen
                .iter()
                .map(ToString::to_string)
                .collect(),
        }
    }
}

impl From<&ImageUsage> for proto::ImageUsage {
    fn from(usage: &ImageUsage) -> Self {
        Self {
            name: usage.name.clone(),
            target: usage.target.to_string(),
            created: usage.created.map(moment),
            content: usage.size.content_bytes,
            unpacked: usage.size.unpacked_bytes,
            shared: usage.size.shared_bytes,
            reclaimable_alone: usage.reclaimable_alone_bytes,
            holders: holders(&usage.holders),
            verdict: Some(match usage.verdict {
                Ok(reason) => Verdict::Remove(proto::RemoveReason::from(reason).into()),
                Err(reason) => Verdict::Keep(proto::KeepReason::from(reason).into()),
            }),
        }
    }
}
