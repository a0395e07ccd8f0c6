//! Which layers of an image are here, compressed and unpacked.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Digest, Platform, Snapshotter};

/// The layers of one platform of an image whose manifest and configuration are here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlatformLayers {
    /// The manifest.
    pub manifest: Digest,
    /// The platform; `None` if the configuration does not name it.
    pub platform: Option<Platform>,
    /// How many layers it has. One that it has twice counts twice.
    pub total: usize,
    /// How many of them are here compressed.
    pub packed: usize,
    /// How many are unpacked, by snapshotter: all of them. Without the snapshot of the last layer, a
    /// snapshotter is left out, although the image may share lower ones with others.
    pub unpacked: BTreeMap<Snapshotter, usize>,
}

impl PlatformLayers {
    /// Whether any of its layers is here.
    pub fn is_any_here(&self) -> bool {
        self.packed > 0 || !self.unpacked.is_empty()
    }
}
