//! How full the filesystems would have been.

use std::collections::BTreeMap;
use std::path::PathBuf;

use jiff::Timestamp;
use reclaim_model::{Filesystem, PolicyName};
use serde::{Deserialize, Serialize};

use crate::policy::Policy;

/// How many points one filesystem has at most.
const MAX_POINTS: usize = 1000;

/// How full a filesystem would have been.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TriedFilesystem {
    /// Where it is mounted.
    pub mount_point: PathBuf,
    /// All of its bytes.
    pub total_bytes: u64,
    /// The marks of policies for bytes, in the order of the policies.
    pub marks: Vec<FillMark>,
    /// The points, oldest first.
    pub points: Vec<FillPoint>,
}

/// The marks of a policy, as bytes that are left at them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FillMark {
    /// The policy.
    pub policy: PolicyName,
    /// Below this a run begins.
    pub high_left_bytes: u64,
    /// At this a run ends.
    pub low_left_bytes: u64,
}

/// How full a filesystem was, and would have been, at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FillPoint {
    /// When, by the wall clock.
    pub at: Timestamp,
    /// The bytes that were left.
    pub recorded_left_bytes: u64,
    /// The bytes that would have been left after the runs of that moment.
    pub tried_left_bytes: u64,
}

/// The points of all filesystems.
#[derive(Debug, Default)]
pub(super) struct Filling {
    by_place: BTreeMap<PathBuf, (u64, Vec<FillPoint>)>,
}

impl Filling {
    /// Adds how full a filesystem was, and would have been.
    pub(super) fn add(&mut self, at: Timestamp, recorded: &Filesystem, tried: &Filesystem) {
        let place = self.by_place.entry(recorded.mount_point.clone());
        let (total, points) = place.or_default();
        *total = recorded.bytes.total;
        points.push(FillPoint {
            at,
            recorded_left_bytes: recorded.bytes.left,
            tried_left_bytes: tried.bytes.left,
        });
    }

    /// Returns the filesystems, with the marks of policies.
    pub(super) fn filesystems(self, policies: &[Policy]) -> Vec<TriedFilesystem> {
        let filesystems = self.by_place.into_iter();
        let filesystems = filesystems.map(|(mount_point, (total, points))| {
            let marks = policies.iter().filter_map(|policy| {
                let marks = policy.pressure.bytes?;
                Some(FillMark {
                    policy: policy.name().clone(),
                    high_left_bytes: marks.high().left_of(total),
                    low_left_bytes: marks.low().left_of(total),
                })
            });
            TriedFilesystem {
                mount_point,
                total_bytes: total,
                marks: marks.collect(),
                points: thinned(points),
            }
        });
        filesystems.collect()
    }
}

/// Returns at most so many points: of several that are next to each other, the one that was or would have
/// been fullest.
fn thinned(points: Vec<FillPoint>) -> Vec<FillPoint> {
    if points.len() <= MAX_POINTS {
        return points;
    }
    let group = points.len().div_ceil(MAX_POINTS);
    let fullest = |points: &[FillPoint]| {
        let left = |it: &&FillPoint| it.tried_left_bytes.min(it.recorded_left_bytes);
        points.iter().min_by_key(left).copied()
    };
    points.chunks(group).filter_map(fullest).collect()
}
