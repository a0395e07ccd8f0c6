//! Whether a lease can be taken, told from when its record was last seen to change.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use tokio::time::Instant;

/// What a lease says, as far as it matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    holder: Option<String>,
    renewed: Option<MicroTime>,
    transitions: i32,
    duration: Duration,
}

/// A record, and since when it has been seen like that.
#[derive(Debug, Clone)]
pub(crate) struct Sighting {
    record: Record,
    since: Instant,
}

/// Whose a lease is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Nobody's.
    Free,
    /// This node's: of a daemon before this one, or written when we thought that it had failed.
    Ours,
    /// Another node's, which is alive as far as can be told.
    Held,
    /// Another node's, which has not renewed it for its whole duration.
    Expired,
}

impl Record {
    pub(crate) fn of(lease: &Lease) -> Self {
        let nothing = LeaseSpec::default();
        let spec = lease.spec.as_ref().unwrap_or(&nothing);
        let seconds = spec.lease_duration_seconds.unwrap_or_default();
        Self {
            holder: spec.holder_identity.clone().filter(|it| !it.is_empty()),
            renewed: spec.renew_time.clone(),
            transitions: spec.lease_transitions.unwrap_or_default(),
            duration: Duration::from_secs(seconds.try_into().unwrap_or_default()),
        }
    }

    pub(crate) fn is_of(&self, node: &str) -> bool {
        self.holder.as_deref() == Some(node)
    }

    pub(crate) fn transitions(&self) -> i32 {
        self.transitions
    }
}

impl Sighting {
    /// Looks at a record, knowing what was there the last time.
    pub(crate) fn new(before: Option<&Self>, record: Record, now: Instant) -> Self {
        let unchanged = before.filter(|before| before.record == record);
        let since = unchanged.map_or(now, |before| before.since);
        Self { record, since }
    }

    /// Judges the lease. What it says of its duration counts, unless ours is longer: when the
    /// configuration changes, nodes have different ones for a while.
    pub(crate) fn standing(&self, node: &str, duration: Duration, now: Instant) -> Standing {
        match &self.record.holder {
            None => Standing::Free,
            Some(holder) if holder == node => Standing::Ours,
            Some(_) if now - self.since >= self.record.duration.max(duration) => Standing::Expired,
            Some(_) => Standing::Held,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(60);

    fn record(holder: &str, renewed: i64, seconds: i32) -> Record {
        let renewed = k8s_openapi::jiff::Timestamp::from_second(renewed).unwrap();
        Record::of(&Lease {
            spec: Some(LeaseSpec {
                holder_identity: Some(holder.to_owned()),
                renew_time: Some(MicroTime(renewed)),
                lease_duration_seconds: Some(seconds),
                ..LeaseSpec::default()
            }),
            ..Lease::default()
        })
    }

    #[test]
    fn a_lease_expires_when_it_was_seen_unchanged_for_its_duration() {
        let start = Instant::now();
        // By its own words it was renewed half a century ago, or from now.
        for renewed in [0, 3_500_000_000] {
            let first = Sighting::new(None, record("b", renewed, 60), start);
            assert_eq!(first.standing("a", LEASE, start), Standing::Held);
            let almost = start + LEASE - Duration::from_millis(1);
            let again = Sighting::new(Some(&first), record("b", renewed, 60), almost);
            assert_eq!(again.standing("a", LEASE, almost), Standing::Held);
            assert_eq!(again.standing("a", LEASE, start + LEASE), Standing::Expired);
        }
    }

    #[test]
    fn a_change_of_any_kind_begins_anew() {
        let start = Instant::now();
        let first = Sighting::new(None, record("b", 7, 60), start);
        let late = start + LEASE;
        for changed in [record("b", 6, 60), record("c", 7, 60), record("b", 7, 61)] {
            let seen = Sighting::new(Some(&first), changed, late);
            assert_eq!(seen.standing("a", LEASE, late), Standing::Held);
        }
    }

    #[test]
    fn the_longer_of_two_durations_counts() {
        let start = Instant::now();
        let seen = Sighting::new(None, record("b", 7, 90), start);
        assert_eq!(seen.standing("a", LEASE, start + LEASE), Standing::Held);
        let seen = Sighting::new(None, record("b", 7, 0), start);
        let early = start + Duration::from_secs(59);
        assert_eq!(seen.standing("a", LEASE, early), Standing::Held);
        assert_eq!(seen.standing("a", LEASE, start + LEASE), Standing::Expired);
    }

    #[test]
    fn a_lease_without_a_holder_is_free_and_ones_own_is_ours() {
        let start = Instant::now();
        for holder in [None, Some(String::new())] {
            let spec = LeaseSpec {
                holder_identity: holder,
                ..LeaseSpec::default()
            };
            let record = Record::of(&Lease {
                spec: Some(spec),
                ..Lease::default()
            });
            let seen = Sighting::new(None, record, start);
            assert_eq!(seen.standing("a", LEASE, start), Standing::Free);
        }
        let seen = Sighting::new(None, record("a", 7, 60), start);
        assert_eq!(seen.standing("a", LEASE, start), Standing::Ours);
    }
}
