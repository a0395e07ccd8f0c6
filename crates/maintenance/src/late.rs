//! Space that was freed and that its filesystem does not show yet.
//!
//! Btrfs shows it after a commit, and after its cleaner has deleted a subvolume. A deleted file
//! occupies its blocks until the last process closes it. Some snapshotters delete in the
//! background. A policy that only compares free space with its mark would remove more images for
//! the same bytes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use reclaim_model::{Filesystem, HumanSize};
use tokio::time::Instant;
use tracing::warn;

use crate::history::{FilesystemRecord, RunRecord};
use crate::pressure::{Excess, Measure};

/// How long freed bytes count as on their way. If others write as much outside of containerd as was
/// freed, that looks the same, so the time is limited.
const EXPECTED_WITHIN: Duration = Duration::from_secs(10 * 60);

/// What is missing of a batch counts only above this part of it, and above so many blocks:
/// containerd's database and logs grow meanwhile, and sizes are rounded to blocks.
const NEGLIGIBLE_PART: u64 = 32;

/// See [`NEGLIGIBLE_PART`].
const NEGLIGIBLE_BLOCKS: u64 = 32;

/// The freed bytes that filesystems do not show yet. Runs of all policies share it.
#[derive(Debug, Default)]
pub struct LateRoom(Mutex<BTreeMap<PathBuf, Place>>);

/// One filesystem.
#[derive(Debug, Default)]
struct Place {
    /// The most free bytes since the last batch was freed.
    most_left: u64,
    /// The oldest first.
    batches: Vec<Batch>,
}

/// Bytes that were freed at once.
#[derive(Debug)]
struct Batch {
    freed_at: Instant,
    late: u64,
    /// So much of it does not count.
    negligible: u64,
}

impl LateRoom {
    /// Returns what recorded runs left on its way, so that a new process continues to expect it.
    pub fn of_runs(runs: &[RunRecord], wall: Timestamp, now: Instant) -> Self {
        let late = Self::default();
        // A run that could not measure records nothing; any other records all that is on its way.
        let runs = runs.iter().filter(|run| !run.filesystems.is_empty());
        let runs: Vec<&RunRecord> = runs.rev().collect();
        for filesystem in runs.first().iter().flat_map(|last| &last.filesystems) {
            late.add_recorded(filesystem, &runs, wall, now);
        }
        late.update(&[], now);
        late
    }

    /// Adds what the newest of these runs, which comes first, left on its way on a filesystem. A part
    /// that older ones recorded as well is as old as they are.
    fn add_recorded(
        &self,
        filesystem: &FilesystemRecord,
        runs: &[&RunRecord],
        wall: Timestamp,
        now: Instant,
    ) {
        let mount_point = &filesystem.mount_point;
        let recorded = |run: &RunRecord| {
            let mut late = run.not_yet_visible.iter();
            let late = late.find(|excess| excess.of == Measure::Bytes(mount_point.clone()));
            late.map_or(0, |excess| excess.amount)
        };
        let mut bytes = runs.first().map_or(0, |run| recorded(run));
        let mut batches = Vec::new();
        for (place, run) in runs.iter().enumerate() {
            let since = Duration::try_from(wall.duration_since(run.ended));
            let Some(freed_at) = since.ok().and_then(|since| now.checked_sub(since)) else {
                break;
            };
            let older = runs.get(place + 1).map_or(0, |older| recorded(older));
            let left = bytes.min(older);
            if bytes > left {
                batches.push((freed_at, bytes - left));
            }
            bytes = left;
            if bytes == 0 {
                break;
            }
        }
        for (freed_at, late) in batches.into_iter().rev() {
            let batch = Batch {
                freed_at,
                late,
                negligible: late / NEGLIGIBLE_PART,
            };
            self.add_batch(mount_point, filesystem.left_bytes_after, batch);
        }
    }

    /// Adds bytes that were freed since this filesystem was measured.
    pub fn add(&self, before: &Filesystem, bytes: u64, now: Instant) {
        let batch = Batch {
            freed_at: now,
            late: bytes,
            negligible: (NEGLIGIBLE_BLOCKS * before.block).max(bytes / NEGLIGIBLE_PART),
        };
        self.add_batch(&before.mount_point, before.bytes.left, batch);
    }

