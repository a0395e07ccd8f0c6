//! What came of one run of a policy.

use std::fmt;

use jiff::Timestamp;
use reclaim_model::{
    Amount, Filesystem, Mode, Namespace, PolicyName, Report, RunId, UsageByColumn,
};
use serde::{Deserialize, Serialize};

use super::pressure::Excess;

/// Who wanted a policy to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// Its schedule.
    Schedule,
    /// Somebody who asked.
    Demand,
}

/// How a run of a policy ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// There was nothing to do: no pressure, or no image that may go.
    Nothing,
    /// It did what it is for.
    Done,
    /// A cap of the policy ended it; the rest is for the next time.
    Capped,
    /// Some removals failed, or a run could not be brought to its end.
    Partial,
    /// Everything that may go has gone, and the low mark is not reached.
    Unmet,
    /// Another run has the guard.
    Busy,
    /// It ended before it changed anything, or between two namespaces.
    Failed,
}

impl Outcome {
    /// All of them, in order.
    pub const ALL: [Self; 7] = [
        Self::Nothing,
        Self::Done,
        Self::Capped,
        Self::Partial,
        Self::Unmet,
        Self::Busy,
        Self::Failed,
    ];

    /// Returns the word for it, as in JSON and in metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Done => "done",
            Self::Capped => "capped",
            Self::Partial => "partial",
            Self::Unmet => "unmet",
            Self::Busy => "busy",
            Self::Failed => "failed",
        }
    }

    /// Whether the policy did what it is for.
    pub fn is_success(self) -> bool {
        matches!(self, Self::Nothing | Self::Done | Self::Capped)
    }
}

impl Trigger {
    /// Returns the word for it, as in JSON and in metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::Schedule => "schedule",
            Self::Demand => "demand",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.word())
    }
}

/// Where the bytes are that could not be freed.
#[derive(Debug, Clone, PartialEq)]
pub struct Breakdown {
    /// What containerd has, each byte once.
    pub account: UsageByColumn,
    /// What lies on the same filesystems and is not containerd's content or snapshots, in bytes.
    pub other_bytes: u64,
}

/// One run of a policy, from the first look to the last.
#[derive(Debug, Clone)]
pub struct PolicyRun {
    /// The policy.
    pub policy: PolicyName,
    /// Who wanted it.
    pub trigger: Trigger,
    /// Whether it was to change anything.
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
    /// What is still above its low mark, of that.
    pub missing: Vec<Excess>,
    /// Holds of earlier runs that were released for it.
    pub released: Vec<(Namespace, RunId)>,
    /// What was removed, namespace by namespace.
    pub reports: Vec<Report>,
    /// How it ended.
    pub outcome: Outcome,
    /// Why it failed or another had the guard.
    pub error: Option<String>,
    /// Where the rest is, if the low mark could not be reached.
    pub breakdown: Option<Breakdown>,
    /// What a person should know.
    pub warnings: Vec<String>,
}

impl PolicyRun {
    /// Returns a run that has begun and done nothing yet.
    pub fn begun(policy: PolicyName, trigger: Trigger, mode: Mode, began: Timestamp) -> Self {
        Self {
            policy,
            trigger,
            mode,
            began,
            ended: began,
            before: Vec::new(),
            after: Vec::new(),
            wanted: Vec::new(),
            missing: Vec::new(),
            released: Vec::new(),
            reports: Vec::new(),
            outcome: Outcome::Nothing,
            error: None,
            breakdown: None,
            warnings: Vec::new(),
        }
    }

    /// Whether to try again soon would come to the same: it could do nothing of what it is for.
    pub fn is_in_vain(&self) -> bool {
        let has_done_something = self.removed() > 0 || !self.released.is_empty();
        matches!(self.outcome, Outcome::Unmet | Outcome::Failed) && !has_done_something
    }

    /// Whether somebody only wanted to see what it would do: that is no reason to do it later.
    pub fn is_rehearsal(&self) -> bool {
        self.trigger == Trigger::Demand && self.mode == Mode::DryRun
    }

    /// Adds up what the namespaces' runs have freed; on a dry run what they would.
    pub fn freed(&self) -> Amount {
        let amounts = self.reports.iter().map(|report| match report.mode {
            Mode::DryRun => report.estimate.0,
            Mode::Apply => report.reclaimed.0,
        });
        amounts.fold(Amount::default(), |sum, it| sum + it)
    }

    /// Counts the records that were removed; on a dry run those that would be.
    pub fn removed(&self) -> usize {
        self.reports.iter().map(|report| report.removed.len()).sum()
    }
}
