//! When policies are looked at.

use std::cell::Cell;

use jiff::{SignedDuration, Timestamp};
use reclaim_maintenance::{Cron, Policy, PolicyOutcome, PolicyRun, Schedule, Trigger};

use crate::clock::Clock;
use crate::diary::{Broken, hold};

/// What glances, looks and what others do on the way may take.
const SLACK: SignedDuration = SignedDuration::from_secs(120);

/// How long a run may take in which calls go wrong, and what waits for it.
const HELD_UP: SignedDuration = SignedDuration::from_mins(60);

const HOUR: SignedDuration = SignedDuration::from_hours(1);

/// When each policy was looked at last.
#[derive(Debug)]
pub(crate) struct Rhythm {
    beats: Vec<Beat>,
    /// When the timetable was made.
    pub(crate) started: SignedDuration,
}

#[derive(Debug, Clone, Default)]
struct Beat {
    /// When the last look ended: in what really passed, and by the clock.
    last: Option<(SignedDuration, Timestamp)>,
    in_vain: u32,
    /// Whether a daemon that starts knows of it: of what found nothing to do it does not.
    is_remembered: bool,
    /// How long runs took since.
    others: SignedDuration,
    /// The next time of a crontab line after a moment: computing it is slow.
    next: Cell<Option<(Timestamp, Timestamp)>>,
}

impl Beat {
    fn next(&self, cron: &Cron, after: Timestamp) -> Timestamp {
        if let Some((known, next)) = self.next.get()
            && known == after
        {
            return next;
        }
        let next = cron.after(after).expect("there is always a next time");
        self.next.set(Some((after, next)));
        next
    }
}

impl Rhythm {
    pub(crate) fn new(n_policies: usize) -> Self {
        Self {
            beats: vec![Beat::default(); n_policies],
            started: SignedDuration::ZERO,
        }
    }

    /// A timetable is made.
    pub(crate) fn started(&mut self, clock: &Clock) {
        self.started = clock.passed();
        for beat in &mut self.beats {
            beat.in_vain = 0;
            beat.others = SignedDuration::ZERO;
        }
    }

    /// A policy ran: not too early.
    pub(crate) fn ran(
        &self,
        n: usize,
        policy: &Policy,
        run: &PolicyRun,
        clock: &Clock,
    ) -> Result<(), Broken> {
        if run.trigger == Trigger::Demand {
            return Ok(());
        }
        let Some((passed, ended)) = self.beats[n].last else {
            return Ok(());
        };
        if self.started >= passed && !self.beats[n].is_remembered {
            return Ok(());
        }
        // After a clock was set back no wall time tells what is early.
        if clock.set_back() >= passed {
            return Ok(());
        }
        let early = || {
            let name = policy.name();
            format!(
                "{name} is looked at at {}, after {ended}: early",
                clock.now()
            )
        };
        match &policy.schedule {
            Schedule::OnDemand => hold(false, early),
            Schedule::Interval { every, .. } => {
                let every = SignedDuration::try_from(*every).expect("short");
                hold(clock.now().duration_since(ended) >= every, early)?;
                let is_steady = clock.set() < passed && self.started < passed;
                let wait = every + self.back_off(n, every);
                hold(!is_steady || clock.passed() - passed >= wait, early)
            }
            Schedule::Cron(cron) => {
                let next = cron.after(ended);
                hold(next.is_some_and(|next| clock.now() >= next), early)
            }
        }
    }

    /// Notes that a policy ran until now.
    pub(crate) fn ended(
        &mut self,
        n: usize,
        passed: SignedDuration,
        run: &PolicyRun,
        clock: &Clock,
    ) {
        let took = run.ended.duration_since(run.began);
        // A clock that was set meanwhile does not tell how long it took.
        let took = if (SignedDuration::ZERO..HOUR).contains(&took) {
            took
        } else {
            HOUR
        };
        for beat in &mut self.beats {
            beat.others += took;
        }
        if run.is_rehearsal() {
            return;
        }
        let is_unsuccessful = run.is_unsuccessful();
        let beat = &mut self.beats[n];
        beat.is_remembered = run.outcome != PolicyOutcome::Nothing || !run.reports.is_empty();
        beat.last = Some((passed, clock.now()));
        beat.in_vain = if is_unsuccessful { beat.in_vain + 1 } else { 0 };
        beat.others = SignedDuration::ZERO;
    }

    /// No policy is overdue. Calls that went wrong, the last of them then, hold up what is due.
    pub(crate) fn is_kept(
        &self,
        policies: &[Policy],
        clock: &Clock,
        faults: SignedDuration,
    ) -> Result<(), Broken> {
        if clock.passed() < faults.saturating_add(HELD_UP) {
            return Ok(());
        }
        let mut policies = policies.iter().enumerate();
        policies.try_for_each(|(n, policy)| self.is_in_time(n, policy, clock, faults))
    }

    fn is_in_time(
        &self,
        n: usize,
        policy: &Policy,
        clock: &Clock,
        faults: SignedDuration,
    ) -> Result<(), Broken> {
        let beat = &self.beats[n];
        let last = beat.last.map_or(SignedDuration::MIN, |it| it.0);
        let delay = SignedDuration::try_from(policy.startup_delay).expect("short");
        let held_up = if faults.saturating_add(HELD_UP) >= last.max(self.started) {
            HELD_UP
        } else {
            SignedDuration::ZERO
        };
        let slack = SLACK + beat.others + held_up;
        let late = || {
            let name = policy.name();
            format!("{name} is overdue, {beat:?}, started {:?}", self.started)
        };
        match &policy.schedule {
            Schedule::OnDemand => Ok(()),
            Schedule::Interval { every, jitter } => {
                let every = SignedDuration::try_from(*every).expect("short");
                let jitter = SignedDuration::try_from(*jitter).expect("short");
                let wait = every + jitter + self.back_off(n, every);
                let wait = wait.max(delay + jitter);
                let base = last.max(self.started).max(clock.set_back());
                hold(clock.passed() <= base + wait + slack, late)
            }
            Schedule::Cron(cron) => {
                let base = last.max(self.started).max(clock.set());
                let then = clock.now() - (clock.passed() - base);
                let then = if base == last {
                    then
                } else {
                    then + delay + SLACK
                };
                let next = beat.next(cron, then);
                hold(clock.now() <= next + slack, late)
            }
        }
    }

    /// How much longer it waits after unsuccessful checks.
    fn back_off(&self, n: usize, every: SignedDuration) -> SignedDuration {
        let mut wait = every;
        for _ in 0..self.beats[n].in_vain.min(5) {
            wait = (wait * 2).min(every.max(HOUR));
        }
        wait - every
    }
}
