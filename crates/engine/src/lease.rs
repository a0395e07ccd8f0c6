//! Reclaim's leases: their IDs, labels and lifetimes.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use reclaim_model::{EXPIRE, Lease, Namespace, RUN_LABEL, RunId};
use reclaim_store::{Containerd, StoreError};

use crate::retry::retry;

/// The label for the start of the run.
pub(crate) const STARTED: &str = "reclaim/started";
/// The label of a hold without an expiry: how long the daemon that keeps it holds it, in seconds.
const WINDOW: &str = "reclaim/undo-window";
/// The label of a hold for an undo window: how many bytes its run was estimated to free. The holds of
/// a run on a full disk have none.
pub(crate) const BYTES: &str = "reclaim/bytes";
/// The label of a hold whose run has not finished.
pub(crate) const ABANDONED: &str = "reclaim/abandoned";

/// The prefix of the IDs of holds.
pub(crate) const HOLD_PREFIX: &str = "reclaim.hold.";

/// The lifetime of the hold of an unfinished run: longer than the guard, and than a week between
/// two runs of a timer.
pub(crate) const UNFINISHED: Duration = Duration::from_secs(8 * 24 * 60 * 60);

/// The time that a run may take without its pauses. A run of 100,000 images on a slow disk takes a
/// fraction of it.
pub(crate) const MAX_RUN: Duration = Duration::from_secs(2 * 60 * 60);

/// The maximum lifetime of a guard, so that a slow run cannot lock the namespace for weeks. A run
/// that reaches it leaves the rest to the next one.
pub(crate) const MAX_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// Returns the labels of a lease that a run creates at `now`.
pub(crate) fn new(run: &RunId, now: Timestamp, lifetime: Duration) -> BTreeMap<String, String> {
    BTreeMap::from([
        (EXPIRE.to_owned(), text(expiry(now, lifetime))),
        (STARTED.to_owned(), text(now)),
        (RUN_LABEL.to_owned(), run.to_string()),
    ])
}

/// Returns the labels of a hold that a run creates at `now` for its undo window. It expires by
/// containerd's wall clock, or if a daemon keeps it, whose labels identify it, not at all.
pub(crate) fn held(
    run: &RunId,
    now: Timestamp,
    window: Duration,
    keeper: Option<BTreeMap<String, String>>,
) -> BTreeMap<String, String> {
    let mut labels = new(run, now, window);
    if let Some(keeper) = keeper {
        labels.remove(EXPIRE);
        labels.insert(WINDOW.to_owned(), format!("{}s", window.as_secs()));
        labels.extend(keeper);
    }
    labels
}

/// Returns the undo window of a hold that a daemon keeps; `None` if it expires by itself.
pub(crate) fn window(lease: &Lease) -> Option<Duration> {
    let text = lease.labels.get(WINDOW)?;
    let is_kept = lease.id.starts_with(HOLD_PREFIX) && lease.expires.is_none();
    let seconds = text.strip_suffix('s').filter(|_| is_kept)?.parse();
    Some(Duration::from_secs(seconds.ok()?))
}

/// Returns how many bytes the end of a hold frees, by the estimate of its run; `None` if the lease is
/// not such a hold, or does not say.
pub(crate) fn held_bytes(lease: &Lease) -> Option<u64> {
    lease.labels.get(BYTES)?.parse().ok()
}

/// Returns when a hold ends: its expiry, or about when its daemon ends it.
pub(crate) fn hold_end(lease: &Lease) -> Option<Timestamp> {
    let kept_until = || Some(expiry(started(lease)?, window(lease)?));
    lease.expires.or_else(kept_until)
}

/// Returns the end of a lifetime that begins at `now`.
pub(crate) fn expiry(now: Timestamp, lifetime: Duration) -> Timestamp {
    let lifetime = SignedDuration::try_from(lifetime).unwrap_or(SignedDuration::MAX);
    now.saturating_add(lifetime).unwrap_or(Timestamp::MAX)
}

