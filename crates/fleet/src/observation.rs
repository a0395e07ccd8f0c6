//! Determines who holds a lease, from when its record was last observed to change.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use tokio::time::Instant;

/// Observations of all leases, by name.
pub(crate) type Observations = BTreeMap<String, Observation>;

/// The fields of a lease that are compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    holder: Option<String>,
    renewed: Option<MicroTime>,
    transitions: i32,
    duration: Duration,
}

/// A record, and since when it has been observed unchanged.
#[derive(Debug, Clone)]
pub(crate) struct Observation {
    record: Record,
    since: Instant,
}

/// Who holds a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LeaseState {
    /// No node.
    Free,
    /// This node: an earlier process, or an earlier write whose answer was lost.
    Ours,
    /// Another node, which may be alive.
    Held,
    /// Another node, which has not renewed it for its duration.
    Expired,
}

impl Record {
    pub(crate) fn of(lease: &Lease) -> Self {
        let nothing = LeaseSpec::default();
        let spec = lease.spec.as_ref().unwrap_or(&nothing);
        let seconds = spec.lease_duration_seconds.unwrap_or_default();
        Self {
            holder: spec
                .holder_identity
                .clone()
                .filter(|holder| !holder.is_empty()),
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

impl Observation {
    /// Observes a record, given the previous observation of the lease.
    pub(crate) fn new(before: Option<&Self>, record: Record, now: Instant) -> Self {
        let unchanged = before.filter(|before| before.record == record);
        let since = unchanged.map_or(now, |before| before.since);
        Self { record, since }
    }

    /// Returns who holds the lease. It expires after the longer of its own duration and the
    /// configured one: while a configuration is rolled out, nodes have different durations.
    pub(crate) fn state(&self, node: &str, duration: Duration, now: Instant) -> LeaseState {
        match &self.record.holder {
            None => LeaseState::Free,
            Some(holder) if holder == node => LeaseState::Ours,
            Some(_) if now - self.since >= self.record.duration.max(duration) => {
                LeaseState::Expired
            }
            Some(_) => LeaseState::Held,
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
    fn a_lease_expires_after_it_was_observed_unchanged_for_its_duration() {
        let start = Instant::now();
        // Its renewal time is half a century ago, or in half a century.
        for renewed in [0, 3_500_000_000] {
            let first = Observation::new(None, record("b", renewed, 60), start);
            assert_eq!(first.state("a", LEASE, start), LeaseState::Held);
            let almost = start + LEASE - Duration::from_millis(1);
            let again = Observation::new(Some(&first), record("b", renewed, 60), almost);
            assert_eq!(again.state("a", LEASE, almost), LeaseState::Held);
            assert_eq!(again.state("a", LEASE, start + LEASE), LeaseState::Expired);
        }
    }

    #[test]
    fn any_change_of_the_record_restarts_the_duration() {
        let start = Instant::now();
        let first = Observation::new(None, record("b", 7, 60), start);
        let late = start + LEASE;
        for changed in [record("b", 6, 60), record("c", 7, 60), record("b", 7, 61)] {
            let seen = Observation::new(Some(&first), changed, late);
            assert_eq!(seen.state("a", LEASE, late), LeaseState::Held);
        }
    }

    #[test]
    fn the_longer_of_two_durations_counts() {
        let start = Instant::now();
        let seen = Observation::new(None, record("b", 7, 90), start);
        assert_eq!(seen.state("a", LEASE, start + LEASE), LeaseState::Held);
        let seen = Observation::new(None, record("b", 7, 0), start);
        let early = start + Duration::from_secs(59);
        assert_eq!(seen.state("a", LEASE, early), LeaseState::Held);
        assert_eq!(seen.state("a", LEASE, start + LEASE), LeaseState::Expired);
    }

    #[test]
    fn a_lease_without_a_holder_is_free_and_a_lease_of_this_node_is_ours() {
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
            let seen = Observation::new(None, record, start);
            assert_eq!(seen.state("a", LEASE, start), LeaseState::Free);
        }
        let seen = Observation::new(None, record("a", 7, 60), start);
        assert_eq!(seen.state("a", LEASE, start), LeaseState::Ours);
    }
}
