//! Which policy runs next, and when. Pure: the time and the jitter are passed in.
//!
//! # Guarantees
//!
//! A policy that missed several times, because another ran or the machine slept, runs once. Times
//! of a crontab line that pass while the daemon is down are skipped. A clock that is set back does
//! not delay a policy for longer than its interval.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::policy::{Policy, Schedule};

/// After this many unsuccessful runs in a row the back-off grows no further.
const MAX_DOUBLINGS: u32 = 5;

/// The longest wait after unsuccessful runs, unless the policy's interval is longer.
const MAX_BACK_OFF: Duration = Duration::from_secs(60 * 60);

/// When each policy is due.
#[derive(Debug, Clone, Default)]
pub(super) struct Timetable {
    entries: Vec<Entry>,
}

#[derive(Debug, Clone)]
struct Entry {
    schedule: Schedule,
    /// The time at which `due` was set.
    set: Timestamp,
    due: Option<Timestamp>,
    failures: u32,
}

/// A policy that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Due {
    /// Its position in the list.
    pub(super) policy: usize,
    /// When it is due; possibly in the past.
    pub(super) at: Timestamp,
}

impl Timetable {
    /// Makes the timetable of a daemon that starts now. `ended` returns when a policy last ended, if
    /// that is recorded, and `draw` returns numbers from zero to one.
    pub(super) fn new(
        policies: &[Policy],
        now: Timestamp,
        ended: impl Fn(&Policy) -> Option<Timestamp>,
        mut draw: impl FnMut() -> f64,
    ) -> Self {
        let entries = policies.iter().map(|policy| {
            let start = later(now, policy.startup_delay);
            // A time in the future was recorded by a wrong clock.
            let ended = ended(policy).filter(|ended| *ended <= now);
            let due = match &policy.schedule {
                Schedule::OnDemand => None,
                Schedule::Cron(_) => policy.schedule.due_after(start, 0.0),
                Schedule::Interval { jitter, .. } => {
                    let draw = draw();
                    let by_last = ended.and_then(|it| policy.schedule.due_after(it, draw));
                    let first = later(start, jitter.mul_f64(draw.clamp(0.0, 1.0)));
                    Some(by_last.map_or(first, |it| it.max(first)))
                }
            };
            Entry {
                schedule: policy.schedule.clone(),
                set: now,
                due,
                failures: 0,
            }
        });
        Self {
            entries: entries.collect(),
        }
    }

    /// Returns the policy that is due next; of several at the same time, the first in the list.
    /// `None` if all run only on request.
    pub(super) fn next(&mut self, now: Timestamp) -> Option<Due> {
        for entry in &mut self.entries {
            entry.follow_clock(now);
        }
        let entries = self.entries.iter().enumerate();
        let due = entries.filter_map(|(policy, entry)| entry.due.map(|at| Due { policy, at }));
        due.min_by_key(|due| (due.at, due.policy))
    }

    /// Returns when a policy is due.
    pub(super) fn due(&self, policy: usize) -> Option<Timestamp> {
        self.entries.get(policy)?.due
    }

    /// Records that a policy ran. After each unsuccessful run in a row the wait doubles.
    pub(super) fn done(
        &mut self,
        policy: usize,
        ended: Timestamp,
        is_unsuccessful: bool,
        draw: f64,
    ) {
        let Some(entry) = self.entries.get_mut(policy) else {
            return;
        };
        entry.failures = if is_unsuccessful {
            entry.failures + 1
        } else {
            0
        };
        let due = entry.schedule.due_after(ended, draw);
        entry.set = ended;
        entry.due = due.map(|due| later(due, entry.back_off()));
    }
}

impl Entry {
    /// Returns how much longer than its interval the policy waits.
    fn back_off(&self) -> Duration {
        let Schedule::Interval { every, .. } = &self.schedule else {
            return Duration::ZERO;
        };
        let doublings = self.failures.min(MAX_DOUBLINGS);
        let wait = every.saturating_mul(2_u32.saturating_pow(doublings));
        wait.min(MAX_BACK_OFF.max(*every)).saturating_sub(*every)
    }

    /// Keeps the remaining wait if the clock was set back.
    fn follow_clock(&mut self, now: Timestamp) {
        if now >= self.set {
            return;
        }
        self.due = match &self.schedule {
            Schedule::Interval { .. } => {
                let wait = self.due.map(|due| due.duration_since(self.set));
                wait.and_then(|wait| now.checked_add(wait).ok())
            }
            Schedule::Cron(_) | Schedule::OnDemand => self.schedule.due_after(now, 0.0),
        };
        self.set = now;
    }
}

