//! A policy at one moment: what is known about last use, and how much is to be freed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::{
    Digest, ImageParts, PolicyPart, PruneFilters, RegistryAnswers, Rule, SnapshotSizes, Snapshotter,
};

/// What is known about the use of one target. Its times only compare with each other and with
/// [`LastUses::now`]: they count time that passed, whatever the wall clock showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastUse {
    /// When it was seen for the first time.
    pub first_seen: Timestamp,
    /// When it was last used, as far as observed.
    pub last_used: Timestamp,
    /// When a check found it unused for the first time since its last use.
    pub unused_since: Option<Timestamp>,
    /// Until when it stays because it was pulled again after a removal.
    pub spared_until: Option<Timestamp>,
}

/// What is known about the use of a namespace's targets. A target that is missing counts as used
/// now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LastUses {
    /// The present time, on the clock of the uses.
    pub now: Timestamp,
    /// The uses.
    pub targets: BTreeMap<Digest, LastUse>,
}

impl LastUses {
    /// Returns when a target was last used, by the clock that shows `now` at [`Self::now`]; `None` if
    /// nothing is known about it.
    pub fn last_used_before(&self, target: &Digest, now: Timestamp) -> Option<Timestamp> {
        let seen = self.targets.get(target)?;
        let unused = self.now.duration_since(seen.last_used);
        Some(now.checked_sub(unused).unwrap_or(Timestamp::MIN))
    }
}

/// What is counted on a filesystem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum GoalUnit {
    /// Bytes, in whole blocks.
    Bytes {
        /// The filesystem's block size.
        block: u64,
    },
    /// Inodes.
    Inodes,
}

/// How much is to be freed on one filesystem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Goal {
    /// What is counted.
    pub unit: GoalUnit,
    /// How much of it.
    pub amount: u64,
    /// Whether the filesystem holds content.
    pub has_content: bool,
    /// The snapshotters whose snapshots count; `None` is all of them.
    pub snapshotters: Option<BTreeSet<Snapshotter>>,
}

/// The images that a policy may remove, at one moment.
#[derive(Debug, Clone)]
pub struct RuleImages {
    /// The rule.
    pub rule: Rule,
    /// Docker's filters of the rule at this moment.
    pub filters: PruneFilters,
    /// What is known about last use.
    pub uses: Arc<LastUses>,
    /// What registries answered about images that would stay as last copies. Without an answer
    /// such an image stays.
    pub registries: Arc<RegistryAnswers>,
    /// Whether whole images go, or which part of them.
    pub part: PolicyPart,
    /// As [`ImageParts::docker_layers`].
    pub docker_layers: bool,
    /// What is to be freed. The least recently used go first, until every goal is met. `None` frees
    /// everything that may go; an empty list only what is unused for too long.
    pub goals: Option<Vec<Goal>>,
    /// Images that are unused for this long go regardless of the goals.
    pub max_unused: Option<Duration>,
    /// The maximum number of images to remove.
    pub max_images: Option<usize>,
    /// The maximum bytes to free.
    pub max_bytes: Option<u64>,
    /// The inodes of each snapshot, if a goal counts them.
    pub inodes: SnapshotSizes,
}

impl RuleImages {
    /// Returns the part of the images that is to be freed; `None` if whole images go.
    pub fn parts(&self) -> Option<ImageParts<PruneFilters>> {
        Some(ImageParts {
            parts: BTreeSet::from([self.part.part()?]),
            filters: self.filters.clone(),
            docker_layers: self.docker_layers,
            ..ImageParts::default()
        })
    }
}
