//! Policies, as they are in effect.

use std::time::Duration;

use prost_types::Duration as DurationMessage;
use reclaim_maintenance::{Cron, Policy, Pressure, Schedule};
use reclaim_model::{BuildHistory, RuleFilters, Watermark, Watermarks};

use super::enums::known;
use super::{WireError, count, parsed, size};
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

impl TryFrom<proto::Policy> for Policy {
    type Error = WireError;

    fn try_from(message: proto::Policy) -> Result<Self, WireError> {
        let mut policy = Self::of_name(parsed("name", &message.name)?);
        let filters = RuleFilters::parse(&message.filters, message.all);
        let rule = &mut policy.rule;
        rule.filters = filters.map_err(|error| WireError::new("filters", error))?;
        rule.min_age = duration("min_age", message.min_age)?;
        rule.unused_for = duration("unused_for", message.unused_for)?;
        rule.keep_newest = count("keep_newest", message.keep_newest)?;
        rule.last_copies = message.last_copies;
        let namespaces = message.namespaces.iter();
        let namespaces = namespaces.map(|name| parsed("namespaces", name));
        policy.namespaces = namespaces.collect::<Result<_, _>>()?;
        let schedule = message.schedule;
        let schedule = schedule.ok_or_else(|| WireError::missing("schedule"))?;
        policy.schedule = schedule.try_into()?;
        policy.startup_delay = duration("startup_delay", message.startup_delay)?;
        policy.pressure = Pressure {
            bytes: message.bytes.map(TryInto::try_into).transpose()?,
            inodes: message.inodes.map(TryInto::try_into).transpose()?,
            max_used: message.max_used,
            reserved: message.reserved_bytes,
        };
        let max_unused = message.max_unused;
        policy.max_unused = max_unused
            .map(|time| duration("max_unused", Some(time)))
            .transpose()?;
        let max_images = message.max_images;
        policy.max_images = max_images
            .map(|number| count("max_images", number))
            .transpose()?;
        policy.max_bytes = message.max_bytes;
        policy.undo_window = duration("undo_window", message.undo_window)?;
        policy.max_deletes_per_second = message.max_deletes_per_second;
        let max_io_pressure = message.max_io_pressure.map(u8::try_from).transpose();
        policy.max_io_pressure =
            max_io_pressure.map_err(|error| WireError::new("max_io_pressure", error))?;
        policy.history = if message.unpin_build_history {
            BuildHistory::Unpin
        } else {
            BuildHistory::Keep
        };
        policy.mode = known::<proto::Mode, _>("mode", message.mode)?;
        Ok(policy)
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

impl TryFrom<proto::policy::Schedule> for Schedule {
    type Error = WireError;

    fn try_from(message: proto::policy::Schedule) -> Result<Self, WireError> {
        use proto::policy::Schedule as Message;
        Ok(match message {
            Message::OnDemand(_) => Self::OnDemand,
            Message::Interval(interval) => Self::Interval {
                every: duration("every", interval.every)?,
                jitter: duration("jitter", interval.jitter)?,
            },
            Message::Cron(cron) => {
                let cron = Cron::new(&cron.line, &cron.zone);
                Self::Cron(cron.map_err(|error| WireError::new("cron", error))?)
            }
        })
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

impl TryFrom<proto::Watermarks> for Watermarks {
    type Error = WireError;

    fn try_from(message: proto::Watermarks) -> Result<Self, WireError> {
        let mark = |field, message: Option<proto::Watermark>| {
            let mark = message.and_then(|it| it.mark);
            Ok(match mark.ok_or_else(|| WireError::missing(field))? {
                Mark::UsedPercent(percent) => {
                    let percent = u8::try_from(percent);
                    Watermark::Used(percent.map_err(|error| WireError::new(field, error))?)
                }
                Mark::Left(left) => Watermark::Left(left),
            })
        };
        let marks = Watermarks::new(mark("high", message.high)?, mark("low", message.low)?);
        marks.map_err(|error| WireError::new("marks", error))
    }
}

fn message(duration: Duration) -> Option<DurationMessage> {
    // No duration of a policy is longer than a message can say.
    duration.try_into().ok()
}

fn duration(field: &'static str, message: Option<DurationMessage>) -> Result<Duration, WireError> {
    let message = message.ok_or_else(|| WireError::missing(field))?;
    Duration::try_from(message).map_err(|error| WireError::new(field, error))
}
