//! Reports.

use std::time::Duration;

use prost_types::Duration as DurationMessage;
use reclaim_model::{
    Estimate, Failed, Freed, Kept, Leased, NotCounted, Pinned, Reclaimed, RefuseReason, Refused,
    Removed, Report, RunId,
};

use super::enums::known;
use super::things::holders;
use super::{WireError, count, list, moment, parsed, size, timestamp};
use crate::grpc::proto;

impl From<&Report> for proto::Report {
    fn from(report: &Report) -> Self {
        let Report {
            run,
            namespace,
            mode,
            removed,
            kept,
            refused,
            failed,
            estimate,
            estimate_at_least,
            beside,
            reclaimed,
            freed,
            left,
            unpinned,
            rows,
            named,
            warnings,
            guard,
            held_until,
            unfinished,
            policy,
            took,
            collection,
            stranded,
        } = report;
        Self {
            run: run.to_string(),
            namespace: namespace.to_string(),
            mode: proto::Mode::from(*mode).into(),
            removed: removed.iter().map(Into::into).collect(),
            kept: kept.iter().map(Into::into).collect(),
            refused: refused.iter().map(Into::into).collect(),
            failed: failed.iter().map(Into::into).collect(),
            estimate: Some(estimate.0.into()),
            estimate_at_least: Some(estimate_at_least.0.into()),
            beside: Some(beside.into()),
            reclaimed: Some(reclaimed.0.into()),
            freed: Some(freed.into()),
            left: left.iter().map(Into::into).collect(),
            unpinned: unpinned.iter().map(Into::into).collect(),
            rows: rows.iter().map(Into::into).collect(),
            named: named.iter().map(Into::into).collect(),
            warnings: warnings.clone(),
            guard: guard
                .map_or(proto::DeleteGuard::Unspecified, Into::into)
                .into(),
            held_until: held_until.map(moment),
            unfinished: unfinished.clone(),
            policy: policy.as_ref().map(ToString::to_string),
            took: took_message(*took),
            collection: collection.and_then(took_message),
            stranded: stranded.iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<proto::Report> for Report {
    type Error = WireError;

    fn try_from(message: proto::Report) -> Result<Self, WireError> {
        let none = i32::from(proto::DeleteGuard::Unspecified);
        let guard = Some(message.guard).filter(|it| *it != none);
        let guard = guard.map(|it| known::<proto::DeleteGuard, _>("guard", it));
        let beside = message.beside.ok_or_else(|| WireError::missing("beside"))?;
        let freed = message.freed.ok_or_else(|| WireError::missing("freed"))?;
        Ok(Self {
            run: RunId(message.run),
            namespace: parsed("namespace", &message.namespace)?,
            mode: known::<proto::Mode, _>("mode", message.mode)?,
            removed: list(message.removed)?,
            kept: list(message.kept)?,
            refused: list(message.refused)?,
            failed: message.failed.into_iter().map(Into::into).collect(),
            estimate: Estimate(amount("estimate", message.estimate)?),
            estimate_at_least: Estimate(amount("estimate_at_least", message.estimate_at_least)?),
            beside: beside.try_into()?,
            reclaimed: Reclaimed(amount("reclaimed", message.reclaimed)?),
            freed: freed.try_into()?,
            left: list(message.left)?,
            unpinned: list(message.unpinned)?,
            rows: list(message.rows)?,
            named: list(message.named)?,
            warnings: message.warnings,
            guard: guard.transpose()?,
            held_until: message.held_until.map(timestamp).transpose()?,
            unfinished: message.unfinished,
            policy: message
                .policy
                .map(|name| parsed("policy", &name))
                .transpose()?,
            took: message.took.map(took).transpose()?.unwrap_or_default(),
            collection: message.collection.map(took).transpose()?,
            stranded: list(message.stranded)?,
        })
    }
}

fn took_message(took: Duration) -> Option<DurationMessage> {
    // Nothing takes longer than a message can say.
    took.try_into().ok()
}

fn took(message: DurationMessage) -> Result<Duration, WireError> {
    let took = Duration::try_from(message);
    took.map_err(|error| WireError::new("duration", error))
}

fn amount(
    field: &'static str,
    message: Option<proto::Amount>,
) -> Result<reclaim_model::Amount, WireError> {
    message.ok_or_else(|| WireError::missing(field))?.try_into()
}

impl From<&Removed> for proto::Removed {
    fn from(removed: &Removed) -> Self {
        Self {
            name: removed.name.clone(),
            target: removed.target.to_string(),
            reason: proto::RemoveReason::from(removed.reason).into(),
        }
    }
}

impl TryFrom<proto::Removed> for Removed {
    type Error = WireError;

    fn try_from(message: proto::Removed) -> Result<Self, WireError> {
        Ok(Self {
            name: message.name,
            target: parsed("target", &message.target)?,
            reason: known::<proto::RemoveReason, _>("reason", message.reason)?,
        })
    }
}

impl From<&Kept> for proto::Kept {
    fn from(kept: &Kept) -> Self {
        Self {
            name: kept.name.clone(),
            target: kept.target.to_string(),
            reason: proto::KeepReason::from(kept.reason).into(),
            holders: holders(&kept.holders),
        }
    }
}

impl TryFrom<proto::Kept> for Kept {
    type Error = WireError;

    fn try_from(message: proto::Kept) -> Result<Self, WireError> {
        Ok(Self {
            name: message.name,
            target: parsed("target", &message.target)?,
            reason: known::<proto::KeepReason, _>("reason", message.reason)?,
            holders: list(message.holders)?,
        })
    }
}

impl From<&Refused> for proto::Refused {
    fn from(refused: &Refused) -> Self {
        let mut message = Self {
            name: refused.name.clone(),
            ..Self::default()
        };
        let reason = match &refused.reason {
            RefuseReason::TargetMoved => proto::RefuseReason::TargetMoved,
            RefuseReason::AlreadyGone => proto::RefuseReason::AlreadyGone,
            RefuseReason::MustStay(keep, by) => {
                message.keep = proto::KeepReason::from(*keep).into();
                message.holders = holders(by);
                proto::RefuseReason::MustStay
            }
            RefuseReason::Cancelled => proto::RefuseReason::Cancelled,
            RefuseReason::OutOfTime => proto::RefuseReason::OutOfTime,
        };
        message.reason = reason.into();
        message
    }
}

impl TryFrom<proto::Refused> for Refused {
    type Error = WireError;

    fn try_from(message: proto::Refused) -> Result<Self, WireError> {
        let unknown = |_| WireError::new("reason", format!("{} is unknown here", message.reason));
        let reason = proto::RefuseReason::try_from(message.reason).map_err(unknown)?;
        let reason = match reason {
            proto::RefuseReason::Unspecified => {
                return Err(WireError::new("reason", "it is not specified"));
            }
            proto::RefuseReason::TargetMoved => RefuseReason::TargetMoved,
            proto::RefuseReason::AlreadyGone => RefuseReason::AlreadyGone,
            proto::RefuseReason::MustStay => RefuseReason::MustStay(
                known::<proto::KeepReason, _>("keep", message.keep)?,
                list(message.holders)?,
            ),
            proto::RefuseReason::Cancelled => RefuseReason::Cancelled,
            proto::RefuseReason::OutOfTime => RefuseReason::OutOfTime,
        };
        Ok(Self {
            name: message.name,
            reason,
        })
    }
}

impl From<&Failed> for proto::Failed {
    fn from(failed: &Failed) -> Self {
        Self {
            name: failed.name.clone(),
            error: failed.error.clone(),
        }
    }
}

impl From<proto::Failed> for Failed {
    fn from(message: proto::Failed) -> Self {
        Self {
            name: message.name,
            error: message.error,
        }
    }
}

impl From<&NotCounted> for proto::Beside {
    fn from(beside: &NotCounted) -> Self {
        Self {
            pending: Some((&beside.pending).into()),
            kept_elsewhere: beside.kept_elsewhere.iter().map(Into::into).collect(),
            history_configs: size(beside.history.configs),
            history: Some((&beside.history.freed).into()),
            doubtful: Some((&beside.doubtful).into()),
            leased: Some((&beside.leased.things).into()),
            leases: beside.leased.leases.iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<proto::Beside> for NotCounted {
    type Error = WireError;

    fn try_from(message: proto::Beside) -> Result<Self, WireError> {
        let freed = |field, message: Option<proto::Freed>| {
            message.ok_or_else(|| WireError::missing(field))?.try_into()
        };
        Ok(Self {
            pending: freed("pending", message.pending)?,
            kept_elsewhere: list(message.kept_elsewhere)?,
            history: Pinned {
                configs: count("history_configs", message.history_configs)?,
                freed: freed("history", message.history)?,
            },
            doubtful: freed("doubtful", message.doubtful)?,
            // An older daemon does not list them.
            leased: Leased {
                things: message
                    .leased
                    .map_or(Ok(Freed::default()), TryInto::try_into)?,
                leases: list(message.leases)?,
            },
        })
    }
}
