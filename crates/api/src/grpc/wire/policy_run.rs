//! What policies did, and what they would do.

use reclaim_maintenance::{
    Breakdown, Excess, Measure, NamespaceForecast, PolicyForecast, PolicyRun,
};
use reclaim_model::{Filesystem, Namespace, Room, RunId};

use super::enums::known;
use super::{WireError, list, moment, parsed, some_timestamp};
use crate::grpc::proto;
use proto::excess::Of;

impl From<&PolicyRun> for proto::PolicyRun {
    fn from(run: &PolicyRun) -> Self {
        let PolicyRun {
            policy,
            trigger,
            mode,
            began,
            ended,
            before,
            after,
            wanted,
            missing,
            released,
            reports,
            outcome,
            error,
            breakdown,
            warnings,
        } = run;
        let released = released.iter().map(|(namespace, run)| proto::ReleasedHold {
            namespace: namespace.to_string(),
            run: run.to_string(),
        });
        Self {
            policy: policy.to_string(),
            trigger: proto::Trigger::from(*trigger).into(),
            mode: proto::Mode::from(*mode).into(),
            began: Some(moment(*began)),
            ended: Some(moment(*ended)),
            before: before.iter().map(Into::into).collect(),
            after: after.iter().map(Into::into).collect(),
            wanted: wanted.iter().map(Into::into).collect(),
            missing: missing.iter().map(Into::into).collect(),
            released: released.collect(),
            reports: reports.iter().map(Into::into).collect(),
            outcome: proto::Outcome::from(*outcome).into(),
            error: error.clone(),
            breakdown: breakdown.as_ref().map(Into::into),
            warnings: warnings.clone(),
        }
    }
}

impl TryFrom<proto::PolicyRun> for PolicyRun {
    type Error = WireError;

    fn try_from(message: proto::PolicyRun) -> Result<Self, WireError> {
        let released = message.released.into_iter().map(|hold| {
            let namespace: Namespace = parsed("namespace", &hold.namespace)?;
            Ok((namespace, RunId(hold.run)))
        });
        Ok(Self {
            policy: parsed("policy", &message.policy)?,
            trigger: known::<proto::Trigger, _>("trigger", message.trigger)?,
            mode: known::<proto::Mode, _>("mode", message.mode)?,
            began: some_timestamp("began", message.began)?,
            ended: some_timestamp("ended", message.ended)?,
            before: list(message.before)?,
            after: list(message.after)?,
            wanted: list(message.wanted)?,
            missing: list(message.missing)?,
            released: released.collect::<Result<_, WireError>>()?,
            reports: list(message.reports)?,
            outcome: known::<proto::Outcome, _>("outcome", message.outcome)?,
            error: message.error,
            breakdown: message.breakdown.map(TryInto::try_into).transpose()?,
            warnings: message.warnings,
        })
    }
}

impl From<&PolicyForecast> for proto::PolicyForecast {
    fn from(forecast: &PolicyForecast) -> Self {
        let PolicyForecast {
            policy,
            filesystems,
            wanted,
            namespaces,
            warnings,
        } = forecast;
        let namespaces = namespaces.iter().map(|it| proto::NamespaceForecast {
            now: Some((&it.now).into()),
            at_most: Some((&it.at_most).into()),
        });
        Self {
            policy: policy.to_string(),
            filesystems: filesystems.iter().map(Into::into).collect(),
            wanted: wanted.iter().map(Into::into).collect(),
            namespaces: namespaces.collect(),
            warnings: warnings.clone(),
        }
    }
}

impl TryFrom<proto::PolicyForecast> for PolicyForecast {
    type Error = WireError;

    fn try_from(message: proto::PolicyForecast) -> Result<Self, WireError> {
        Ok(Self {
            policy: parsed("policy", &message.policy)?,
            filesystems: list(message.filesystems)?,
            wanted: list(message.wanted)?,
            namespaces: list(message.namespaces)?,
            warnings: message.warnings,
        })
    }
}

impl TryFrom<proto::NamespaceForecast> for NamespaceForecast {
    type Error = WireError;

    fn try_from(message: proto::NamespaceForecast) -> Result<Self, WireError> {
        let now = message.now.ok_or_else(|| WireError::missing("now"))?;
        let at_most = message.at_most;
        let at_most = at_most.ok_or_else(|| WireError::missing("at_most"))?;
        Ok(Self {
            now: now.try_into()?,
            at_most: at_most.try_into()?,
        })
    }
}

impl From<&Filesystem> for proto::Filesystem {
    fn from(filesystem: &Filesystem) -> Self {
        let Filesystem {
            mount_point,
            block,
            bytes,
            inodes,
            has_content,
            snapshotters,
        } = filesystem;
        let room = |room: &Room| {
            Some(proto::Room {
                total: room.total,
                left: room.left,
            })
        };
        Self {
            mount_point: mount_point.display().to_string(),
            block: *block,
            bytes: room(bytes),
            inodes: room(inodes),
            has_content: *has_content,
            snapshotters: snapshotters.iter().map(ToString::to_string).collect(),
        }
    }
}

impl TryFrom<proto::Filesystem> for Filesystem {
    type Error = WireError;

    fn try_from(message: proto::Filesystem) -> Result<Self, WireError> {
        let room = |field, room: Option<proto::Room>| {
            let proto::Room { total, left } = room.ok_or_else(|| WireError::missing(field))?;
            Ok(Room { total, left })
        };
        let snapshotters = message.snapshotters.iter();
        Ok(Self {
            mount_point: message.mount_point.into(),
            block: message.block,
            bytes: room("bytes", message.bytes)?,
            inodes: room("inodes", message.inodes)?,
            has_content: message.has_content,
            snapshotters: snapshotters.map(|it| it.as_str().into()).collect(),
        })
    }
}

impl From<&Excess> for proto::Excess {
    fn from(excess: &Excess) -> Self {
        let Excess { of, amount } = excess;
        Self {
            of: Some(match of {
                Measure::Bytes(place) => Of::Bytes(place.display().to_string()),
                Measure::Inodes(place) => Of::Inodes(place.display().to_string()),
                Measure::Occupied => Of::Occupied(proto::excess::Occupied {}),
            }),
            amount: *amount,
        }
    }
}

impl TryFrom<proto::Excess> for Excess {
    type Error = WireError;

    fn try_from(message: proto::Excess) -> Result<Self, WireError> {
        Ok(Self {
            of: match message.of.ok_or_else(|| WireError::missing("of"))? {
                Of::Bytes(place) => Measure::Bytes(place.into()),
                Of::Inodes(place) => Measure::Inodes(place.into()),
                Of::Occupied(_) => Measure::Occupied,
            },
            amount: message.amount,
        })
    }
}

impl From<&Breakdown> for proto::Breakdown {
    fn from(breakdown: &Breakdown) -> Self {
        Self {
            account: Some((&breakdown.account).into()),
            other_bytes: breakdown.other_bytes,
        }
    }
}

impl TryFrom<proto::Breakdown> for Breakdown {
    type Error = WireError;

    fn try_from(message: proto::Breakdown) -> Result<Self, WireError> {
        let account = message.account;
        let account = account.ok_or_else(|| WireError::missing("account"))?;
        Ok(Self {
            account: account.try_into()?,
            other_bytes: message.other_bytes,
        })
    }
}
