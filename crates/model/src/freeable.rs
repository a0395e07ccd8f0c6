//! What can be freed in a namespace, by each step alone.

use serde::{Deserialize, Serialize};

use crate::{Amount, Part};

/// What each step of freeing space would free in a namespace right now, if it was the only one.
///
/// In the order of what it costs to have it again. Steps overlap, so the amounts do not add up: an
/// unused image loses its snapshots with the image, too, and no image loses both its snapshots and
/// its layers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Freeable {
    /// What nothing holds any more, and what expired leases held: the next collection frees it.
    pub garbage: Amount,
    /// Unpacked layers that only build history holds.
    pub build_history: Amount,
    /// What was unpacked of unused images.
    pub snapshots: Amount,
    /// Compressed layers of images that are unpacked.
    pub layers: Amount,
    /// Platforms that the machine does not run.
    pub platforms: Amount,
    /// Unused images, dangling ones included.
    pub images: Amount,
}

impl Freeable {
    /// Returns the amount of a part of images.
    pub fn part_mut(&mut self, part: Part) -> &mut Amount {
        match part {
            Part::BuildHistory => &mut self.build_history,
            Part::Snapshots => &mut self.snapshots,
            Part::Layers => &mut self.layers,
            Part::Platforms => &mut self.platforms,
        }
    }
}