/// Formats RFC 3339 in whole seconds, which every containerd parses.
pub(crate) fn text(time: Timestamp) -> String {
    format!("{time:.0}")
}

/// Returns the run that created a lease.
pub(crate) fn run(lease: &Lease) -> Option<RunId> {
    lease.labels.get(RUN_LABEL).map(|run| RunId(run.clone()))
}

/// Returns the start of a lease's run.
pub(crate) fn started(lease: &Lease) -> Option<Timestamp> {
    lease.labels.get(STARTED)?.parse().ok()
}

/// Returns the ID of the hold of a run under way.
pub(crate) fn unfinished(run: &RunId) -> String {
    format!("{HOLD_PREFIX}{run}.unfinished")
}

/// Returns the ID of the hold of a run that is over.
pub(crate) fn kept(run: &RunId) -> String {
    format!("{HOLD_PREFIX}{run}")
}

/// Deletes the leases of a hold. If `collect` is set, the last deletion collects.
pub(crate) async fn delete_hold(
    store: &Containerd,
    namespace: &Namespace,
    leases: &[String],
    collect: bool,
) -> Result<(), StoreError> {
    for (index, lease) in leases.iter().enumerate() {
        let collect = collect && index + 1 == leases.len();
        retry(|| store.delete_lease(namespace, lease, collect)).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_names_its_run_and_expiry() {
        let id = RunId("run".to_owned());
        let now = "2026-01-10T12:00:00.5Z".parse().unwrap();
        let labels = new(&id, now, MAX_RUN);
        assert_eq!(labels[EXPIRE], "2026-01-10T14:00:00Z");
        let lease = Lease {
            id: "lease".to_owned(),
            labels,
            created: None,
            expires: None,
            is_flat: false,
            resources: Vec::new(),
        };
        assert_eq!(run(&lease), Some(id));
        let began = "2026-01-10T12:00:00Z".parse().unwrap();
        assert_eq!(started(&lease), Some(began));
        let foreign = Lease {
            labels: BTreeMap::new(),
            ..lease
        };
        assert_eq!(run(&foreign), None);
        assert_eq!(started(&foreign), None);
    }

    #[test]
    fn a_kept_hold_has_a_window_and_no_expiry() {
        let id = RunId("run".to_owned());
        let now = "2026-01-10T12:00:00Z".parse().unwrap();
        let keeper = BTreeMap::from([("reclaim/owner".to_owned(), "me".to_owned())]);
        let kept = Lease {
            id: format!("{HOLD_PREFIX}run"),
            labels: held(&id, now, Duration::from_secs(90), Some(keeper)),
            created: None,
            expires: None,
            is_flat: false,
            resources: Vec::new(),
        };
        assert_eq!(kept.labels.get(EXPIRE), None);
        assert_eq!(kept.labels["reclaim/owner"], "me");
        assert_eq!(window(&kept), Some(Duration::from_secs(90)));
        let end = "2026-01-10T12:01:30Z".parse().unwrap();
        assert_eq!(hold_end(&kept), Some(end));
        let alone = held(&id, now, Duration::from_secs(90), None);
        assert_eq!(alone, new(&id, now, Duration::from_secs(90)));
        // A label that is not ours, or not a number, keeps no time.
        for text in ["", "90", "-1s", "x"] {
            let mut odd = kept.clone();
            odd.labels.insert(WINDOW.to_owned(), text.to_owned());
            assert_eq!(window(&odd), None, "{text}");
        }
        let foreign = Lease {
            id: "another".to_owned(),
            ..kept
        };
        assert_eq!(window(&foreign), None);
    }

    #[test]
    fn an_overflowing_lifetime_ends_at_the_maximum() {
        assert_eq!(expiry(Timestamp::UNIX_EPOCH, Duration::MAX), Timestamp::MAX);
    }
}
