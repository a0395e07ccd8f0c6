//! One run of a policy, and its outcome.

use std::fmt;

use jiff::Timestamp;
use reclaim_model::{
    Amount, Caller, Filesystem, Mode, Namespace, PolicyName, Report, RunId, UsageByColumn, form,
};
use serde::{Deserialize, Serialize};

use crate::pressure::{Excess, outstanding};

/// Why a policy ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// It was due by its schedule.
    Schedule,
    /// It was requested.
    Demand,
}

/// How a run of a policy ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PolicyOutcome {
    /// There was nothing to do: no pressure, or nothing that the policy may free.
    Nothing,
    /// It freed what it had to; some of it may not be visible yet.
    Done,
    /// A cap of the policy ended it; the next run continues.
    Capped,
    /// Some removals failed, or the run was stopped.
    Partial,
    /// Everything that the policy may free is freed, and the low mark is not reached.
    Unmet,
    /// Another run holds the guard.
    Busy,
    /// It ended before it changed anything, or between two namespaces.
    Failed,
    /// A command forbids it: `reclaim inhibit`.
    Inhibited,
}

impl PolicyOutcome {
    /// All of them, in order.
    pub const ALL: [Self; 8] = [
        Self::Nothing,
        Self::Done,
        Self::Capped,
        Self::Partial,
        Self::Unmet,
        Self::Busy,
        Self::Failed,
        Self::Inhibited,
    ];

    /// Returns its name in JSON and in metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Done => "done",
            Self::Capped => "capped",
            Self::Partial => "partial",
            Self::Unmet => "unmet",
            Self::Busy => "busy",
            Self::Failed => "failed",
            Self::Inhibited => "inhibited",
        }
    }

    /// Whether the policy reached what it is for, or a cap.
    pub fn is_success(self) -> bool {
        matches!(self, Self::Nothing | Self::Done | Self::Capped)
    }
}

impl Trigger {
    /// Returns its name in JSON and in metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::Schedule => "schedule",
            Self::Demand => "demand",
        }
    }
}

impl fmt::Display for PolicyOutcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.word())
    }
}

/// What occupies the filesystems after a run that could not free enough.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Breakdown {
    /// The disk usage of containerd, each byte counted once.
    #[serde(flatten)]
    pub usage: UsageByColumn,
    /// What else is on the same filesystems, in bytes.
    pub other_bytes: u64,
}

/// One run of a policy.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PolicyRun {
    /// The policy.
    pub policy: PolicyName,
    /// Why it ran.
    pub trigger: Trigger,
    /// Who wanted it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller: Option<Caller>,
    /// Whether it was a dry run.
    #[serde(rename = "dry_run", with = "form::dry_run")]
    pub mode: Mode,
    /// When it began.
    pub began: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// The filesystems before.
    pub before: Vec<Filesystem>,
    /// The filesystems afterwards.
    pub after: Vec<Filesystem>,
    /// What was above its high mark, and by how much above the low one.
    pub wanted: Vec<Excess>,
    /// What of that is still above its low mark.
    pub missing: Vec<Excess>,
    /// Bytes that were freed and that the filesystems do not show yet.
    #[serde(default)]
    pub not_yet_visible: Vec<Excess>,
    /// Holds of earlier runs that it released.
    #[serde(flatten, with = "released")]
    pub released: Vec<ReleasedHold>,
    /// The reports of its steps: what it freed first in all namespaces, and so on.
    pub reports: Vec<Report>,
    /// How it ended.
    pub outcome: PolicyOutcome,
    /// Why it failed, who held the guard, or which command inhibits it.
    pub error: Option<String>,
    /// What occupies the filesystems, if the low mark could not be reached.
    pub breakdown: Option<Breakdown>,
    /// Warnings for the operator.
    pub warnings: Vec<String>,
}

/// A hold of an earlier run that a policy released, to make room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleasedHold {
    /// The namespace of the run.
    pub namespace: Namespace,
    /// The run.
    pub run: RunId,
}

/// Released holds by the IDs of their runs (`released`) and in full (`released_holds`).
mod released {
    use reclaim_model::RunId;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::ReleasedHold;

    #[derive(Serialize)]
    struct Written<'h> {
        released: Vec<&'h RunId>,
        released_holds: &'h [ReleasedHold],
    }

    #[derive(Deserialize)]
    struct Read {
        released_holds: Vec<ReleasedHold>,
    }

    pub(super) fn serialize<S: Serializer>(
        holds: &[ReleasedHold],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let written = Written {
            released: holds.iter().map(|hold| &hold.run).collect(),
            released_holds: holds,
        };
        written.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<ReleasedHold>, D::Error> {
        Ok(Read::deserialize(deserializer)?.released_holds)
    }
}

impl PolicyRun {
    /// Returns what is still to be freed, apart from what is on its way.
    pub fn outstanding(&self) -> Vec<Excess> {
        outstanding(&self.missing, &self.not_yet_visible)
    }

    /// Returns a run that begins at this moment.
    pub fn begun(policy: PolicyName, trigger: Trigger, mode: Mode, began: Timestamp) -> Self {
        Self {
            policy,
            trigger,
            caller: None,
            mode,
            began,
            ended: began,
            before: Vec::new(),
            after: Vec::new(),
            wanted: Vec::new(),
            missing: Vec::new(),
            not_yet_visible: Vec::new(),
            released: Vec::new(),
            reports: Vec::new(),
            outcome: PolicyOutcome::Nothing,
            error: None,
            breakdown: None,
            warnings: Vec::new(),
        }
    }

    /// Whether it reached nothing of what it is for, so that another run soon would not either.
    pub fn is_unsuccessful(&self) -> bool {
        let has_done_something = self.has_changes() || !self.released.is_empty();
        matches!(self.outcome, PolicyOutcome::Unmet | PolicyOutcome::Failed) && !has_done_something
    }

    /// Whether it was a requested dry run, which does not postpone the next scheduled run.
    pub fn is_rehearsal(&self) -> bool {
        self.trigger == Trigger::Demand && self.mode == Mode::DryRun
    }

    /// Adds up what its prunes freed; for a dry run, what they would free.
    pub fn freed(&self) -> Amount {
        let amounts = self.reports.iter().map(|report| match report.mode {
            Mode::DryRun => report.estimate.0,
            Mode::Apply => report.reclaimed.0,
        });
        amounts.fold(Amount::default(), |sum, it| sum + it)
    }

    /// Whether it removed images, or parts of them; of a dry run whether it would.
    pub fn has_changes(&self) -> bool {
        self.reports.iter().any(Report::has_changes)
    }

    /// Counts the images that lost parts, once for each part; of a dry run those that would.
    pub fn slimmed(&self) -> usize {
        self.reports.iter().map(|report| report.slimmed.len()).sum()
    }

    /// Counts the removed records; for a dry run, those it would remove.
    pub fn removed(&self) -> usize {
        self.reports.iter().map(|report| report.removed.len()).sum()
    }
}
