//! The disk of the host, which containerd's content and snapshots share with other data.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reclaim_fake::Fake;
use reclaim_model::{Filesystem, Room};
use reclaim_store::{Disk, Filesystems};
use tokio::time::Instant;

use crate::registry::{BLOCK, SNAPSHOTTER};

pub(crate) struct HostDisk {
    fake: Fake,
    pub(crate) total: u64,
    /// What others have written on it.
    other: AtomicU64,
    /// How long freed space is not visible.
    delay: Duration,
    late: Mutex<Late>,
}

/// Space that was freed and is not visible yet.
#[derive(Default)]
struct Late {
    occupied: u64,
    freed: Vec<Freed>,
    /// Whether the last call was one with which a run frees.
    is_run_freeing: bool,
}

struct Freed {
    at: Instant,
    bytes: u64,
    /// Whether a run freed it, and nothing that the daemon does not see has changed since.
    is_known: bool,
}

impl HostDisk {
    pub(crate) fn new(fake: Fake, total: u64, other: u64, delay: Duration) -> Self {
        let disk = Self {
            fake,
            total,
            other: AtomicU64::default(),
            delay,
            late: Mutex::default(),
        };
        disk.set_other(other);
        disk
    }

    pub(crate) fn set_other(&self, other: u64) {
        if other < self.other.swap(other, Ordering::Relaxed) {
            self.forget_late();
        }
        let capacity = self.total.saturating_sub(other);
        self.fake.change(|state| state.capacity = Some(capacity));
    }

    pub(crate) fn left(&self) -> u64 {
        let late: u64 = self.late().freed.iter().map(|freed| freed.bytes).sum();
        let occupied = self.fake.look(|state| state.occupied(BLOCK));
        let other = self.other.load(Ordering::Relaxed);
        self.total.saturating_sub(other + occupied + late)
    }

    /// Returns what runs freed and that is not visible yet.
    pub(crate) fn known_late(&self) -> u64 {
        let late = self.late();
        let known = late.freed.iter().filter(|freed| freed.is_known);
        known.map(|freed| freed.bytes).sum()
    }

    /// Records a call, before it has an effect.
    pub(crate) fn called(&self, is_run_freeing: bool) {
        self.late().is_run_freeing = is_run_freeing;
    }

    /// The daemon no longer knows what is on its way.
    pub(crate) fn forget_late(&self) {
        for freed in &mut self.late().freed {
            freed.is_known = false;
        }
    }

    /// Returns what is not visible yet at this moment.
    fn late(&self) -> MutexGuard<'_, Late> {
        let occupied = self.fake.look(|state| state.occupied(BLOCK));
        let mut late = self.late.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = late.occupied.saturating_sub(occupied);
        late.occupied = occupied;
        if bytes > 0 && !self.delay.is_zero() {
            // Policies neglect a few blocks.
            let is_known = late.is_run_freeing && bytes > 32 * BLOCK;
            if !is_known {
                late.freed
                    .iter_mut()
                    .for_each(|freed| freed.is_known = false);
            }
            let at = Instant::now();
            late.freed.push(Freed {
                at,
                bytes,
                is_known,
            });
        }
        late.freed.retain(|freed| freed.at.elapsed() < self.delay);
        late
    }

    pub(crate) fn filesystem(&self) -> Filesystem {
        Filesystem {
            mount_point: "/var/lib/containerd".into(),
            block: BLOCK,
            bytes: Room {
                total: self.total,
                left: self.left(),
            },
            inodes: Room::default(),
            has_content: true,
            snapshotters: BTreeSet::from([SNAPSHOTTER.into()]),
        }
    }
}

impl fmt::Debug for HostDisk {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.filesystem().fmt(formatter)
    }
}

impl Disk for HostDisk {
    fn filesystems(&self) -> Filesystems {
        Filesystems {
            seen: vec![self.filesystem()],
            unmeasured: Vec::new(),
        }
    }
}
