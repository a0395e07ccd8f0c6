//! What policies did, and what they would do.

use reclaim_maintenance::{Breakdown, Excess, Measure, PolicyForecast, PolicyRun, ReleasedHold};
use reclaim_model::{Filesystem, Room};

use super::moment;
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
        let released = released
            .iter()
            .map(|ReleasedHold { namespace, run }| proto::ReleasedHold {
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

impl From<&PolicyForecast> for proto::PolicyForecast {
    fn from(forecast: &PolicyForecast) -> Self {
        let PolicyForecast {
            policy,
            schedule: _,
            rules: _,
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

impl From<&Breakdown> for proto::Breakdown {
    fn from(breakdown: &Breakdown) -> Self {
        Self {
            account: Some((&breakdown.usage).into()),
            other_bytes: breakdown.other_bytes,
        }
    }
}
