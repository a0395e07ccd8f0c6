//! Giving up the headroom in a run, and taking it again.

use reclaim_model::Filesystem;
use tracing::info;

use super::UnderWay;
use crate::maintenance::headroom::Headroom;
use crate::off_thread::blocking;

impl UnderWay<'_> {
    /// Gives the headroom up if its filesystem has less than that left.
    pub(super) async fn give_up_headroom(&mut self) {
        let Some(headroom) = &self.maintenance.headroom else {
            return;
        };
        let mut full = self.filesystems.clone();
        full.retain(|it| it.bytes.left < headroom.bytes);
        if !self.are_below(headroom, full).await.contains(&true) {
            return;
        }
        let given = headroom.clone();
        match blocking(move || given.give_up()).await {
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
    pub(super) async fn discount_headroom(&mut self) {
        let Some(headroom) = &self.maintenance.headroom else {
            return;
        };
        let are_below = self.are_below(headroom, self.filesystems.clone()).await;
        discount(headroom, &mut self.filesystems, &are_below);
    }

    /// Takes the headroom again if that leads nowhere above a high mark.
    pub(super) async fn take_headroom(&mut self) {
        let Some(headroom) = &self.maintenance.headroom else {
            return;
        };
        let there = headroom.clone();
        if !self.is_headroom_gone && blocking(move || there.is_there()).await {
            return;
        }
        let mut then = self.filesystems.clone();
        let are_below = self.are_below(headroom, then.clone()).await;
        if !self.is_headroom_gone {
            discount(headroom, &mut then, &are_below);
        }
        let mut below = then
            .iter()
            .zip(&are_below)
            .filter(|(_, is_below)| **is_below);
        let is_there_room = below.all(|(filesystem, _)| filesystem.bytes.left > 0);
        let pressure = &self.policy.pressure;
        if !is_there_room || !pressure.begin(&then, self.occupied).is_empty() {
            return;
        }
        let taken = headroom.clone();
        if let Err(error) = blocking(move || taken.take()).await {
            let file = headroom.file.display();
            self.run
                .warnings
                .push(format!("headroom `{file}` cannot be taken: {error}"));
        }
    }

    /// Says of each filesystem whether the headroom lies on it, or would. One that does not answer
    /// has it not.
    async fn are_below(&self, headroom: &Headroom, filesystems: Vec<Filesystem>) -> Vec<bool> {
        let (headroom, none) = (headroom.clone(), vec![false; filesystems.len()]);
        let looking = move || filesystems.iter().map(|it| headroom.is_on(it)).collect();
        let store = &self.maintenance.engine.store;
        store
            .look_at_disk("headroom", looking)
            .await
            .unwrap_or(none)
    }
}

fn discount(headroom: &Headroom, filesystems: &mut [Filesystem], are_below: &[bool]) {
    for (filesystem, is_below) in filesystems.iter_mut().zip(are_below) {
        if *is_below {
            filesystem.bytes.left = filesystem.bytes.left.saturating_sub(headroom.bytes);
        }
    }
}
