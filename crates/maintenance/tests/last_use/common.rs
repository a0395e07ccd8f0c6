//! Images by number, and their entries in an index.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::{SignedDuration, Timestamp};
use reclaim_maintenance::{ClockReading, HostClock, IndexError, LastUseIndex};
use reclaim_model::{
    Digest, LastUse, Namespace, RecordTimes, UseEvent, UseEventKind, WrittenRecord,
};

pub(crate) fn namespace() -> Namespace {
    "default".parse().unwrap()
}

pub(crate) fn digest(n: u64) -> Digest {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&n.to_be_bytes());
    Digest::Sha256(bytes)
}

pub(crate) fn start() -> Timestamp {
    "2026-01-10T12:00:00Z".parse().unwrap()
}

/// Clocks that stand still until a test sets them, in seconds after the start.
#[derive(Debug, Clone)]
pub(crate) struct Clock(Arc<AtomicU64>);

impl Clock {
    pub(crate) fn at(seconds: u64) -> Self {
        Self(Arc::new(AtomicU64::new(seconds)))
    }

    pub(crate) fn open(&self, directory: &Path) -> Result<LastUseIndex, IndexError> {
        let seconds = Arc::clone(&self.0);
        let clock = HostClock::new(move || {
            let seconds = seconds.load(Ordering::Relaxed);
            let since_boot = SignedDuration::from_secs(i64::try_from(seconds).unwrap());
            ClockReading {
                wall: start() + since_boot,
                is_synchronized: false,
                boot: "1".to_owned(),
                since_boot,
            }
        });
        LastUseIndex::open_with(directory, clock)
    }

    /// Records a use of image number `n`, this many seconds after the start.
    pub(crate) fn use_image(&self, index: &LastUseIndex, n: u64, seconds: u64) {
        self.0.store(seconds, Ordering::Relaxed);
        index.record_event(&used(n, seconds));
    }
}

fn used(n: u64, seconds: u64) -> UseEvent {
    let at = start() + SignedDuration::from_secs(i64::try_from(seconds).unwrap());
    let times = RecordTimes {
        created: Some(start()),
        updated: Some(start()),
    };
    UseEvent {
        namespace: namespace(),
        at,
        kind: UseEventKind::ImageWritten {
            name: format!("name{n}"),
            record: Some(WrittenRecord {
                target: digest(n),
                times,
            }),
        },
    }
}

pub(crate) fn known(index: &LastUseIndex, target: &Digest) -> Option<LastUse> {
    index.uses(&namespace()).targets.get(target).copied()
}

/// Returns how many seconds after the start an image was last used.
pub(crate) fn seconds(index: &LastUseIndex, n: u64) -> Option<u64> {
    let known = known(index, &digest(n))?;
    u64::try_from(known.last_used.duration_since(start()).as_secs()).ok()
}
