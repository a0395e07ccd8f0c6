//! The daemon's loop: looks at each policy when it is due or somebody asks, one at a time.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use reclaim_model::{Filesystem, Mode, PolicyName, chain};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::handle::{Ask, CaretakerHandle, Desk};
use super::history::RunHistory;
use super::io_pressure::io_pressure;
use super::outcome::{PolicyRun, Trigger};
use super::run::Maintenance;
use super::timetable::Timetable;
use crate::cancel::unless_cancelled;
use crate::engine::RunError;
use crate::off_thread::blocking;
use crate::policy::{Policy, UnknownPolicy};

/// How often the filesystems are looked at, and the clock: it may have been set.
const GLANCE: Duration = Duration::from_secs(30);

/// How soon it is tried again to begin.
const BEGIN_AGAIN: Duration = Duration::from_secs(5);

/// How soon a policy is looked at again that was put off because of waiting I/O.
const PUT_OFF: Duration = Duration::from_secs(10);

/// How long a policy is put off at most: pressure on the disk does not wait for calm.
const MAX_PUT_OFF: SignedDuration = SignedDuration::from_mins(10);

/// Hears what the caretaker sees and does. Called between its steps, so it must not block.
pub trait CaretakerObserver: fmt::Debug + Send + Sync {
    /// The filesystems were looked at; `None` if containerd cannot be asked.
    fn looked(&self, filesystems: Option<&[Filesystem]>);
    /// A policy ran.
    fn ran(&self, run: &PolicyRun);
    /// A policy is due then; `None` if only somebody who asks makes it run.
    fn due(&self, policy: &PolicyName, at: Option<Timestamp>);
}

/// What a caretaker works by. A new configuration is a new one of these.
#[derive(Debug, Clone)]
pub struct Duties {
    /// What policies run with.
    pub maintenance: Maintenance,
    /// The policies, in their order.
    pub policies: Vec<Policy>,
}

/// Runs policies when they are due, and between that when somebody asks.
#[derive(Debug)]
pub struct Caretaker {
    duties: Duties,
    desk: Desk,
    history: Arc<RunHistory>,
    observer: Arc<dyn CaretakerObserver>,
    timetable: Timetable,
    put_off_since: Option<Timestamp>,
    /// Whether the last look at the filesystems was in vain.
    is_blind: bool,
}

impl Caretaker {
    /// Begins with these duties. What the history remembers decides how soon.
    pub fn new(
        duties: Duties,
        history: Arc<RunHistory>,
        observer: Arc<dyn CaretakerObserver>,
    ) -> Self {
        let timetable = timetable(&duties, &history);
        Self {
            desk: Desk::new(duties.clone(), Arc::clone(&history)),
            duties,
            history,
            observer,
            timetable,
            put_off_since: None,
            is_blind: false,
        }
    }

    /// Returns a way to ask it, from now on and as long as it goes on.
    pub fn handle(&self) -> CaretakerHandle {
        self.desk.handle()
    }

