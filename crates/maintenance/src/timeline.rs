//! The timeline: which images were present over the last four weeks, when each was used, and how full the
//! filesystems were.
//!
//! It is what `reclaim policy try` replays. The last use of an image says only when it was used last, and
//! nothing about images that are gone; so each scan of the store adds what changed since the scan before.
//! Every line of the file is one such [`Observation`], which a reader can parse while the daemon appends
//! the next. Times are monotonic ([`crate::time`]), with the wall clock next to them.
//!
//! The timeline decides about no removal. Whatever happens to its file, a daemon starts and policies run.

mod current;
mod file;
mod observe;
mod recorder;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use jiff::Timestamp;
use reclaim_model::{Digest, Filesystem, Namespace, PolicyName, Snapshotter};
use serde::{Deserialize, Serialize};

pub(crate) use current::Current;
pub(crate) use recorder::Recorder;

/// The version of the lines.
const VERSION: u32 = 1;

/// What was recorded about the images of a host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeline {
    /// The observations, oldest first. The first one lists everything.
    pub observations: Vec<Observation>,
}

/// What a scan found that the one before did not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    /// The version of its form.
    pub version: u32,
    /// When, in monotonic time: only differences mean anything.
    pub at: Timestamp,
    /// When, by the wall clock.
    pub wall: Timestamp,
    /// Whether nothing before it is known: it lists all images.
    #[serde(default, skip_serializing_if = "is_false")]
    pub begins: bool,
    /// The filesystems, if they were measured.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filesystems: Vec<Filesystem>,
    /// Blobs and snapshots that images here refer to for the first time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub objects: Vec<SeenObject>,
    /// Images that are new, or that have changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<SeenImage>,
    /// Images that a policy removed, by their numbers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<RemovedImage>,
    /// Images that are gone for another reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gone: Vec<u32>,
    /// The last use of images that were used in between.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub used: Vec<ImageUse>,
    /// Images that are in use since then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub in_use: Vec<u32>,
    /// Images that are no longer in use.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub idle: Vec<u32>,
}

/// A blob or a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenObject {
    /// Its number, by which images refer to it.
    pub id: u32,
    /// What it is.
    #[serde(flatten)]
    pub key: ObjectKey,
    /// Its bytes.
    pub bytes: u64,
}

/// The identity of a blob or a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ObjectKey {
    /// A blob, which all namespaces share.
    Blob(Digest),
    /// A snapshot of one namespace.
    Snapshot {
        /// The namespace.
        namespace: Namespace,
        /// Its snapshotter.
        snapshotter: Snapshotter,
        /// Its key.
        key: String,
    },
}

/// An image as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenImage {
    /// Its number.
    pub id: u32,
    /// The namespace.
    pub namespace: Namespace,
    /// What its records point at.
    pub target: Digest,
    /// The media type of the target.
    pub media_type: String,
    /// Its records, sorted by name.
    pub names: Vec<SeenName>,
    /// The numbers of its blobs and snapshots.
    pub objects: Vec<u32>,
    /// The configurations of its platforms.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub configs: Vec<SeenConfig>,
    /// The repositories that it is known to come from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<String>,
    /// Whether it cannot be read, so that nothing removes it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub is_unreadable: bool,
    /// When it was seen first, in monotonic time.
    pub first_seen: Timestamp,
    /// When it was used last before the observation, in monotonic time.
    pub last_used: Timestamp,
    /// Until when no policy removes it, because it came back before, in monotonic time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spared_until: Option<Timestamp>,
}

/// A record of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenName {
    /// Its name.
    pub name: String,
    /// When it was created, by the wall clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<Timestamp>,
    /// When it was written last, by the wall clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated: Option<Timestamp>,
    /// Its labels, unless they are long; then only those that pin.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// A configuration of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenConfig {
    /// Its blob.
    pub digest: Digest,
    /// Its labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// How many labels were left out because all together are too long.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub labels_left_out: usize,
}

/// An image that a policy removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovedImage {
    /// Its number.
    pub image: u32,
    /// The policy.
    pub policy: PolicyName,
}

/// A use of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageUse {
    /// Its number.
    pub image: u32,
    /// When, in monotonic time.
    pub at: Timestamp,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_false(value: &bool) -> bool {
    !value
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_zero(number: &usize) -> bool {
    *number == 0
}
