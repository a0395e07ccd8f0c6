//! Runs whose images are held, so that they can be restored.
//!
//! The JSON form of each type is its form in `docs/json.md`, under `reclaim history`.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Namespace, RunId};

/// The runs of a namespace of which something is held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldRuns {
    /// The namespace.
    pub namespace: Namespace,
    /// The runs, oldest first.
    pub runs: Vec<HeldRun>,
}

/// A run of which something is held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldRun {
    /// The run.
    pub run: RunId,
    /// When it began.
    pub started: Option<Timestamp>,
    /// When the hold expires.
    pub held_until: Option<Timestamp>,
    /// Whether the run ended before its work was done.
    pub crashed: bool,
    /// The names of the images whose records an undo restores.
    pub images: Vec<String>,
    /// On how many blobs an undo restores labels, by which they keep parts of images.
    #[serde(default)]
    pub labels: usize,
}
