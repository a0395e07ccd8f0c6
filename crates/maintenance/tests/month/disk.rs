//! The disk of the host, which containerd's content and snapshots share with other data.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use reclaim_fake::Fake;
use reclaim_model::{Filesystem, Room};
use reclaim_store::{Disk, Filesystems};

use crate::registry::{BLOCK, SNAPSHOTTER};

pub(crate) struct HostDisk {
    fake: Fake,
    pub(crate) total: u64,
    /// What others have written on it.
    other: AtomicU64,
}

impl HostDisk {
    pub(crate) fn new(fake: Fake, total: u64, other: u64) -> Self {
        let disk = Self {
            fake,
            total,
            other: AtomicU64::default(),
        };
        disk.set_other(other);
        disk
    }

    pub(crate) fn set_other(&self, other: u64) {
        self.other.store(other, Ordering::Relaxed);
        let capacity = self.total.saturating_sub(other);
        self.fake.change(|state| state.capacity = Some(capacity));
    }

    pub(crate) fn left(&self) -> u64 {
        let occupied = self.fake.look(|state| state.occupied(BLOCK));
        let other = self.other.load(Ordering::Relaxed);
        self.total.saturating_sub(other + occupied)
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
            unseen: Vec::new(),
        }
    }
}
