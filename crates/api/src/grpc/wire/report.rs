//! Reports, the results of names and pins, and holds.

use std::time::Duration;

use prost_types::Duration as DurationMessage;
use reclaim_engine::Hold;
use reclaim_model::{
    BlobLabels, Conflict, ConflictCause, Failed, GcLabels, GcRef, ImageRecord, Kept, Named,
    NamedRemoval, NotCounted, NotPinned, NotRemoved, PinOutcome, RefuseReason, Refused, Removed,
    Report, ResolvedTarget, Row,
};

use super::things::{holders, unpinned};
use super::{moment, size};
use crate::grpc::proto;
use proto::conflict::Cause;
use proto::not_pinned::Why;
use proto::not_removed::Kind;
use proto::pin_outcome::Outcome;

impl From<&Report> for proto::Report {
    fn from(report: &Report) -> Self {
        Self {
            run: report.run.to_string(),
            namespace: report.namespace.to_string(),
            mode: proto::Mode::from(report.mode).into(),
            removed: report.removed.iter().map(Into::into).collect(),
            kept: report.kept.iter().map(Into::into).collect(),
            refused: report.refused.iter().map(Into::into).collect(),
            failed: report.failed.iter().map(Into::into).collect(),
            estimate: Some(report.estimate.0.into()),
            estimate_at_least: Some(report.estimate_at_least.0.into()),
            beside: Some((&report.not_counted).into()),
            reclaimed: Some(report.reclaimed.0.into()),
            freed: Some((&report.freed).into()),
            left: report.left.iter().map(Into::into).collect(),
            unpinned: unpinned(&report.cuts),
            cuts: report.cuts.iter().map(Into::into).collect(),
            slimmed: report.slimmed.iter().map(Into::into).collect(),
            rows: report.rows.iter().map(Into::into).collect(),
            named: report.named.iter().map(Into::into).collect(),
            warnings: report.warnings.clone(),
            target_free: report.target_free.as_ref().map(Into::into),
            guard: report
                .guard
                .map_or(proto::DeleteGuard::Unspecified, Into::into)
                .into(),
            held_until: report.held_until.map(moment),
            unfinished: report.unfinished.clone(),
            policy: report.policy.as_ref().map(ToString::to_string),
            part: report
                .part
                .map_or(proto::PolicyPart::Unspecified, Into::into)
                .into(),
            took: took_message(report.took),
            collection: report.collection.and_then(took_message),
            stranded: report.stranded.iter().map(Into::into).collect(),
        }
    }
}

