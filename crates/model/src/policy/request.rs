//! A policy at one moment: what is known of last use, and how much is to be freed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::{Digest, Protection, PruneFilters, Rule, SnapshotSizes, Snapshotter};

/// What is known of the use of one target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastUse {
    /// When it was seen for the first time.
    pub first_seen: Timestamp,
    /// When it was used last, as far as anybody saw.
    pub last_used: Timestamp,
    /// Until when it stays because it came back after it had been removed.
    pub spared_until: Option<Timestamp>,
}

/// What is known of the use of a namespace's targets. Of a target that is not in it nothing is
/// known, and it counts as used this moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LastUses(pub BTreeMap<Digest, LastUse>);

/// What is counted on a filesystem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum GoalUnit {
    /// Bytes, in whole blocks of so many.
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
    /// Whose snapshots it holds.
    pub snapshotters: BTreeSet<Snapshotter>,
}

/// The images that a policy lets go, at one moment.
#[derive(Debug, Clone)]
pub struct RuleImages {
    /// The rule.
    pub rule: Rule,
    /// Docker's filters of the rule at this moment.
    pub filters: PruneFilters,
    /// What no policy removes.
    pub protection: Arc<Protection>,
    /// What is known of last use.
    pub uses: Arc<LastUses>,
    /// What is to be freed. The least recently used go first, until every goal is met. `None`
    /// is everything that may go; an empty list is nothing but what is idle for too long.
    pub goals: Option<Vec<Goal>>,
    /// Images that nobody has used for so long go whatever the goals.
    pub max_unused: Option<Duration>,
    /// How many images go at most.
    pub max_images: Option<usize>,
    /// How many bytes are freed at most.
    pub max_bytes: Option<u64>,
    /// How many inodes each snapshot has, where a goal counts them.
    pub inodes: SnapshotSizes,
}
