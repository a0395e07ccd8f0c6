//! Giving up the headroom in a run, and taking it again.

use reclaim_model::Filesystem;
use tracing::info;

use super::UnderWay;
use crate::maintenance::headroom::Headroom;

impl UnderWay<'_> {
    /// Gives the headroom up if its filesystem has less than that left.
    pub(super) fn give_up_headroom(&mut self) {
        let Some(headroom) = &self.maintenance.headroom else {
            return;
        };
        let mut filesystems = self.filesystems.iter();
        let is_full = filesystems.any(|it| it.bytes.left < headroom.bytes && headroom.is_on(it));
        if !is_full {
            return;
        }
        match headroom.give_up() {
            Ok(true) => {
                info!(file = %headroom.file.display(), "headroom is given up");
                self.is_headroom_gone = true;
            }
            Ok(false) => {}
            Err(error) => {
                let file = headroom.file.display();
                let warning = format!("headroom `{file}` cannot be given up: {error}");
                self.run.warnings.push(warning);
            }
        }
    }

    /// Takes the headroom's room off what was measured: it is not room that was won.
    pub(super) fn discount_headroom(&mut self) {
        if let Some(headroom) = &self.maintenance.headroom {
            discount(headroom, &mut self.filesystems);
        }
    }

    /// Takes the headroom again if that leads nowhere above a high mark.
    pub(super) fn take_headroom(&mut self) {
        let Some(headroom) = &self.maintenance.headroom else {
            return;
        };
        if headroom.is_there() && !self.is_headroom_gone {
            return;
        }
        let mut then = self.filesystems.clone();
        if !self.is_headroom_gone {
            discount(headroom, &mut then);
        }
        let is_there_room = then
            .iter()
            .all(|it| it.bytes.left > 0 || !headroom.is_on(it));
        let pressure = &self.policy.pressure;
        if !is_there_room || !pressure.begin(&then, self.occupied).is_empty() {
            return;
        }
        if let Err(error) = headroom.take() {
            let file = headroom.file.display();
            self.run
                .warnings
                .push(format!("headroom `{file}` cannot be taken: {error}"));
        }
    }
}

fn discount(headroom: &Headroom, filesystems: &mut [Filesystem]) {
    for filesystem in filesystems.iter_mut().filter(|it| headroom.is_on(it)) {
        filesystem.bytes.left = filesystem.bytes.left.saturating_sub(headroom.bytes);
    }
}
