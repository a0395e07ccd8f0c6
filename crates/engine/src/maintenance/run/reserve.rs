//! Giving up the headroom in a run, and taking it again.

use reclaim_model::{Filesystem, Mode};
use tracing::{debug, info};

use super::UnderWay;
use crate::maintenance::headroom::{Headroom, HeadroomSize};
use crate::off_thread::blocking;

/// Where the headroom is.
#[derive(Debug, Default)]
struct Place {
    /// How many bytes it takes now.
    bytes: u64,
    /// For each filesystem whether the headroom lies on it, or would.
    is_on: Vec<bool>,
}

impl Place {
    /// Those of the filesystems on which it lies.
    fn of<'a>(
        &'a self,
        filesystems: &'a mut [Filesystem],
    ) -> impl Iterator<Item = &'a mut Filesystem> {
        let filesystems = filesystems.iter_mut().zip(&self.is_on);
        filesystems.filter_map(|(filesystem, is_on)| is_on.then_some(filesystem))
    }
}

impl UnderWay<'_> {
    /// Gives the headroom up if its filesystem has less than that left.
    pub(super) async fn give_up_headroom(&mut self) {
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
        match blocking(move || headroom.give_up()).await {
            Ok(true) => {
                info!(file = %file.display(), "gave up the headroom");
                self.headroom_given_up = bytes;
            }
            Ok(false) => {}
            Err(error) => {
                let file = file.display();
                let warning = format!("headroom `{file}` cannot be given up: {error}");
                self.run.warnings.push(warning);
            }
        }
    }

    /// Takes the headroom's room off what was measured: it is not room that was won.
    pub(super) async fn discount_headroom(&mut self) {
        if let Some(headroom) = &self.maintenance.headroom
            && self.headroom_given_up > 0
        {
            let place = self.place_of(headroom).await;
            for filesystem in place.of(&mut self.filesystems) {
                let left = filesystem.bytes.left;
                filesystem.bytes.left = left.saturating_sub(self.headroom_given_up);
            }
        }
    }

    /// Takes the headroom again if that leads nowhere above a high mark. A run that changes nothing
    /// would not give it up either, so it takes none.
    pub(super) async fn take_headroom(&mut self) {
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
            filesystem.bytes.left += place.bytes.max(self.headroom_given_up);
            left = left.or(Some(filesystem.bytes.left));
        }
        let bytes = headroom.bytes_wanted(left);
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
        if let Err(error) = blocking(move || headroom.take(bytes)).await {
            let file = file.display();
            match size {
                HeadroomSize::Auto => debug!(%file, %error, "cannot take headroom"),
                HeadroomSize::Bytes(_) => {
                    let warning = format!("headroom `{file}` cannot be taken: {error}");
                    self.run.warnings.push(warning);
                }
            }
        }
    }

    /// Finds out where the headroom is. On a filesystem that does not answer it is nowhere.
    async fn place_of(&self, headroom: &Headroom) -> Place {
        let (headroom, filesystems) = (headroom.clone(), self.filesystems.clone());
        let looking = move || Place {
            bytes: headroom.bytes_there(),
            is_on: filesystems.iter().map(|it| headroom.is_on(it)).collect(),
        };
        let store = &self.maintenance.engine.store;
        let found = store.read_disk("headroom", looking).await;
        found.unwrap_or_default()
    }
}
