//! Measures what a run of a policy freed, and what filesystems do not show of it yet.

use std::time::Duration;

use reclaim_engine::{RunError, unless_cancelled};
use reclaim_model::Amount;
use tokio::time::Instant;

use super::UnderWay;
use crate::late::amount_on;

/// How long one run waits in all for space that it freed and that is not visible yet.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// The time between two measurements while it waits.
const MEASURE_AGAIN: Duration = Duration::from_millis(500);

impl UnderWay<'_> {
    /// Measures after a collection.
    pub(super) async fn measure_after_collection(&mut self) -> Result<(), RunError> {
        let stored = self.maintenance.stored().await;
        let both = self.stored.zip(stored);
        let freed = both.map_or_else(Amount::default, |(before, now)| less(before, now));
        let filesystems = self.filesystems.iter();
        let freed = filesystems.map(|it| amount_on(it, freed.content_bytes, freed.snapshot_bytes));
        self.measure_after(freed.collect(), None).await?;
        self.stored = stored;
        Ok(())
    }

    /// Measures the filesystems, and what is stored, if the policy limits it.
    pub(super) async fn measure(&mut self) -> Result<(), RunError> {
        self.measure_filesystems().await?;
        if self.policy.pressure.needs_occupied() {
            let measuring = self.maintenance.occupied();
            self.occupied = Some(unless_cancelled(&self.cancel, measuring).await?);
        }
        Ok(())
    }

    async fn measure_filesystems(&mut self) -> Result<(), RunError> {
        let measuring = self.maintenance.engine.store().filesystems();
        let found = unless_cancelled(&self.cancel, measuring).await?;
        for unmeasured in found.unmeasured {
            let warning = unmeasured.warning();
            if !self.run.warnings.contains(&warning) {
                self.run.warnings.push(warning);
            }
        }
        self.filesystems = found.seen;
        self.discount_headroom().await;
        let late = &self.maintenance.late;
        late.update(&self.filesystems, Instant::now());
        self.run.not_yet_visible = late.bytes();
        Ok(())
    }

    /// Measures after so many bytes of each filesystem were freed, and waits a while until they are
    /// visible. What is stored beyond `expected` was written meanwhile, and hides nothing that is
    /// on its way.
    pub(super) async fn measure_after(
        &mut self,
        freed: Vec<u64>,
        expected: Option<Amount>,
    ) -> Result<(), RunError> {
        for (filesystem, bytes) in self.filesystems.iter().zip(freed) {
            if bytes > 0 {
                self.maintenance.late.add(filesystem, bytes, Instant::now());
            }
        }
        self.measure().await?;
        let has_marks = self.policy.pressure.is_any();
        if has_marks && !self.run.not_yet_visible.is_empty() {
            let engine = &self.maintenance.engine;
            let mount_points = self.run.not_yet_visible.iter();
            let mount_points = mount_points.filter_map(|excess| excess.of.mount_point());
            engine.store().sync(mount_points).await;
            self.discount_growth(expected).await;
            self.measure_filesystems().await?;
        }
        while has_marks && !self.run.not_yet_visible.is_empty() && self.waited < MAX_WAIT {
            let heartbeat = self.maintenance.engine.heartbeat();
            let sleeping = heartbeat.while_waiting(tokio::time::sleep(MEASURE_AGAIN));
            unless_cancelled(&self.cancel, async {
                sleeping.await;
                Ok::<(), RunError>(())
            })
            .await?;
            self.waited += MEASURE_AGAIN;
            self.measure_filesystems().await?;
        }
        self.update_missing();
        Ok(())
    }

    /// Subtracts what was written meanwhile from what is on its way.
    async fn discount_growth(&mut self, expected: Option<Amount>) {
        let Some(expected) = expected else {
            return;
        };
        let Some(stored) = self.maintenance.stored().await else {
            return;
        };
        let grown = less(stored, expected);
        for filesystem in &self.filesystems {
            let bytes = amount_on(filesystem, grown.content_bytes, grown.snapshot_bytes);
            self.maintenance.late.discount(filesystem, bytes);
        }
    }
}

/// Returns by how much content and snapshots of one amount exceed those of another.
pub(super) fn less(from: Amount, other: Amount) -> Amount {
    Amount {
        content_bytes: from.content_bytes.saturating_sub(other.content_bytes),
        snapshot_bytes: from.snapshot_bytes.saturating_sub(other.snapshot_bytes),
        ..Amount::default()
    }
}