impl From<&ResolvedTarget> for proto::TargetFree {
    fn from(target: &ResolvedTarget) -> Self {
        let mount_point = target.mount_point.as_ref();
        Self {
            bytes: target.bytes,
            mount_point: mount_point.map(|path| path.display().to_string()),
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
            RefuseReason::PartsStay => proto::RefuseReason::PartsStay,
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

impl From<&Named> for proto::Named {
    fn from(named: &Named) -> Self {
        Self {
            name: named.name.clone(),
            services: named.services.clone(),
            outcome: Some(match named.outcome() {
                Ok(removal) => proto::named::Outcome::Removal(removal.into()),
                Err(error) => proto::named::Outcome::NotRemoved(error.into()),
            }),
        }
    }
}

impl From<&NamedRemoval> for proto::Removal {
    fn from(removal: &NamedRemoval) -> Self {
        Self {
            records: removal.records.clone(),
            rows: removal
                .untagged
                .iter()
                .map(|name| Row::Untagged(name.clone()))
                .chain(removal.deleted.iter().cloned().map(Row::Deleted))
                .map(|row| (&row).into())
                .collect(),
        }
    }
}

impl From<&NotRemoved> for proto::NotRemoved {
    fn from(error: &NotRemoved) -> Self {
        let mut conflict = None;
        let mut subject = String::new();
        let kind = match error {
            NotRemoved::Blank => Kind::Blank,
            NotRemoved::Reference(_) => Kind::Reference,
            NotRemoved::NoSuchImage(name) => {
                subject.clone_from(name);
                Kind::NoSuchImage
            }
            NotRemoved::Ambiguous => Kind::Ambiguous,
            NotRemoved::NoSuchPlatform { image, .. } => {
                subject.clone_from(image);
                Kind::NoSuchPlatform
            }
            NotRemoved::Conflict(found) => {
                conflict = Some(found.into());
                Kind::Conflict
            }
            NotRemoved::Changed => Kind::Changed,
            NotRemoved::Cancelled => Kind::Cancelled,
            NotRemoved::Failed(error) => {
                subject.clone_from(error);
                Kind::Failed
            }
        };
        Self {
            kind: kind.into(),
            message: error.to_string(),
            subject,
            conflict,
        }
    }
}

impl From<&Conflict> for proto::Conflict {
    fn from(conflict: &Conflict) -> Self {
        let cause = match &conflict.cause {
            ConflictCause::Referenced { container, image } => {
                Cause::ReferencedBy(proto::ReferencedBy {
                    container: container.clone(),
                    image: image.to_string(),
                })
            }
            ConflictCause::RunningContainer(id) => Cause::RunningContainer(id.clone()),
            ConflictCause::StoppedContainer(id) => Cause::StoppedContainer(id.clone()),
            ConflictCause::MultipleRepositories => Cause::MultipleRepositories(true),
            ConflictCause::Holder(holder) => Cause::Holder(holder.into()),
            ConflictCause::Pinned => Cause::Pinned(true),
            ConflictCause::Other(words) => Cause::Other(words.clone()),
        };
        Self {
            image: conflict.image.clone(),
            can_be_forced: conflict.can_be_forced,
            cause: Some(cause),
        }
    }
}

impl From<&PinOutcome> for proto::PinOutcome {
    fn from(outcome: &PinOutcome) -> Self {
        Self {
            name: outcome.name.clone(),
            outcome: Some(match &outcome.error {
                None => Outcome::Change(proto::PinChange {
                    target: outcome
                        .target
                        .as_ref()
                        .map(ToString::to_string)
                        .unwrap_or_default(),
                    changed: outcome.changed.clone(),
                    unchanged: outcome.unchanged.clone(),
                }),
                Some(error) => Outcome::NotPinned(error.into()),
            }),
        }
    }
}

impl From<&NotPinned> for proto::NotPinned {
    fn from(error: &NotPinned) -> Self {
        Self {
            why: Some(match error {
                NotPinned::NotFound(error) => Why::NotFound(error.into()),
                NotPinned::Others(image) => Why::Others(image.clone()),
                NotPinned::Changed(image) => Why::Changed(image.clone()),
                NotPinned::Failed(error) => Why::Failed(error.clone()),
            }),
        }
    }
}

impl From<&Hold> for proto::Hold {
    fn from(hold: &Hold) -> Self {
        Self {
            run: hold.run.to_string(),
            started: hold.started.map(moment),
            expires: hold.expires.map(moment),
            is_abandoned: hold.is_abandoned,
            is_whole: hold.is_whole,
            records: hold.records.iter().map(Into::into).collect(),
            unpins: hold.labels.iter().flat_map(unpins_of).collect(),
            labels: hold.labels.iter().map(Into::into).collect(),
            leases: hold.leases.clone(),
        }
    }
}

/// Returns the labels for snapshots in the form of the time when there were no others.
fn unpins_of(of_blob: &BlobLabels) -> Vec<proto::Unpin> {
    let labels = of_blob.labels.iter();
    let labels = GcLabels::parse(labels.map(|(key, value)| (key.as_str(), value.as_str())));
    let unpins = labels.refs.iter().filter_map(|reference| {
        let GcRef::Snapshot(id) = reference else {
            return None;
        };
        Some(proto::Unpin {
            config: of_blob.blob.to_string(),
            snapshot: Some(id.into()),
        })
    });
    unpins.collect()
}

impl From<&BlobLabels> for proto::BlobLabels {
    fn from(of_blob: &BlobLabels) -> Self {
        Self {
            blob: of_blob.blob.to_string(),
            labels: of_blob.labels.clone().into_iter().collect(),
        }
    }
}

impl From<&ImageRecord> for proto::HeldRecord {
    fn from(record: &ImageRecord) -> Self {
        let target = &record.target;
        Self {
            name: record.name.clone(),
            media_type: target.media_type.clone(),
            digest: target.digest.to_string(),
            size: target.size,
            annotations: target.annotations.clone().into_iter().collect(),
            labels: record.labels.clone().into_iter().collect(),
            created: record.created_at.map(moment),
        }
    }
}
