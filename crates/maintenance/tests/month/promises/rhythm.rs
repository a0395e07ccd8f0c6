//! Checks when policies run.

use std::cell::Cell;

use jiff::{SignedDuration, Timestamp};
use reclaim_maintenance::{Cron, Policy, PolicyOutcome, PolicyRun, Schedule, Trigger};

use crate::clock::Clock;
use crate::diary::{Broken, hold};

/// The time that checks, scans and other work may take.
const SLACK: SignedDuration = SignedDuration::from_secs(120);

/// How long a run with failing calls may take.
const HELD_UP: SignedDuration = SignedDuration::from_mins(60);

const HOUR: SignedDuration = SignedDuration::from_hours(1);

/// When each policy last ran.
#[derive(Debug)]
pub(crate) struct Rhythm {
    beats: Vec<Beat>,
    /// When the timetable was made.
    pub(crate) started: SignedDuration,
}

#[derive(Debug, Clone, Default)]
struct Beat {
    /// When the last run ended: in time that passed, and by the clock.
    last: Option<(SignedDuration, Timestamp)>,
    in_vain: u32,
    /// Whether a daemon that starts knows of it. Runs with nothing to do are not recorded.
    is_remembered: bool,
    /// How long runs have taken since.
    others: SignedDuration,
    /// A cache of the next time of a crontab line: computing it is slow.
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

    /// Records that a timetable was made.
    pub(crate) fn started(&mut self, clock: &Clock) {
        self.started = clock.passed();
        for beat in &mut self.beats {
            beat.in_vain = 0;
            beat.others = SignedDuration::ZERO;
        }
    }

    /// Checks that a policy did not run too early.
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
        // After the clock was set back, wall time does not define what is early.
        if clock.set_back() >= passed {
            return Ok(());
        }
        let early = || {
            let name = policy.name();
            format!("{name} runs at {}, after {ended}: early", clock.now())
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

    /// Records that a policy ran until now.
    pub(crate) fn ended(
        &mut self,
        n: usize,
        passed: SignedDuration,
        run: &PolicyRun,
        clock: &Clock,
    ) {
        let took = run.ended.duration_since(run.began);
        // A clock that was set during the run does not measure how long it took.
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

    /// Checks that no policy is overdue. Failed calls, the last of them at this time, cause delays.
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

    /// Returns how much longer it waits after unsuccessful runs.
    fn back_off(&self, n: usize, every: SignedDuration) -> SignedDuration {
        let mut wait = every;
        for _ in 0..self.beats[n].in_vain.min(5) {
            wait = (wait * 2).min(every.max(HOUR));
        }
        wait - every
    }
}
