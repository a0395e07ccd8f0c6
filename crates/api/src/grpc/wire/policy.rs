//! Policies, as they are in effect.

use std::time::Duration;

use prost_types::Duration as DurationMessage;
use reclaim_maintenance::{Policy, Schedule};
use reclaim_model::{BuildHistory, Watermark, Watermarks};

use super::size;
use crate::grpc::proto;
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
            unpin_build_history: policy.history == BuildHistory::Unpin,
            mode: proto::Mode::from(policy.mode).into(),
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

fn message(duration: Duration) -> Option<DurationMessage> {
    // No duration of a policy is longer than a message can say.
    duration.try_into().ok()
}
