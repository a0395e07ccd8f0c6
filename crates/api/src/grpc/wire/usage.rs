//! Disk usage.

use reclaim_engine::{Account, DiskUsage, ImageSize, ImageUsage, NamespaceUsage};
use reclaim_model::OutsideRecords;

use super::enums::known;
use super::things::holders;
use super::{WireError, list, moment, parsed, timestamp};
use crate::grpc::proto;
use proto::image_usage::Verdict;

impl From<&Account> for proto::Account {
    fn from(account: &Account) -> Self {
        let columns = account
            .columns()
            .map(|(column, amount)| proto::ColumnAmount {
                column: proto::Column::from(column).into(),
                amount: Some(amount.into()),
            });
        Self {
            columns: columns.collect(),
        }
    }
}

impl TryFrom<proto::Account> for Account {
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
        let namespaces = usage.namespaces.iter();
        let namespaces = namespaces.map(|(name, usage)| proto::NamespaceUsage {
            namespace: name.to_string(),
            account: Some((&usage.account).into()),
            shared_bytes: usage.shared_bytes,
            images: usage.images.iter().map(Into::into).collect(),
            leases: usage.leases.iter().map(Into::into).collect(),
        });
        Self {
            total: Some((&usage.total).into()),
            namespaces: namespaces.collect(),
            is_orphaned_known: usage.is_orphaned_known,
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
            let usage = NamespaceUsage {
                account: account.try_into()?,
                shared_bytes: it.shared_bytes,
                images: list(it.images)?,
                leases: list(it.leases)?,
            };
            Ok((parsed("namespace", &it.namespace)?, usage))
        });
        Ok(Self {
            total: total.try_into()?,
            namespaces: namespaces.collect::<Result<_, WireError>>()?,
            is_orphaned_known: message.is_orphaned_known,
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
            content: usage.size.content,
            unpacked: usage.size.unpacked,
            shared: usage.size.shared,
            reclaimable_alone: usage.reclaimable_alone,
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
        Ok(Self {
            name: message.name,
            target: parsed("target", &message.target)?,
            created: message.created.map(timestamp).transpose()?,
            size: ImageSize {
                content: message.content,
                unpacked: message.unpacked,
                shared: message.shared,
            },
            reclaimable_alone: message.reclaimable_alone,
            holders: list(message.holders)?,
            verdict: match verdict {
                Verdict::Remove(reason) => Ok(known::<proto::RemoveReason, _>("remove", reason)?),
                Verdict::Keep(reason) => Err(known::<proto::KeepReason, _>("keep", reason)?),
            },
        })
    }
}