    /// Subtracts bytes that others wrote to this filesystem since the newest batch was freed.
    pub fn discount(&self, filesystem: &Filesystem, bytes: u64) {
        let mut places = self.places();
        let Some(place) = places.get_mut(&filesystem.mount_point) else {
            return;
        };
        let mut written = bytes;
        for batch in place.batches.iter_mut().rev() {
            let part = written.min(batch.late);
            batch.late -= part;
            written -= part;
        }
    }

    fn add_batch(&self, mount_point: &Path, left: u64, batch: Batch) {
        let mut places = self.places();
        let place = places.entry(mount_point.to_owned()).or_default();
        place.most_left = left;
        place.batches.push(batch);
    }

    /// Subtracts what has become visible, and what is no longer expected.
    pub fn update(&self, filesystems: &[Filesystem], now: Instant) {
        let mut places = self.places();
        for filesystem in filesystems {
            if let Some(place) = places.get_mut(&filesystem.mount_point) {
                place.show(filesystem.bytes.left);
            }
        }
        for (mount_point, place) in places.iter_mut() {
            place.batches.retain(|batch| {
                let is_late = batch.late > batch.negligible;
                let is_expected = now.duration_since(batch.freed_at) < EXPECTED_WITHIN;
                if is_late && !is_expected {
                    warn!(
                        mount_point = %mount_point.display(),
                        bytes = %HumanSize(batch.late),
                        "freed space has not become visible; no longer expecting it"
                    );
                }
                is_late && is_expected
            });
        }
        places.retain(|_, place| !place.batches.is_empty());
    }

    /// Returns the bytes on their way on each filesystem that has any.
    pub fn bytes(&self) -> Vec<Excess> {
        let places = self.places();
        let excesses = places.iter().map(|(mount_point, place)| Excess {
            of: Measure::Bytes(mount_point.clone()),
            amount: place.batches.iter().map(|batch| batch.late).sum(),
        });
        excesses.collect()
    }

