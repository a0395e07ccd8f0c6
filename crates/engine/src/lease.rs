//! What our leases say about themselves.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use reclaim_model::{EXPIRE, Lease, Namespace, RUN_LABEL, RunId};
use reclaim_store::{Containerd, StoreError};

use crate::retry::retry;

/// When the run began.
const STARTED: &str = "reclaim/started";
/// On a lease that holds what a crashed run had removed or was about to.
pub(crate) const ABANDONED: &str = "reclaim/abandoned";

pub(crate) const HOLD_PREFIX: &str = "reclaim.hold.";

/// How long what a run had removed is held when the run has not come to its end: longer than the
/// guard lasts, and than the week between two runs of a timer. The next run ends it.
pub(crate) const UNFINISHED: Duration = Duration::from_secs(8 * 24 * 60 * 60);

/// How long a run may take before another may think it dead, unless it waits by itself: a run of
/// 100,000 images on a slow disk takes a fraction of it.
pub(crate) const MAX_RUN: Duration = Duration::from_secs(2 * 60 * 60);

/// The longest that any run has the guard: a caller that asks to go slowly must not lock the
/// namespace for weeks. A run that has not ended by then leaves the rest to the next one.
pub(crate) const MAX_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// The labels of a lease that a run makes at `now`.
pub(crate) fn new(run: &RunId, now: Timestamp, lifetime: Duration) -> BTreeMap<String, String> {
    BTreeMap::from([
        (EXPIRE.to_owned(), text(expiry(now, lifetime))),
        (STARTED.to_owned(), text(now)),
        (RUN_LABEL.to_owned(), run.to_string()),
    ])
}

/// When something that begins at `now` ends.
pub(crate) fn expiry(now: Timestamp, lifetime: Duration) -> Timestamp {
    let lifetime = SignedDuration::try_from(lifetime).unwrap_or(SignedDuration::MAX);
    now.saturating_add(lifetime).unwrap_or(Timestamp::MAX)
}

/// RFC 3339 in whole seconds: the form that every containerd parses.
fn text(time: Timestamp) -> String {
    format!("{time:.0}")
}

/// Which run made a lease.
pub(crate) fn run(lease: &Lease) -> Option<RunId> {
    lease.labels.get(RUN_LABEL).map(|run| RunId(run.clone()))
}

/// When the run of a lease began.
pub(crate) fn started(lease: &Lease) -> Option<Timestamp> {
    lease.labels.get(STARTED)?.parse().ok()
}

/// The ID of the lease that holds what a run has removed until it has come to its end.
pub(crate) fn unfinished(run: &RunId) -> String {
    format!("{HOLD_PREFIX}{run}.unfinished")
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
    fn a_lease_tells_whose_it_is_and_until_when() {
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
        let anothers = Lease {
            labels: BTreeMap::new(),
            ..lease
        };
        assert_eq!(run(&anothers), None);
        assert_eq!(started(&anothers), None);
    }

    #[test]
    fn what_lasts_beyond_all_time_ends_with_it() {
        assert_eq!(expiry(Timestamp::UNIX_EPOCH, Duration::MAX), Timestamp::MAX);
    }
}
