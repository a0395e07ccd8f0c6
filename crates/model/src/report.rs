//! The report of a run: what it removed, kept, refused and freed, and what failed.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    Cut, Digest, Estimate, Freed, Holder, KeepReason, Kept, Left, Mode, Named, Namespace,
    NotCounted, PolicyName, PolicyPart, Reclaimed, RemoveReason, ResolvedTarget, Slimmed,
    Unrecorded, form,
};

/// Identifies one run in the report, the log and the leases.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(pub String);

impl fmt::Display for RunId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The report of one prune.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[must_use = "an unread report is not actionable"]
pub struct Report {
    /// Which run.
    pub run: RunId,
    /// Where.
    pub namespace: Namespace,
    /// Whether anything was to be changed.
    #[serde(rename = "dry_run", with = "form::dry_run")]
    pub mode: Mode,
    /// Records that were removed; on a dry run those that would be.
    pub removed: Vec<Removed>,
    /// Records that stay by the plan.
    pub kept: Vec<Kept>,
    /// Records that were planned to go, and stay because the store changed.
    pub refused: Vec<Refused>,
    /// Records that were planned to go, and could not be removed.
    pub failed: Vec<Failed>,
    /// What the plan frees, for all that could be seen.
    pub estimate: Estimate,
    /// What the plan frees at least, whatever an unreadable part of the store holds.
    pub estimate_at_least: Estimate,
    /// What the estimate does not count: garbage already, and what others keep.
    #[serde(flatten)]
    pub not_counted: NotCounted,
    /// What was gone when the store was listed again.
    pub reclaimed: Reclaimed,
    /// The blobs and snapshots that are gone; on a dry run those that would go.
    #[serde(flatten)]
    pub freed: Freed,
    /// What was planned to go and is still there after the collection, sorted.
    pub left: Vec<Left>,
    /// Directories that stay on the disk although their snapshots are gone. Their space is not
    /// reclaimed.
    pub stranded: Vec<Unrecorded>,
    /// Records that stay and whose images lost parts; on a dry run those that would.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub slimmed: Vec<Slimmed>,
    /// References that blobs lost, sorted; on a dry run those that they would lose.
    #[serde(flatten, with = "form::cuts")]
    pub cuts: Vec<Cut>,
    /// The rows of Docker's prune report, in Docker's order.
    pub rows: Vec<Row>,
    /// Where images were named, the result of each name; on a dry run what it would be.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub named: Vec<Named>,
    /// What a person should know.
    pub warnings: Vec<String>,
    /// What it had to free, if the request has a target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_free: Option<ResolvedTarget>,
    /// How removals made sure that a record was still the planned one; `None` without removals.
    pub guard: Option<DeleteGuard>,
    /// When the undo window ends; `None` if everything was freed at once.
    pub held_until: Option<Timestamp>,
    /// Why the run could not collect or look again after its removals; the store is sound, but
    /// what is freed is unknown.
    pub unfinished: Option<String>,
    /// The policy that it was for, if a policy wanted it.
    pub policy: Option<PolicyName>,
    /// What that policy freed in this run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<PolicyPart>,
    /// How long it took, the waiting for its guard included. Not in JSON, so that equal runs have
    /// equal reports; the history and metrics have it.
    #[serde(skip)]
    pub took: Duration,
    /// The bytes of the content of removed images, by target. Other images may share it. Not in JSON:
    /// the audit has it.
    #[serde(skip)]
    pub content_bytes: BTreeMap<Digest, u64>,
    /// How long containerd's collection took; `None` without one. Not in JSON either.
    #[serde(skip)]
    pub collection: Option<Duration>,
}

impl Report {
    /// Returns the report of a run that has found and done nothing yet.
    pub fn new(run: RunId, namespace: Namespace, mode: Mode) -> Self {
        Self {
            run,
            namespace,
            mode,
            removed: Vec::new(),
            kept: Vec::new(),
            refused: Vec::new(),
            failed: Vec::new(),
            estimate: Estimate::default(),
            estimate_at_least: Estimate::default(),
            not_counted: NotCounted::default(),
            reclaimed: Reclaimed::default(),
            freed: Freed::default(),
            left: Vec::new(),
            stranded: Vec::new(),
            slimmed: Vec::new(),
            cuts: Vec::new(),
            rows: Vec::new(),
            named: Vec::new(),
            warnings: Vec::new(),
            target_free: None,
            guard: None,
            held_until: None,
            unfinished: None,
            policy: None,
            part: None,
            took: Duration::ZERO,
            content_bytes: BTreeMap::new(),
            collection: None,
        }
    }

