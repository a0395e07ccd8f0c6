//! The daemon's loop: looks at each policy when it is due, one at a time.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use reclaim_model::{Filesystem, PolicyName, chain};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::history::RunHistory;
use super::io_pressure::io_pressure;
use super::outcome::{PolicyRun, Trigger};
use super::run::Maintenance;
use super::timetable::Timetable;
use crate::clock;
use crate::policy::Policy;

/// How often the filesystems are looked at, and the clock: it may have been set.
const GLANCE: Duration = Duration::from_secs(30);

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

/// Runs policies when they are due.
#[derive(Debug)]
pub struct Caretaker {
    duties: Duties,
    history: Arc<RunHistory>,
    observer: Arc<dyn CaretakerObserver>,
    timetable: Timetable,
    put_off_since: Option<Timestamp>,
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
            duties,
            history,
            observer,
            timetable,
            put_off_since: None,
        }
    }

    /// Does so until it is cancelled. New duties are taken up between two runs.
    pub async fn keep(mut self, mut new: mpsc::Receiver<Duties>, cancel: &CancellationToken) {
        self.reconcile(cancel).await;
        self.announce();
        while !cancel.is_cancelled() {
            self.glance().await;
            let wait = self.step(cancel).await;
            tokio::select! {
                () = cancel.cancelled() => {}
                () = tokio::time::sleep(wait) => {}
                Some(duties) = new.recv() => self.take_up(duties),
            }
        }
    }

    /// Learns what was used while nobody watched, before anything is judged by it.
    async fn reconcile(&self, cancel: &CancellationToken) {
        let Maintenance { engine, index, .. } = &self.duties.maintenance;
        while let Err(error) = engine.reconcile(index).await {
            let error = chain(&error);
            warn!(%error, "no policy runs before containerd can be read");
            self.observer.looked(None);
            tokio::select! {
                () = cancel.cancelled() => return,
                () = tokio::time::sleep(GLANCE) => {}
            }
        }
    }

    /// Runs the policy that is due, if one is. Returns how long to wait then.
    async fn step(&mut self, cancel: &CancellationToken) -> Duration {
        let now = clock::now();
        let Some(due) = self.timetable.next(now) else {
            return GLANCE;
        };
        if due.at > now {
            let wait = Duration::try_from(due.at.duration_since(now));
            return wait.unwrap_or(GLANCE).min(GLANCE);
        }
        let policy = self.duties.policies[due.policy].clone();
        if self.is_put_off(&policy, now) {
            return PUT_OFF;
        }
        let maintenance = self.duties.maintenance.clone();
        let run = maintenance.run(&policy, Trigger::Schedule, cancel).await;
        self.observer.ran(&run);
        if let Err(error) = self.history.add(&run) {
            let error = chain(&error);
            warn!(%error, "the run will not be remembered");
        }
        let is_in_vain = run.is_in_vain();
        let draw = fastrand::f64();
        self.timetable.done(due.policy, run.ended, is_in_vain, draw);
        self.announce();
        Duration::ZERO
    }

    /// Whether the machine has better things to do.
    fn is_put_off(&mut self, policy: &Policy, now: Timestamp) -> bool {
        let is_busy = policy
            .max_io_pressure
            .zip(io_pressure())
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

    async fn glance(&self) {
        match self.duties.maintenance.filesystems().await {
            Ok(filesystems) => self.observer.looked(Some(&filesystems)),
            Err(error) => {
                let error = chain(&error);
                warn!(%error, "the filesystems cannot be looked at");
                self.observer.looked(None);
            }
        }
    }

    fn take_up(&mut self, duties: Duties) {
        info!(policies = duties.policies.len(), "new duties are taken up");
        self.timetable = timetable(&duties, &self.history);
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
    Timetable::new(&duties.policies, clock::now(), ended, fastrand::f64)
}
