//! Images by number, and their entries in an index.

use jiff::{SignedDuration, Timestamp};
use reclaim_maintenance::LastUseIndex;
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

/// A time after every other of a test.
pub(crate) fn far() -> Timestamp {
    start() + SignedDuration::from_hours(24 * 365 * 100)
}

/// A use of image number `n`, this many seconds after the start.
pub(crate) fn used(n: u64, seconds: u64) -> UseEvent {
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
    index.uses_at(&namespace(), far()).0.get(target).copied()
}

/// Returns how many seconds after the start an image was last used.
pub(crate) fn seconds(index: &LastUseIndex, n: u64) -> Option<u64> {
    let known = known(index, &digest(n))?;
    u64::try_from(known.last_used.duration_since(start()).as_secs()).ok()
}