    /// Does so until it is cancelled. New duties are taken up between two runs, and before
    /// anything that is asked for after they came.
    pub async fn keep(mut self, mut new: mpsc::Receiver<Duties>, cancel: &CancellationToken) {
        self.reconcile(cancel).await;
        self.announce();
        while !cancel.is_cancelled() {
            self.duties.maintenance.engine.motion.step();
            tokio::select! {
                biased;
                () = cancel.cancelled() => return,
                () = self.glance() => {}
            }
            let wait = self.step(cancel).await;
            tokio::select! {
                biased;
                () = cancel.cancelled() => {}
                Some(duties) = new.recv() => self.take_up(duties),
                Some(ask) = self.desk.next() => self.answer(ask, cancel).await,
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Learns what was used while nobody watched, before anything is judged by it.
    async fn reconcile(&mut self, cancel: &CancellationToken) {
        let mut asked: Option<Ask> = None;
        let mut is_told = false;
        loop {
            let Maintenance { engine, index, .. } = &self.duties.maintenance;
            engine.motion.step();
            let error = match unless_cancelled(cancel, engine.reconcile(index)).await {
                Ok(()) => break,
                Err(RunError::Cancelled) => return,
                Err(error) => error,
            };
            let reason = chain(&error);
            if is_told {
                debug!(error = %reason, "containerd cannot be read yet");
            } else {
                warn!(error = %reason, "no policy runs before containerd can be read");
                is_told = true;
            }
            self.observer.looked(None);
            if let Some(ask) = asked.take() {
                ask.fail(error.into());
            }
            tokio::select! {
                () = cancel.cancelled() => return,
                () = tokio::time::sleep(BEGIN_AGAIN) => {}
                ask = self.desk.next() => asked = ask,
            }
        }
        if let Some(ask) = asked {
            self.answer(ask, cancel).await;
        }
    }

    /// Runs the policy that is due, if one is. Returns how long to wait then.
    async fn step(&mut self, cancel: &CancellationToken) -> Duration {
        let now = self.duties.maintenance.engine.store.now();
        let Some(due) = self.timetable.next(now) else {
            return GLANCE;
        };
        if due.at > now {
            let wait = Duration::try_from(due.at.duration_since(now));
            return wait.unwrap_or(GLANCE).min(GLANCE);
        }
        let policy = self.duties.policies[due.policy].clone();
        let pressure = if policy.max_io_pressure.is_some() {
            blocking(io_pressure).await
        } else {
            None
        };
        if self.is_put_off(&policy, pressure, now) {
            return PUT_OFF;
        }
        self.run(due.policy, &policy, Trigger::Schedule, cancel)
            .await;
        Duration::ZERO
    }

    /// Runs what somebody asks for. What is not begun when it is cancelled does not run.
    async fn answer(&mut self, ask: Ask, cancel: &CancellationToken) {
        let places = match self.places(&ask) {
            Ok(places) => places,
            // The policies are others than when it was asked for.
            Err(error) => return ask.fail(error.into()),
        };
        for place in places {
            if cancel.is_cancelled() {
                return;
            }
            let mut policy = self.duties.policies[place].clone();
            if ask.mode == Mode::DryRun {
                policy.mode = Mode::DryRun;
            }
            ask.tell(self.run(place, &policy, Trigger::Demand, cancel).await);
        }
        ask.done();
    }

    /// Returns the places of the policies that are meant.
    fn places(&self, ask: &Ask) -> Result<Vec<usize>, UnknownPolicy> {
        let policies = &self.duties.policies;
        let chosen = Policy::chosen(policies, &ask.names)?;
        let is_chosen = |it: &Policy| chosen.iter().any(|chosen| chosen.name() == it.name());
        let places = 0..policies.len();
        Ok(places.filter(|it| is_chosen(&policies[*it])).collect())
    }

    /// Runs the policy of that place, as `policy` has it, and remembers it.
    async fn run(
        &mut self,
        place: usize,
        policy: &Policy,
        trigger: Trigger,
        cancel: &CancellationToken,
    ) -> PolicyRun {
        let maintenance = self.duties.maintenance.clone();
        // Boxed, or it would take its place in the future of the whole loop.
        let run = Box::pin(maintenance.run(policy, trigger, cancel)).await;
        self.observer.ran(&run);
        let history = Arc::clone(&self.history);
        let (run, added) = blocking(move || {
            let added = history.add(&run);
            (run, added)
        })
        .await;
        if let Err(error) = added {
            let error = chain(&error);
            warn!(%error, "the run will not be remembered");
        }
        if !run.is_rehearsal() {
            let (ended, is_in_vain) = (run.ended, run.is_in_vain());
            self.timetable
                .done(place, ended, is_in_vain, fastrand::f64());
            self.announce();
        }
        run
    }

    /// Whether the machine has better things to do.
    fn is_put_off(&mut self, policy: &Policy, pressure: Option<f64>, now: Timestamp) -> bool {
        let is_busy = policy
            .max_io_pressure
            .zip(pressure)
            .is_some_and(|(max, found)| found > f64::from(max));
        if !is_busy {
            self.put_off_since = None;
            return false;
        }
        let since = *self.put_off_since.get_or_insert(now);
        // A clock that was set back would put it off for as long.
        let is_long = !(SignedDuration::ZERO..MAX_PUT_OFF).contains(&now.duration_since(since));
        if is_long {
            self.put_off_since = None;
        } else {
            info!(policy = %policy.name(), "put off: tasks wait for I/O");
        }
        !is_long
    }

    async fn glance(&mut self) {
        let looked = self.duties.maintenance.filesystems().await;
        let was_blind = std::mem::replace(&mut self.is_blind, looked.is_err());
        match looked {
            Ok(filesystems) => self.observer.looked(Some(&filesystems)),
            Err(error) => {
                let error = chain(&error);
                if was_blind {
                    debug!(%error, "the filesystems cannot be looked at");
                } else {
                    warn!(%error, "the filesystems cannot be looked at");
                }
                self.observer.looked(None);
            }
        }
    }

    fn take_up(&mut self, duties: Duties) {
        info!(policies = duties.policies.len(), "new duties are taken up");
        self.timetable = timetable(&duties, &self.history);
        self.desk.publish(duties.clone());
        self.duties = duties;
        self.announce();
    }

    fn announce(&self) {
        for (index, policy) in self.duties.policies.iter().enumerate() {
            self.observer.due(policy.name(), self.timetable.due(index));
        }
    }
}

fn timetable(duties: &Duties, history: &RunHistory) -> Timetable {
    let ended = |policy: &Policy| history.last_end(policy.name());
    let now = duties.maintenance.engine.store.now();
    Timetable::new(&duties.policies, now, ended, fastrand::f64)
}
