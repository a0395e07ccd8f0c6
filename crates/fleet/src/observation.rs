//! Determines whether a lease is held, from when its record was last observed to change.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use tokio::time::Instant;

use crate::config::ClusterLockConfig;

/// Observations of all leases, by name.
pub(crate) type Observations = BTreeMap<String, Observation>;

/// The fields of a lease that are compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    holder: Option<String>,
    renewed: Option<MicroTime>,
    duration: Duration,
}

/// A record, and since when it has been observed unchanged.
#[derive(Debug, Clone)]
pub(crate) struct Observation {
    record: Record,
    since: Instant,
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
            duration: Duration::from_secs(seconds.try_into().unwrap_or_default())
                .min(ClusterLockConfig::MAX_LEASE),
        }
    }

    pub(crate) fn is_of(&self, node: &str) -> bool {
        self.holder.as_deref() == Some(node)
    }
}

impl Observation {
    /// Observes a record, given the previous observation of the lease.
    pub(crate) fn new(before: Option<&Self>, record: Record, now: Instant) -> Self {
        let unchanged = before.filter(|before| before.record == record);
        let since = unchanged.map_or(now, |before| before.since);
        Self { record, since }
    }

    /// Whether the lease is held. It expires after the longer of its own duration and the configured
    /// one: while a configuration is rolled out, nodes have different durations.
    pub(crate) fn is_held(&self, duration: Duration, now: Instant) -> bool {
        self.record.holder.is_some() && now - self.since < self.record.duration.max(duration)
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
            assert!(first.is_held(LEASE, start));
            let almost = start + LEASE - Duration::from_millis(1);
            let again = Observation::new(Some(&first), record("b", renewed, 60), almost);
            assert!(again.is_held(LEASE, almost));
            assert!(!again.is_held(LEASE, start + LEASE));
        }
    }

    #[test]
    fn any_change_of_the_record_restarts_the_duration() {
        let start = Instant::now();
        let first = Observation::new(None, record("b", 7, 60), start);
        let late = start + LEASE;
        for changed in [record("b", 6, 60), record("c", 7, 60), record("b", 7, 61)] {
            let seen = Observation::new(Some(&first), changed, late);
            assert!(seen.is_held(LEASE, late));
        }
    }

    #[test]
    fn the_longer_of_two_durations_counts() {
        let start = Instant::now();
        let seen = Observation::new(None, record("b", 7, 90), start);
        assert!(seen.is_held(LEASE, start + LEASE));
        let seen = Observation::new(None, record("b", 7, 0), start);
        let early = start + Duration::from_secs(59);
        assert!(seen.is_held(LEASE, early));
        assert!(!seen.is_held(LEASE, start + LEASE));
    }

    #[test]
    fn no_lease_lasts_longer_than_the_longest_that_can_be_configured() {
        let start = Instant::now();
        let seen = Observation::new(None, record("b", 7, i32::MAX), start);
        assert!(!seen.is_held(LEASE, start + ClusterLockConfig::MAX_LEASE));
    }

    #[test]
    fn a_lease_without_a_holder_is_free() {
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
            assert!(!seen.is_held(LEASE, start));
        }
    }
}
