//! Disk usage.

use reclaim_model::{
    DiskUsage, Holder, ImageSize, ImageUsage, NamespaceUsage, OutsideRecords, UsageByColumn,
};

use super::enums::known;
use super::things::holders;
use super::{WireError, list, moment, parsed, timestamp};
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

impl TryFrom<proto::Account> for UsageByColumn {
    type Error = WireError;

    fn try_from(message: proto::Account) -> Result<Self, WireError> {
        let columns = message.columns.into_iter().map(|it| {
            let amount = it.amount.ok_or_else(|| WireError::missing("amount"))?;
            Ok((
                known::<proto::Column, _>("column", it.column)?,
                amount.try_into()?,
            ))
        });
        columns.collect()
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

impl TryFrom<proto::DiskUsageResponse> for DiskUsage {
    type Error = WireError;

    fn try_from(message: proto::DiskUsageResponse) -> Result<Self, WireError> {
        let total = message.total.ok_or_else(|| WireError::missing("total"))?;
        let namespaces = message.namespaces.into_iter().map(|it| {
            let account = it.account.ok_or_else(|| WireError::missing("account"))?;
            let namespace = parsed("namespace", &it.namespace)?;
            Ok(NamespaceUsage {
                usage: account.try_into()?,
                shared_bytes: it.shared_bytes,
                ..NamespaceUsage::new(namespace, list(it.images)?, list(it.leases)?)
            })
        });
        Ok(Self {
            total: total.try_into()?,
            namespaces: namespaces.collect::<Result<_, WireError>>()?,
            orphaned_known: message.is_orphaned_known,
            warnings: message.warnings,
            outside_records: message.outside_records.map(TryInto::try_into).transpose()?,
        })
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

impl TryFrom<proto::OutsideRecords> for OutsideRecords {
    type Error = WireError;

    fn try_from(message: proto::OutsideRecords) -> Result<Self, WireError> {
        Ok(Self {
            unrecorded: list(message.unrecorded)?,
            own_bytes: message.own_bytes,
            unseen: message.unseen.into_iter().map(Into::into).collect(),
        })
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

impl TryFrom<proto::ImageUsage> for ImageUsage {
    type Error = WireError;

    fn try_from(message: proto::ImageUsage) -> Result<Self, WireError> {
        let verdict = message
            .verdict
            .ok_or_else(|| WireError::missing("verdict"))?;
        let holders: Vec<Holder> = list(message.holders)?;
        Ok(Self {
            name: message.name,
            target: parsed("target", &message.target)?,
            created: message.created.map(timestamp).transpose()?,
            size: ImageSize {
                content_bytes: message.content,
                unpacked_bytes: message.unpacked,
                shared_bytes: message.shared,
            },
            reclaimable_alone_bytes: message.reclaimable_alone,
            containers: ImageUsage::containers(&holders),
            holders,
            verdict: match verdict {
                Verdict::Remove(reason) => Ok(known::<proto::RemoveReason, _>("remove", reason)?),
                Verdict::Keep(reason) => Err(known::<proto::KeepReason, _>("keep", reason)?),
            },
        })
    }
}
