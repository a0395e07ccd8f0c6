//! A maintenance policy as a whole: what may go, when, how much, and how.

mod schedule;

use std::time::Duration;

use reclaim_model::{Mode, Namespace, PolicyName, Rule, Watermarks};

pub use schedule::{Cron, CronError, Schedule};

/// A maintenance policy, checked.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Which images may go.
    pub rule: Rule,
    /// Where, in this order.
    pub namespaces: Vec<Namespace>,
    /// When it is looked at.
    pub schedule: Schedule,
    /// What makes it begin, and end.
    pub pressure: Pressure,
    /// Images that nobody has used for so long go without any pressure.
    pub max_unused: Option<Duration>,
    /// How many images a run removes at most; `None` is no cap.
    pub max_images: Option<usize>,
    /// How many bytes a run frees at most; `None` is no cap.
    pub max_bytes: Option<u64>,
    /// How long what was removed can be restored.
    pub undo_window: Duration,
    /// How many records may be removed in a second; `None` is as fast as containerd goes.
    pub max_deletes_per_second: Option<u32>,
    /// Whether it removes, or only says what it would.
    pub mode: Mode,
}

impl Policy {
    /// Returns its name.
    pub fn name(&self) -> &PolicyName {
        &self.rule.name
    }
}

/// What makes a policy begin and end. Without any of it a run removes all that may go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pressure {
    /// By bytes, on each filesystem that holds content or snapshots.
    pub bytes: Option<Watermarks>,
    /// By inodes, on the same.
    pub inodes: Option<Watermarks>,
    /// By what content and snapshots occupy together.
    pub max_used: Option<u64>,
    /// What content and snapshots may keep occupying, whatever the pressure.
    pub reserved: u64,
}

impl Pressure {
    /// Whether there is anything to begin at.
    pub fn is_any(&self) -> bool {
        self.bytes.is_some() || self.inodes.is_some() || self.max_used.is_some()
    }
}
