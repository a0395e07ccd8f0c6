//! Reports.

use std::time::Duration;

use prost_types::Duration as DurationMessage;
use reclaim_model::{Failed, Kept, NotCounted, RefuseReason, Refused, Removed, Report};

use super::things::holders;
use super::{moment, size};
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
            not_counted,
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
            beside: Some(not_counted.into()),
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

fn took_message(took: Duration) -> Option<DurationMessage> {
    // Nothing takes longer than a message can say.
    took.try_into().ok()
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

impl From<&Refused> for proto::Refused {
    fn from(refused: &Refused) -> Self {
        let mut message = Self {
            name: refused.name.clone(),
            ..Self::default()
        };
        let reason = match &refused.reason {
            RefuseReason::TargetMoved => proto::RefuseReason::TargetMoved,
            RefuseReason::AlreadyGone => proto::RefuseReason::AlreadyGone,
            RefuseReason::MustStay {
                reason: keep,
                holders: by,
            } => {
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

impl From<&Failed> for proto::Failed {
    fn from(failed: &Failed) -> Self {
        Self {
            name: failed.name.clone(),
            error: failed.error.clone(),
        }
    }
}

impl From<&NotCounted> for proto::Beside {
    fn from(not_counted: &NotCounted) -> Self {
        Self {
            pending: Some((&not_counted.pending).into()),
            kept_elsewhere: not_counted
                .kept_elsewhere
                .blobs
                .iter()
                .map(Into::into)
                .collect(),
            history_configs: size(not_counted.history.configs),
            history: Some((&not_counted.history.freed).into()),
            doubtful: Some((&not_counted.doubtful).into()),
            leased: Some((&not_counted.leased.things).into()),
            leases: not_counted.leased.leases.iter().map(Into::into).collect(),
        }
    }
}
