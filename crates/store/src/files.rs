//! Where containerd's files are, and what measures the filesystems that hold them.

use std::fmt;
use std::sync::Arc;

use reclaim_model::{Filesystem, Snapshotter};

/// Where containerd's files are.
#[derive(Debug, Clone)]
pub(crate) enum Files {
    /// On this machine, if the paths that containerd reports exist here.
    Local,
    /// On another machine: no file is read.
    Remote,
    /// Nowhere: the disk reports the filesystems.
    Simulated(Arc<dyn Disk>),
}

/// Reports filesystems for a containerd that has none, as in a test.
pub trait Disk: fmt::Debug + Send + Sync {
    /// Returns the filesystems in their present state.
    fn filesystems(&self) -> Filesystems;
}

/// The filesystems that could be measured, and those that could not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filesystems {
    /// Each filesystem once, sorted by mount point.
    pub seen: Vec<Filesystem>,
    /// What could not be measured, sorted.
    pub unmeasured: Vec<Unmeasured>,
}

/// Content, or the snapshots of one snapshotter, whose filesystem could not be measured.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unmeasured {
    /// The snapshotter; `None` for content.
    pub snapshotter: Option<Snapshotter>,
    /// Why.
    pub why: String,
}

impl Unmeasured {
    /// Returns the warning for the operator.
    pub fn warning(&self) -> String {
        format!("no watermark counts {self}")
    }
}

impl fmt::Display for Unmeasured {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.snapshotter {
            Some(snapshotter) => write!(formatter, "snapshots of `{snapshotter}`: {}", self.why),
            None => write!(formatter, "content: {}", self.why),
        }
    }
}
