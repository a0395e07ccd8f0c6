//! The recorded form of a policy run: a line of JSON.

use std::path::PathBuf;

use jiff::Timestamp;
use reclaim_model::{Caller, Filesystem, Mode, PolicyPart, Removed, Room};
use serde::{Deserialize, Serialize};

use crate::policy_run::{PolicyOutcome, PolicyRun, Trigger};
use crate::pressure::Excess;

/// The version of the lines.
pub(super) const VERSION: u32 = 1;

/// How many images of a prune are recorded with a policy run.
const MAX_IMAGES: usize = 20;

/// A recorded policy run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunRecord {
    /// The version of its form.
    pub version: u32,
    /// The policy.
    pub policy: String,
    /// Why it ran.
    pub trigger: Trigger,
    /// Who wanted it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller: Option<Caller>,
    /// Whether it was a dry run.
    pub dry_run: bool,
    /// How it ended.
    pub outcome: PolicyOutcome,
    /// When it began.
    pub began: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// The filesystems before and after.
    pub filesystems: Vec<FilesystemRecord>,
    /// What was above its high mark, as text.
    pub wanted: Vec<String>,
    /// What is still above its low mark, as text.
    pub missing: Vec<String>,
    /// What was freed and not visible yet at the end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_yet_visible: Vec<Excess>,
    /// Earlier runs whose holds it released.
    pub released: Vec<String>,
    /// Its steps, one for each part in each namespace.
    pub runs: Vec<NamespaceRun>,
    /// Why it failed.
    pub error: Option<String>,
}

/// A filesystem before and after a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FilesystemRecord {
    /// Where it is mounted.
    pub mount_point: PathBuf,
    /// Its size in bytes.
    pub total_bytes: u64,
    /// Free bytes before.
    pub left_bytes_before: u64,
    /// Free bytes after.
    pub left_bytes_after: u64,
    /// Free inodes before.
    pub left_inodes_before: u64,
    /// Free inodes after.
    pub left_inodes_after: u64,
}

/// A step of a policy run: one part in one namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamespaceRun {
    /// The namespace.
    pub namespace: String,
    /// The run's ID.
    pub run: String,
    /// Records that were removed.
    pub removed: usize,
    /// Records that were kept.
    pub kept: usize,
    /// Records whose removal was refused.
    pub refused: usize,
    /// Records that could not be removed.
    pub failed: usize,
    /// The estimate, in bytes.
    pub estimate_bytes: u64,
    /// What was freed, in bytes.
    pub reclaimed_bytes: u64,
    /// Until when the removed images can be restored.
    pub held_until: Option<Timestamp>,
    /// The first of the removed images; `reclaim history --all` has all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<Removed>,
    /// What was freed; `None` in lines of earlier versions, which freed images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<PolicyPart>,
    /// Records that stayed and whose images lost the part.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub slimmed: usize,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

impl PolicyRun {
    /// Returns the record of the run; `None` if it had nothing to do: such runs would soon fill the
    /// history.
    pub fn record(&self) -> Option<RunRecord> {
        let is_empty = self.outcome == PolicyOutcome::Nothing && self.reports.is_empty();
        (!is_empty).then(|| RunRecord::of(self))
    }
}

impl RunRecord {
    pub(crate) fn of(run: &PolicyRun) -> Self {
        let texts = |excesses: &[Excess]| excesses.iter().map(ToString::to_string).collect();
        let filesystems = run.before.iter().map(|before| {
            let mut after = run.after.iter();
            let after = after.find(|it| it.mount_point == before.mount_point);
            FilesystemRecord::of(before, after.unwrap_or(before))
        });
        let runs = run.reports.iter().map(|report| NamespaceRun {
            namespace: report.namespace.to_string(),
            run: report.run.to_string(),
            removed: report.removed.len(),
            kept: report.kept.len(),
            refused: report.refused.len(),
            failed: report.failed.len(),
            estimate_bytes: report.estimate.0.total_bytes(),
            reclaimed_bytes: report.reclaimed.0.total_bytes(),
            held_until: report.held_until,
            images: report.removed.iter().take(MAX_IMAGES).cloned().collect(),
            part: report.part,
            slimmed: report.slimmed.len(),
        });
        Self {
            version: VERSION,
            policy: run.policy.to_string(),
            trigger: run.trigger,
            caller: run.caller.clone(),
            dry_run: run.mode == Mode::DryRun,
            outcome: run.outcome,
            began: run.began,
            ended: run.ended,
            filesystems: filesystems.collect(),
            wanted: texts(&run.wanted),
            missing: texts(&run.missing),
            not_yet_visible: run.not_yet_visible.clone(),
            released: run
                .released
                .iter()
                .map(|hold| hold.run.to_string())
                .collect(),
            runs: runs.collect(),
            error: run.error.clone(),
        }
    }
}

impl FilesystemRecord {
    fn of(before: &Filesystem, after: &Filesystem) -> Self {
        let left = |room: Room| room.left;
        Self {
            mount_point: before.mount_point.clone(),
            total_bytes: before.bytes.total,
            left_bytes_before: left(before.bytes),
            left_bytes_after: left(after.bytes),
            left_inodes_before: left(before.inodes),
            left_inodes_after: left(after.inodes),
        }
    }
}