fn later(moment: Timestamp, by: Duration) -> Timestamp {
    let by = SignedDuration::try_from(by).unwrap_or(SignedDuration::MAX);
    moment.checked_add(by).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Cron;

    fn at(text: &str) -> Timestamp {
        format!("2026-01-01T{text}Z").parse().unwrap()
    }

    fn policy(schedule: Schedule, startup_delay: u64) -> Policy {
        Policy {
            schedule,
            startup_delay: Duration::from_secs(startup_delay),
            ..Policy::of_name("p".parse().unwrap())
        }
    }

    fn every(seconds: u64) -> Schedule {
        Schedule::Interval {
            every: Duration::from_secs(seconds),
            jitter: Duration::ZERO,
        }
    }

    fn table(policies: &[Policy], ended: Option<Timestamp>) -> Timetable {
        Timetable::new(policies, at("12:00:00"), |_| ended, || 0.0)
    }

    fn next(table: &mut Timetable, now: &str) -> (usize, Timestamp) {
        let due = table.next(at(now)).unwrap();
        (due.policy, due.at)
    }

    #[test]
    fn runs_at_the_start_unless_it_ran_just_before() {
        let policies = [policy(every(600), 30)];
        let mut fresh = table(&policies, None);
        assert_eq!(next(&mut fresh, "12:00:00"), (0, at("12:00:30")));
        let mut restarted = table(&policies, Some(at("11:55:00")));
        assert_eq!(next(&mut restarted, "12:00:00"), (0, at("12:05:00")));
        let mut from_the_future = table(&policies, Some(at("13:00:00")));
        assert_eq!(next(&mut from_the_future, "12:00:00"), (0, at("12:00:30")));
    }

    #[test]
    fn several_missed_times_cause_one_run() {
        let cron = Cron::new("*/10 * * * *", "UTC").unwrap();
        let policies = [policy(Schedule::Cron(cron), 0), policy(every(60), 0)];
        let mut table = table(&policies, None);
        assert_eq!(next(&mut table, "12:00:00"), (1, at("12:00:00")));
        table.done(1, at("12:45:00"), false, 0.0);
        // The first missed four ticks.
        assert_eq!(next(&mut table, "12:45:00"), (0, at("12:10:00")));
        table.done(0, at("12:45:10"), false, 0.0);
        assert_eq!(next(&mut table, "12:45:10"), (1, at("12:46:00")));
        assert_eq!(table.due(0), Some(at("12:50:00")));
    }

    #[test]
    fn setting_the_clock_back_keeps_the_remaining_wait() {
        let cron = Cron::new("0 * * * *", "UTC").unwrap();
        let policies = [policy(every(600), 0), policy(Schedule::Cron(cron), 0)];
        let mut table = table(&policies, None);
        table.done(0, at("12:00:05"), false, 0.0);
        table.done(1, at("12:00:05"), false, 0.0);
        assert_eq!(next(&mut table, "03:00:00"), (0, at("03:10:00")));
        assert_eq!(table.due(1), Some(at("04:00:00")));
    }

    #[test]
    fn unsuccessful_runs_double_the_wait_until_a_success() {
        let policies = [policy(every(600), 0)];
        let mut table = table(&policies, None);
        let mut waits = Vec::new();
        for _ in 0..8 {
            table.done(0, at("12:00:00"), true, 0.0);
            let due = table.due(0).unwrap();
            waits.push(due.duration_since(at("12:00:00")).as_secs() / 60);
        }
        assert_eq!(waits, [20, 40, 60, 60, 60, 60, 60, 60]);
        table.done(0, at("12:00:00"), false, 0.0);
        assert_eq!(table.due(0), Some(at("12:10:00")));
        // The wait does not exceed an interval that is longer than the maximum.
        let policies = [policy(every(7200), 0)];
        let mut table = super::tests::table(&policies, None);
        table.done(0, at("12:00:00"), true, 0.0);
        assert_eq!(table.due(0), Some(at("14:00:00")));
    }

    #[test]
    fn a_policy_on_demand_is_never_next() {
        let mut table = table(&[policy(Schedule::OnDemand, 0)], None);
        assert_eq!(table.next(at("12:00:00")), None);
    }
}