    fn places(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Place>> {
        // A panic cannot leave the map half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Counts free space above the most so far as arrived, the oldest batch first. What others write
    /// afterwards changes nothing.
    fn show(&mut self, left: u64) {
        let mut arrived = left.saturating_sub(self.most_left);
        self.most_left = self.most_left.max(left);
        for batch in &mut self.batches {
            let part = arrived.min(batch.late);
            batch.late -= part;
            arrived -= part;
        }
    }
}

/// Returns how many of these bytes of content and snapshots are on a filesystem. Which snapshotter's
/// they are is unknown, so every filesystem with snapshots counts them.
pub(crate) fn amount_on(filesystem: &Filesystem, content: u64, snapshots: u64) -> u64 {
    let content = if filesystem.has_content { content } else { 0 };
    let has_snapshots = !filesystem.snapshotters.is_empty();
    content.saturating_add(if has_snapshots { snapshots } else { 0 })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use reclaim_model::{Freed, FreedBlob, FreedSnapshot, Mode, Room, SnapshotId};

    use super::*;
    use crate::policy_run::{PolicyRun, Trigger};

    fn filesystem(left: u64) -> Filesystem {
        Filesystem {
            mount_point: "/x".into(),
            block: 1,
            bytes: Room {
                total: 10_000,
                left,
            },
            inodes: Room::default(),
            has_content: true,
            snapshotters: BTreeSet::from(["overlayfs".into()]),
        }
    }

    fn amount(late: &LateRoom) -> u64 {
        late.bytes().iter().map(|excess| excess.amount).sum()
    }

    #[test]
    fn what_others_write_meanwhile_is_not_late() {
        let (late, now) = (LateRoom::default(), Instant::now());
        late.add(&filesystem(1000), 600, now);
        late.add(&filesystem(1000), 500, now);
        late.discount(&filesystem(1000), 550);
        assert_eq!(amount(&late), 550);
        late.update(&[filesystem(1550)], now);
        assert_eq!(amount(&late), 0);
        late.discount(&filesystem(1550), 1);
        assert_eq!(amount(&late), 0);
    }

    #[test]
    fn bytes_are_late_until_the_filesystem_shows_them() {
        let (late, now) = (LateRoom::default(), Instant::now());
        late.add(&filesystem(1000), 600, now);
        assert_eq!(late.bytes()[0].to_string(), "600B on `/x`");
        for (left, expected) in [
            (1000, 600),
            (1200, 400),
            // Others write 300 and delete 100: nothing of what was freed.
            (900, 400),
            (1000, 400),
            (1500, 100),
            // The rest is less than 32 blocks.
            (1570, 0),
            (1000, 0),
        ] {
            late.update(&[filesystem(left)], now);
            assert_eq!(amount(&late), expected, "{left}");
        }
    }

    #[test]
    fn the_oldest_batch_arrives_and_expires_first() {
        let (late, now) = (LateRoom::default(), Instant::now());
        late.add(&filesystem(1000), 600, now);
        let later = now + EXPECTED_WITHIN / 2;
        late.update(&[filesystem(800)], later);
        late.add(&filesystem(800), 100, later);
        late.update(&[filesystem(1000)], later);
        assert_eq!(amount(&late), 500);
        late.update(&[], now + EXPECTED_WITHIN);
        assert_eq!(amount(&late), 100);
        late.update(&[], later + EXPECTED_WITHIN);
        assert_eq!(amount(&late), 0);
    }

    #[test]
    fn a_new_process_expects_what_the_last_measured_run_recorded() {
        let began: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        let name = "p".parse().unwrap();
        let mut run = PolicyRun::begun(name, Trigger::Schedule, Mode::Apply, began);
        let none = RunRecord::of(&run);
        run.before = vec![filesystem(900)];
        run.after = vec![filesystem(1000)];
        run.not_yet_visible = vec![Excess {
            of: Measure::Bytes("/x".into()),
            amount: 600,
        }];
        let record = RunRecord::of(&run);
        run.not_yet_visible.clear();
        let nothing = RunRecord::of(&run);
        let now = Instant::now() + EXPECTED_WITHIN;
        let after = |runs: &[&RunRecord], seconds: i64| {
            let runs: Vec<RunRecord> = runs.iter().copied().cloned().collect();
            let wall = began + jiff::SignedDuration::from_secs(seconds);
            let late = LateRoom::of_runs(&runs, wall, now);
            late.update(&[filesystem(1200)], now);
            amount(&late)
        };
        assert_eq!(after(&[&nothing, &record, &none], 60), 400);
        assert_eq!(after(&[&record, &nothing], 60), 0);
        assert_eq!(after(&[&record], 10 * 60), 0, "expired");
        let again = RunRecord {
            ended: began + jiff::SignedDuration::from_mins(9),
            ..record.clone()
        };
        assert_eq!(after(&[&record, &again], 9 * 60), 400);
        assert_eq!(after(&[&record, &again], 10 * 60), 0, "expired");
        let mut more = again;
        more.not_yet_visible[0].amount = 900;
        assert_eq!(after(&[&record, &more], 10 * 60), 100, "the new part");
        assert_eq!(after(&[&record], -1), 0, "the clock was set back");
        assert_eq!(after(&[], 60), 0);
    }

    #[test]
    fn bytes_count_where_they_are() {
        let digest = format!("sha256:{}", "a".repeat(64)).parse().unwrap();
        let blob = FreedBlob {
            digest,
            bytes: 5000,
        };
        let snapshots = [
            ("overlayfs", Some(30)),
            ("overlayfs", None),
            ("zfs", Some(9)),
        ];
        let snapshots = snapshots.into_iter().enumerate();
        let snapshots = snapshots.map(|(number, (snapshotter, bytes))| FreedSnapshot {
            id: SnapshotId::new(snapshotter, number.to_string()),
            bytes,
        });
        let freed = Freed::new(vec![blob], snapshots.collect());
        assert_eq!(filesystem(0).bytes_of(&freed, 4096), 8192 + 30);
        let mut elsewhere = filesystem(0);
        elsewhere.has_content = false;
        elsewhere.snapshotters = BTreeSet::from(["zfs".into()]);
        assert_eq!(elsewhere.bytes_of(&freed, 1), 9);
        assert_eq!(amount_on(&filesystem(0), 5000, 39), 5039);
        assert_eq!(amount_on(&elsewhere, 5000, 39), 39);
    }
}
