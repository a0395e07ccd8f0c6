//! The result of each name, if the request names images. Pure.

use std::collections::{BTreeMap, BTreeSet};

use reclaim_model::{
    Conflict, ConflictCause, Digest, HolderKind, KeepReason, Named, NotRemoved, Plan, RefuseReason,
    Refused, Report, familiar_name,
};

/// Enters the result of each name into the report: as planned, unless one of its records stays.
pub(crate) fn settle(report: &mut Report, plan: &Plan) {
    let targets = plan.steps.iter();
    let targets = targets.map(|it| (it.image.name.as_str(), &it.image.target.digest));
    let targets: BTreeMap<&str, &Digest> = targets.collect();
    let removed: BTreeSet<&str> = report.removed.iter().map(|it| it.name.as_str()).collect();
    let named = plan.named.iter().map(|named| {
        let mut records = named.removal.records.iter();
        let Some(record) = records.find(|record| !removed.contains(record.as_str())) else {
            return named.clone();
        };
        let error = why(record, targets.get(record.as_str()).copied(), report);
        Named {
            services: named.services.clone(),
            ..Named::new(&named.name, Err(error))
        }
    });
    report.named = named.collect();
}

/// Returns why a planned record was not removed.
fn why(record: &str, target: Option<&Digest>, report: &Report) -> NotRemoved {
    if let Some(failed) = report.failed.iter().find(|it| it.name == record) {
        return NotRemoved::Failed(failed.error.clone());
    }
    let mut refused = report.refused.iter();
    let Some(Refused { reason, .. }) = refused.find(|it| it.name == record) else {
        return NotRemoved::Cancelled;
    };
    match reason {
        RefuseReason::TargetMoved | RefuseReason::PartsStay => NotRemoved::Changed,
        RefuseReason::AlreadyGone => NotRemoved::NoSuchImage(familiar_name(record)),
        RefuseReason::Cancelled | RefuseReason::OutOfTime => NotRemoved::Cancelled,
        RefuseReason::MustStay { reason, holders } => {
            let cause = match (holders.first(), target) {
                (Some(holder), Some(image)) if holder.kind == HolderKind::Container => {
                    ConflictCause::Referenced {
                        container: holder.id.clone(),
                        image: image.clone(),
                    }
                }
                (Some(holder), _) => ConflictCause::Holder(holder.clone()),
                (None, _) => ConflictCause::Other(conflict_text(*reason).to_owned()),
            };
            NotRemoved::Conflict(Conflict {
                image: familiar_name(record),
                can_be_forced: true,
                cause,
            })
        }
    }
}

fn conflict_text(reason: KeepReason) -> &'static str {
    if reason == KeepReason::UsageUnknown {
        "whether it is in use now could not be seen"
    } else {
        reason.text()
    }
}