    /// Whether it removed anything: images, or parts of them; on a dry run whether it would.
    pub fn has_changes(&self) -> bool {
        !self.removed.is_empty() || !self.cuts.is_empty()
    }

    /// Whether something of what was to be done was not: a removal failed, the run could not be
    /// brought to its end, or directories stay on the disk.
    pub fn is_partial(&self) -> bool {
        !self.failed.is_empty() || self.unfinished.is_some() || !self.stranded.is_empty()
    }
}

/// How a removal makes sure that the record is still the planned one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeleteGuard {
    /// The server compares the target in the same transaction (containerd 2.0 and newer).
    Server,
    /// The record is read just before; a tag that moves in between is lost.
    ReadFirst,
}

/// A record that was removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removed {
    /// Its name.
    pub name: String,
    /// What it pointed at.
    pub target: Digest,
    /// Why.
    pub reason: RemoveReason,
}

/// A removal that was not made because the store had moved on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// The record's name.
    pub name: String,
    /// Why.
    #[serde(flatten, with = "form::cause")]
    pub reason: RefuseReason,
}

/// Why a step was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefuseReason {
    /// The name points at a target that was not evaluated.
    TargetMoved,
    /// Another process removed the record first.
    AlreadyGone,
    /// By a second look it has to stay.
    MustStay {
        /// Why it is kept.
        reason: KeepReason,
        /// What uses it.
        holders: Vec<Holder>,
    },
    /// Parts of it were to be freed, and came into use or changed.
    PartsStay,
    /// The run was stopped first.
    Cancelled,
    /// The run took so long that its hold would have expired.
    OutOfTime,
}

impl fmt::Display for RefuseReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TargetMoved => formatter.write_str("the name now points to a different image"),
            Self::AlreadyGone => formatter.write_str("another process removed it"),
            Self::MustStay { reason, holders } => {
                write!(formatter, "{} now", reason.text())?;
                holders
                    .iter()
                    .try_for_each(|holder| write!(formatter, ", {holder}"))
            }
            Self::PartsStay => formatter.write_str("its parts came into use or changed"),
            Self::Cancelled => formatter.write_str("the run was stopped first"),
            Self::OutOfTime => formatter.write_str("the run took too long"),
        }
    }
}

/// A removal that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// The record's name.
    pub name: String,
    /// The error with its causes.
    pub error: String,
}

/// One row of Docker's prune report.
///
/// Source: Docker Engine API, `ImageDeleteResponseItem`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Row {
    /// A record went; its familiar name, or its digest if it was dangling.
    Untagged(String),
    /// A blob of an image is gone.
    Deleted(Digest),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::HolderKind;

    #[test]
    fn a_failure_an_end_too_early_or_directories_left_make_a_report_partial() {
        let namespace: Namespace = "default".parse().unwrap();
        let report = || Report::new(RunId("r".to_owned()), namespace.clone(), Mode::Apply);
        assert!(!report().is_partial());
        let failed = Failed {
            name: "app:1".to_owned(),
            error: "unavailable".to_owned(),
        };
        let stranded = Unrecorded {
            snapshotter: "overlayfs".into(),
            directories: 1,
            bytes: 4096,
            is_exact: true,
            places: Vec::new(),
        };
        for partial in [
            Report {
                failed: vec![failed],
                ..report()
            },
            Report {
                unfinished: Some("containerd does not answer".to_owned()),
                ..report()
            },
            Report {
                stranded: vec![stranded],
                ..report()
            },
        ] {
            assert!(partial.is_partial(), "{partial:?}");
        }
    }

    #[test]
    fn says_why_a_step_was_refused() {
        let web = Holder::new(HolderKind::Container, "web");
        for (reason, words) in [
            (
                RefuseReason::TargetMoved,
                "the name now points to a different image",
            ),
            (RefuseReason::AlreadyGone, "another process removed it"),
            (
                RefuseReason::MustStay {
                    reason: KeepReason::InUse,
                    holders: vec![web],
                },
                "in use now, container web",
            ),
            (
                RefuseReason::MustStay {
                    reason: KeepReason::Pinned,
                    holders: Vec::new(),
                },
                "pinned now",
            ),
            (RefuseReason::Cancelled, "the run was stopped first"),
            (RefuseReason::OutOfTime, "the run took too long"),
        ] {
            assert_eq!(reason.to_string(), words);
        }
        assert_eq!(RunId("0192".to_owned()).to_string(), "0192");
    }
}
