//! Freeing the headroom file in a run, and restoring it afterwards.

use reclaim_engine::blocking;
use reclaim_model::{Filesystem, Mode};
use tracing::{debug, info};

use super::UnderWay;
use crate::headroom::{Headroom, HeadroomSize};

/// The headroom file as it is at this moment.
#[derive(Debug, Default)]
struct Place {
    /// Its size in bytes.
    bytes: u64,
    /// For each filesystem, whether the file is or would be on it.
    is_on: Vec<bool>,
}

impl Place {
    /// Returns those of the filesystems that it is on.
    fn of<'a>(
        &'a self,
        filesystems: &'a mut [Filesystem],
    ) -> impl Iterator<Item = &'a mut Filesystem> {
        let filesystems = filesystems.iter_mut().zip(&self.is_on);
        filesystems.filter_map(|(filesystem, is_on)| is_on.then_some(filesystem))
    }
}

impl UnderWay<'_> {
    /// Deletes the headroom file if its filesystem has less than its size left.
    pub(super) async fn free_headroom(&mut self) {
        let Some(headroom) = self.maintenance.headroom.clone() else {
            return;
        };
        let place = self.place_of(&headroom).await;
        let bytes = match headroom.size {
            HeadroomSize::Bytes(bytes) => bytes,
            HeadroomSize::Auto => place.bytes,
        };
        let mut found = place.of(&mut self.filesystems);
        if !found.any(|it| it.bytes.left < bytes) {
            return;
        }
        drop(found);
        let file = headroom.file.clone();
        match blocking(move || headroom.free()).await {
            Ok(true) => {
                info!(file = %file.display(), "freed the headroom");
                self.freed_headroom = bytes;
            }
            Ok(false) => {}
            Err(error) => {
                let file = file.display();
                let warning = format!("cannot free the headroom `{file}`: {error}");
                self.run.warnings.push(warning);
            }
        }
    }

    /// Subtracts the freed headroom from the measured free space: it is not reclaimed.
    pub(super) async fn discount_headroom(&mut self) {
        if let Some(headroom) = &self.maintenance.headroom
            && self.freed_headroom > 0
        {
            let place = self.place_of(headroom).await;
            for filesystem in place.of(&mut self.filesystems) {
                let left = filesystem.bytes.left;
                filesystem.bytes.left = left.saturating_sub(self.freed_headroom);
            }
        }
    }

    /// Makes the headroom file again, unless that would exceed a high mark. A dry run neither frees
    /// nor makes it.
    pub(super) async fn restore_headroom(&mut self) {
        let Some(headroom) = self.maintenance.headroom.clone() else {
            return;
        };
        if self.policy.mode == Mode::DryRun {
            return;
        }
        let place = self.place_of(&headroom).await;
        let mut then = self.filesystems.clone();
        let mut left = None;
        for filesystem in place.of(&mut then) {
            filesystem.bytes.left += place.bytes.max(self.freed_headroom);
            left = left.or(Some(filesystem.bytes.left));
        }
        let bytes = headroom.target_size(left);
        let Some(bytes) = bytes.filter(|bytes| *bytes > place.bytes) else {
            return;
        };
        let mut is_room = true;
        for filesystem in place.of(&mut then) {
            filesystem.bytes.left = filesystem.bytes.left.saturating_sub(bytes);
            is_room &= filesystem.bytes.left > 0;
        }
        let pressure = &self.policy.pressure;
        if !is_room || !pressure.begin(&then, self.occupied).is_empty() {
            return;
        }
        let (file, size) = (headroom.file.clone(), headroom.size);
        if let Err(error) = blocking(move || headroom.grow(bytes)).await {
            let file = file.display();
            match size {
                HeadroomSize::Auto => debug!(%file, %error, "cannot make the headroom file"),
                HeadroomSize::Bytes(_) => {
                    let warning = format!("cannot make the headroom `{file}`: {error}");
                    self.run.warnings.push(warning);
                }
            }
        }
    }

    /// Examines the headroom file. On a filesystem that does not answer it counts as absent.
    async fn place_of(&self, headroom: &Headroom) -> Place {
        let (headroom, filesystems) = (headroom.clone(), self.filesystems.clone());
        let looking = move || Place {
            bytes: headroom.size_on_disk(),
            is_on: filesystems.iter().map(|it| headroom.is_on(it)).collect(),
        };
        let store = self.maintenance.engine.store();
        let found = store.read_disk("headroom", looking).await;
        found.unwrap_or_default()
    }
}
