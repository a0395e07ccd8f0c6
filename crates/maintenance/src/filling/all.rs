//! The forecast of each filesystem, as data.

use std::path::PathBuf;

use reclaim_model::{Filesystem, PolicyName, Room};
use reclaim_store::{Filesystems, Unmeasured};
use serde::{Deserialize, Serialize};

use super::{FillHistory, FillRate, FillTrend};
use crate::policy::Policy;

/// How full the filesystems of content and snapshots are, and when they will be full.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FillForecast {
    /// Each filesystem, by mount point.
    pub filesystems: Vec<FilesystemForecast>,
    /// Why the filesystem of the content cannot be measured, if it cannot.
    #[serde(default)]
    pub content_unmeasured: Option<String>,
    /// What else could not be measured, as messages for people.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// How full one filesystem is, and when it will be full.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilesystemForecast {
    /// Where it is mounted.
    pub mount_point: PathBuf,
    /// All of its bytes.
    pub total_bytes: u64,
    /// The bytes that any process may still take.
    pub left_bytes: u64,
    /// Whether it fills.
    pub trend: Trend,
    /// How fast it fills, between removals; `None` if it does not, or if that is unknown.
    pub bytes_per_day: Option<u64>,
    /// When nothing is left at this rate, in seconds.
    pub full_in_seconds: Option<u64>,
    /// When it reaches the high mark of each policy that has one for bytes, in the order of the policies.
    pub high_marks: Vec<HighMark>,
}

/// Whether a filesystem fills.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trend {
    /// There are too few measurements.
    Unknown,
    /// It does not fill.
    Steady,
    /// It fills.
    Growing,
}

/// When a filesystem reaches the high mark of a policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HighMark {
    /// The policy.
    pub policy: PolicyName,
    /// The bytes that are left at the mark.
    pub left_bytes: u64,
    /// When it is reached at this rate, in seconds; 0 if it is reached already, `None` if the filesystem
    /// does not fill.
    pub reached_in_seconds: Option<u64>,
}

impl FillForecast {
    /// Returns a forecast by what was measured now and before. Without a history every trend is unknown.
    pub fn new(found: &Filesystems, policies: &[Policy], history: Option<&FillHistory>) -> Self {
        let filesystems = found.seen.iter().map(|filesystem| {
            let samples = history.map(|it| it.samples(&filesystem.mount_point));
            let trend = FillTrend::of(&samples.unwrap_or_default());
            FilesystemForecast::new(filesystem, policies, trend)
        });
        let unmeasured = found.unmeasured.iter();
        let content = |it: &&Unmeasured| it.snapshotter.is_none();
        Self {
            filesystems: filesystems.collect(),
            content_unmeasured: unmeasured.clone().find(content).map(|it| it.why.clone()),
            warnings: unmeasured.map(Unmeasured::warning).collect(),
        }
    }
}

impl FilesystemForecast {
    fn new(filesystem: &Filesystem, policies: &[Policy], trend: FillTrend) -> Self {
        let Room { total, left } = filesystem.bytes;
        let rate = trend.rate();
        let time_until = |mark| rate.map(|rate| rate.time_until(left, mark).as_secs());
        let marks = policies.iter().filter_map(|policy| {
            let marks = policy.pressure.bytes?;
            let mark = marks.high().left_of(total);
            Some(HighMark {
                policy: policy.name().clone(),
                left_bytes: mark,
                reached_in_seconds: if left <= mark {
                    Some(0)
                } else {
                    time_until(mark)
                },
            })
        });
        Self {
            mount_point: filesystem.mount_point.clone(),
            total_bytes: total,
            left_bytes: left,
            trend: match trend {
                FillTrend::Unknown => Trend::Unknown,
                FillTrend::Steady => Trend::Steady,
                FillTrend::Growing(_) => Trend::Growing,
            },
            bytes_per_day: rate.map(FillRate::bytes_per_day),
            full_in_seconds: time_until(0),
            high_marks: marks.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use jiff::{SignedDuration, Timestamp};
    use reclaim_model::Watermarks;

    use super::*;
    use crate::filling::FillSample;
    use crate::policy::Pressure;

    const DAY: u64 = 24 * 60 * 60;

    #[test]
    fn each_high_mark_has_its_time() {
        let filesystem = Filesystem {
            mount_point: "/var".into(),
            block: 4096,
            bytes: Room {
                total: 1000,
                left: 250,
            },
            inodes: Room::default(),
            has_content: true,
            snapshotters: BTreeSet::new(),
        };
        let policy = |name: &str, marks: Option<(&str, &str)>| Policy {
            pressure: Pressure {
                bytes: marks.map(|(high, low)| {
                    Watermarks::new(high.parse().unwrap(), low.parse().unwrap()).unwrap()
                }),
                ..Pressure::default()
            },
            ..Policy::of_name(name.parse().unwrap())
        };
        let policies = [
            policy("early", Some(("70%", "60%"))),
            policy("late", Some(("50B", "60B"))),
            policy("nightly", None),
        ];
        // 10 bytes an hour.
        let samples: Vec<FillSample> = (0..20)
            .map(|hour| FillSample {
                at: Timestamp::UNIX_EPOCH + SignedDuration::from_hours(hour),
                total_bytes: 1000,
                left_bytes: 440 - 10 * hour.unsigned_abs(),
            })
            .collect();
        let forecast = FilesystemForecast::new(&filesystem, &policies, FillTrend::of(&samples));
        assert_eq!(
            (
                forecast.trend,
                forecast.bytes_per_day,
                forecast.full_in_seconds
            ),
            (Trend::Growing, Some(240), Some(25 * DAY / 24))
        );
        let marks = |forecast: &FilesystemForecast| -> Vec<_> {
            let marks = forecast.high_marks.iter();
            let marks = marks.map(|it| (it.left_bytes, it.reached_in_seconds));
            marks.collect()
        };
        let expected = [(300, Some(0)), (50, Some(20 * DAY / 24))];
        assert_eq!(marks(&forecast), expected);
        let unknown = FilesystemForecast::new(&filesystem, &policies, FillTrend::Unknown);
        assert_eq!(
            (unknown.trend, unknown.full_in_seconds),
            (Trend::Unknown, None)
        );
        assert_eq!(marks(&unknown), [(300, Some(0)), (50, None)]);
    }

    #[test]
    fn what_cannot_be_measured_is_named() {
        let unmeasured = |snapshotter: Option<&str>| Unmeasured {
            snapshotter: snapshotter.map(Into::into),
            why: "it hangs".to_owned(),
        };
        let found = Filesystems {
            seen: Vec::new(),
            unmeasured: vec![unmeasured(None), unmeasured(Some("stargz"))],
        };
        let forecast = FillForecast::new(&found, &[], None);
        assert_eq!(forecast.content_unmeasured.as_deref(), Some("it hangs"));
        assert_eq!(forecast.warnings.len(), 2);
    }
}
