//! Policies, what they would do, and their runs.

use std::time::Duration;

use prost_types::Duration as DurationMessage;
use reclaim_maintenance::{
    Breakdown, Excess, FilesystemRecord, Measure, NamespaceRun, Policy, PolicyForecast, PolicyRun,
    ReleasedHold, RunRecord, Schedule,
};
use reclaim_model::{Filesystem, InhibitScope, Inhibitor, PolicyPart, Room, Watermark, Watermarks};

use super::{moment, size};
use crate::grpc::proto;
use proto::excess::Of;
use proto::watermark::Mark;

impl From<&Policy> for proto::Policy {
    fn from(policy: &Policy) -> Self {
        let (rule, pressure) = (&policy.rule, &policy.pressure);
        Self {
            name: rule.name.to_string(),
            namespaces: policy.namespaces.iter().map(ToString::to_string).collect(),
            all: rule.filters.all(),
            filters: rule.filters.pairs(),
            schedule: Some((&policy.schedule).into()),
            startup_delay: message(policy.startup_delay),
            bytes: pressure.bytes.map(Into::into),
            inodes: pressure.inodes.map(Into::into),
            max_used: pressure.max_used,
            reserved_bytes: pressure.reserved,
            min_age: message(rule.min_age),
            unused_for: message(rule.unused_for),
            max_unused: policy.max_unused.and_then(message),
            keep_newest: size(rule.keep_newest),
            last_copies: rule.last_copies,
            max_images: policy.max_images.map(size),
            max_bytes: policy.max_bytes,
            undo_window: message(policy.undo_window),
            max_deletes_per_second: policy.max_deletes_per_second,
            max_io_pressure: policy.max_io_pressure.map(Into::into),
            unpin_build_history: policy.free.contains(&PolicyPart::BuildHistory),
            free: policy.free.iter().map(|part| part_number(*part)).collect(),
            docker_layers: policy.docker_layers,
            mode: proto::Mode::from(policy.mode).into(),
            ask_registry: policy.ask_registry,
        }
    }
}

impl From<&Schedule> for proto::policy::Schedule {
    fn from(schedule: &Schedule) -> Self {
        match schedule {
            Schedule::OnDemand => Self::OnDemand(proto::policy::OnDemand {}),
            Schedule::Interval { every, jitter } => Self::Interval(proto::policy::Interval {
                every: message(*every),
                jitter: message(*jitter),
            }),
            Schedule::Cron(cron) => Self::Cron(proto::policy::Cron {
                line: cron.line().to_owned(),
                zone: cron.zone().to_owned(),
            }),
        }
    }
}

impl From<Watermarks> for proto::Watermarks {
    fn from(marks: Watermarks) -> Self {
        let mark = |mark| proto::Watermark {
            mark: Some(match mark {
                Watermark::Used(percent) => Mark::UsedPercent(percent.into()),
                Watermark::Left(left) => Mark::Left(left),
            }),
        };
        Self {
            high: Some(mark(marks.high())),
            low: Some(mark(marks.low())),
        }
    }
}

fn part_number(part: PolicyPart) -> i32 {
    proto::PolicyPart::from(part).into()
}

fn message(duration: Duration) -> Option<DurationMessage> {
    // No duration of a policy is longer than a message can say.
    duration.try_into().ok()
}

impl From<&PolicyRun> for proto::PolicyRun {
    fn from(run: &PolicyRun) -> Self {
        let PolicyRun {
            policy,
            trigger,
            caller,
            mode,
            began,
            ended,
            before,
            after,
            wanted,
            missing,
            not_yet_visible,
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
            caller: caller.as_ref().map(Into::into),
            mode: proto::Mode::from(*mode).into(),
            began: Some(moment(*began)),
            ended: Some(moment(*ended)),
            before: before.iter().map(Into::into).collect(),
            after: after.iter().map(Into::into).collect(),
            wanted: wanted.iter().map(Into::into).collect(),
            missing: missing.iter().map(Into::into).collect(),
            not_yet_visible: not_yet_visible.iter().map(Into::into).collect(),
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
            not_yet_visible,
            namespaces,
            inhibitors,
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
            not_yet_visible: not_yet_visible.iter().map(Into::into).collect(),
            namespaces: namespaces.collect(),
            inhibitors: inhibitors.iter().map(Into::into).collect(),
            warnings: warnings.clone(),
        }
    }
}

impl From<&Inhibitor> for proto::Inhibitor {
    fn from(inhibitor: &Inhibitor) -> Self {
        let Inhibitor {
            what,
            command,
            pid,
            uid,
            why,
            since,
            until,
            namespace,
            lease,
        } = inhibitor;
        Self {
            all: *what == InhibitScope::All,
            command: command.clone(),
            pid: *pid,
            uid: *uid,
            why: why.clone(),
            since: since.map(moment),
            until: until.map(moment),
            namespace: namespace.to_string(),
            lease: lease.clone(),
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

impl From<&RunRecord> for proto::RunRecord {
    fn from(record: &RunRecord) -> Self {
        let RunRecord {
            version,
            policy,
            trigger,
            caller,
            dry_run,
            outcome,
            began,
            ended,
            filesystems,
            wanted,
            missing,
            not_yet_visible,
            released,
            runs,
            error,
        } = record;
        Self {
            version: *version,
            policy: policy.clone(),
            trigger: proto::Trigger::from(*trigger).into(),
            caller: caller.as_ref().map(Into::into),
            dry_run: *dry_run,
            outcome: proto::Outcome::from(*outcome).into(),
            began: Some(moment(*began)),
            ended: Some(moment(*ended)),
            filesystems: filesystems.iter().map(Into::into).collect(),
            wanted: wanted.clone(),
            missing: missing.clone(),
            not_yet_visible: not_yet_visible.iter().map(Into::into).collect(),
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
            images,
            part,
            slimmed,
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
            images: images.iter().map(Into::into).collect(),
            part: part.map_or(0, part_number),
            slimmed: size(*slimmed),
        }
    }
}
