//! The daemon's loop: runs each policy when it is due or requested, one at a time.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use reclaim_engine::{RunError, blocking, unless_cancelled};
use reclaim_model::{Caller, Inhibitor, Mode, chain};
use reclaim_store::Filesystems;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::cluster_lock::ObservedLock;
use crate::filling::{FillForecast, FillHistory};
use crate::history::RunHistory;
use crate::io_pressure::io_pressure;
use crate::observer::MaintenanceObserver;
use crate::policy::{Policy, UnknownPolicy};
use crate::policy_run::{PolicyOutcome, PolicyRun, Trigger};
use crate::requests::{RequestQueue, RunRequest, SchedulerHandle};
use crate::run::Maintenance;
use crate::timetable::Timetable;

/// The time between two checks of the filesystems and of the clock, which may have been set.
const CHECK: Duration = Duration::from_secs(30);

/// The time between two attempts to read containerd at the start.
const RETRY: Duration = Duration::from_secs(5);

/// The time until a policy is checked again that was postponed because of I/O pressure, or because
/// a command inhibits it.
const POSTPONED: Duration = Duration::from_secs(10);

/// How long a policy is postponed at most: pressure on the disk does not wait for calm.
const MAX_POSTPONED: SignedDuration = SignedDuration::from_mins(10);

/// The policies of a configuration, and what they run with.
#[derive(Debug, Clone)]
pub struct PolicySet {
    /// What policies run with.
    pub maintenance: Maintenance,
    /// The policies, in their order.
    pub policies: Vec<Policy>,
}

/// Runs policies when they are due, and on request in between.
#[derive(Debug)]
pub struct Scheduler {
    set: PolicySet,
    queue: RequestQueue,
    history: Arc<RunHistory>,
    filling: Arc<FillHistory>,
    observer: Arc<dyn MaintenanceObserver>,
    timetable: Timetable,
    postponed_since: Option<Timestamp>,
    /// The command that keeps policies from running, if there is one.
    inhibitor: Option<Inhibitor>,
    /// Whether the last check could not measure the filesystems.
    is_blind: bool,
}

impl Scheduler {
    /// Makes a scheduler for these policies. The history decides when each is due first. `filling`
    /// receives what it measures.
    pub fn new(
        set: PolicySet,
        history: Arc<RunHistory>,
        filling: Arc<FillHistory>,
        observer: Arc<dyn MaintenanceObserver>,
    ) -> Self {
        let set = observed(set, &observer);
        let timetable = timetable(&set, &history);
        Self {
            queue: RequestQueue::new(set.clone(), Arc::clone(&history), Arc::clone(&filling)),
            set,
            history,
            filling,
            observer,
            timetable,
            postponed_since: None,
            inhibitor: None,
            is_blind: false,
        }
    }

    /// Returns a handle that sends requests to this scheduler.
    pub fn handle(&self) -> SchedulerHandle {
        self.queue.handle()
    }

    /// Runs policies until it is cancelled. A new policy set is adopted between two runs, and
    /// before any request that was sent after it.
    pub async fn run(mut self, mut new: mpsc::Receiver<PolicySet>, cancel: &CancellationToken) {
        self.reconcile(cancel).await;
        self.announce();
        while !cancel.is_cancelled() {
            self.set.maintenance.engine.heartbeat().beat();
            tokio::select! {
                biased;
                () = cancel.cancelled() => return,
                () = self.check_filesystems() => {}
            }
            let wait = self.step(cancel).await;
            tokio::select! {
                biased;
                () = cancel.cancelled() => {}
                Some(set) = new.recv() => self.adopt(set),
                Some(request) = self.queue.next() => self.answer(request, cancel).await,
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Updates last use with what happened while no daemon ran, before a policy decides by it.
    async fn reconcile(&mut self, cancel: &CancellationToken) {
        let mut pending: Option<RunRequest> = None;
        let mut is_logged = false;
        loop {
            let Maintenance { engine, index, .. } = &self.set.maintenance;
            engine.heartbeat().beat();
            let error = match unless_cancelled(cancel, index.reconcile(engine)).await {
                Ok(_) => break,
                Err(RunError::Cancelled) => return,
                Err(error) => error,
            };
            let reason = chain(&error);
            if is_logged {
                debug!(error = %reason, "cannot read containerd yet");
            } else {
                warn!(error = %reason, "cannot read containerd; no policy runs until it answers");
                is_logged = true;
            }
            self.observer.measured(None);
            if let Some(request) = pending.take() {
                request.fail(error.into());
            }
            tokio::select! {
                () = cancel.cancelled() => return,
                () = tokio::time::sleep(RETRY) => {}
                request = self.queue.next() => pending = request,
            }
        }
        if let Some(request) = pending {
            self.answer(request, cancel).await;
        }
    }

    /// Runs the policy that is due, if any. Returns how long to wait afterwards.
    async fn step(&mut self, cancel: &CancellationToken) -> Duration {
        let now = self.set.maintenance.engine.store().now();
        let Some(due) = self.timetable.next(now) else {
            return CHECK;
        };
        if due.at > now {
            let wait = Duration::try_from(due.at.duration_since(now));
            return wait.unwrap_or(CHECK).min(CHECK);
        }
        let policy = self.set.policies[due.policy].clone();
        if policy.mode == Mode::Apply && self.is_inhibited(&policy).await {
            return POSTPONED;
        }
        let pressure = if policy.max_io_pressure.is_some() {
            blocking(io_pressure).await
        } else {
            None
        };
        if self.is_postponed(&policy, pressure, now) {
            return POSTPONED;
        }
        self.run_one(due.policy, &policy, None, cancel).await;
        Duration::ZERO
    }

    /// Runs the policies of a request. After a cancellation no further policy begins.
    async fn answer(&mut self, request: RunRequest, cancel: &CancellationToken) {
        let places = match self.places(&request) {
            Ok(places) => places,
            // The policy set has changed since the request was checked.
            Err(error) => return request.fail(error.into()),
        };
        for place in places {
            if cancel.is_cancelled() {
                return;
            }
            let mut policy = self.set.policies[place].clone();
            if request.mode == Mode::DryRun {
                policy.mode = Mode::DryRun;
            }
            let run = self
                .run_one(place, &policy, Some(&request.caller), cancel)
                .await;
            request.send(run);
        }
        request.done();
    }

    /// Returns the positions of the requested policies.
    fn places(&self, request: &RunRequest) -> Result<Vec<usize>, UnknownPolicy> {
        let policies = &self.set.policies;
        let chosen = Policy::chosen(policies, &request.names)?;
        let is_chosen = |policy: &Policy| chosen.iter().any(|it| it.name() == policy.name());
        let places = 0..policies.len();
        Ok(places
            .filter(|place| is_chosen(&policies[*place]))
            .collect())
    }

    /// Runs the policy at `place` with the settings in `policy`, and records the run. Without a
    /// caller, the schedule wants it.
    async fn run_one(
        &mut self,
        place: usize,
        policy: &Policy,
        caller: Option<&Caller>,
        cancel: &CancellationToken,
    ) -> PolicyRun {
        let mut maintenance = self.set.maintenance.clone();
        let trigger = match caller {
            Some(caller) => {
                let engine = maintenance.engine.called_by(caller.clone());
                maintenance.engine = Arc::new(engine);
                Trigger::Demand
            }
            None => Trigger::Schedule,
        };
        // Boxed, or it would take its place in the future of the whole loop.
        let run = Box::pin(maintenance.run(policy, trigger, cancel)).await;
        self.observer.ran(&run);
        if let Some(lock) = &maintenance.cluster_lock {
            lock.lock.ran(&run);
        }
        let history = Arc::clone(&self.history);
        let (run, added) = blocking(move || {
            let added = history.add(&run);
            (run, added)
        })
        .await;
        if let Err(error) = added {
            let error = chain(&error);
            warn!(%error, "cannot record the policy run");
        }
        // An inhibited policy stays due.
        let was_inhibited = trigger == Trigger::Schedule && run.outcome == PolicyOutcome::Inhibited;
        if !run.is_rehearsal() && !was_inhibited {
            let (ended, is_unsuccessful) = (run.ended, run.is_unsuccessful());
            self.timetable
                .done(place, ended, is_unsuccessful, fastrand::f64());
            self.announce();
        }
        run
    }

    /// Whether a policy that is due waits for the end of a command. If that is unknown, the run
    /// fails for the same reason.
    async fn is_inhibited(&mut self, policy: &Policy) -> bool {
        let inhibitors = self.set.maintenance.engine.inhibitors().await;
        let found = inhibitors.unwrap_or_default().into_iter().next();
        let key = |inhibitor: &Inhibitor| (inhibitor.pid, inhibitor.since);
        match &found {
            Some(inhibitor) if self.inhibitor.as_ref().map(key) != Some(key(inhibitor)) => {
                info!(policy = %policy.name(), reason = %inhibitor, "policy postponed");
            }
            None if self.inhibitor.is_some() => info!("policies are no longer inhibited"),
            Some(_) | None => {}
        }
        self.observer.inhibited(found.is_some());
        self.inhibitor = found;
        self.inhibitor.is_some()
    }

    /// Whether a policy that is due waits because of I/O pressure.
    fn is_postponed(&mut self, policy: &Policy, pressure: Option<f64>, now: Timestamp) -> bool {
        let is_busy = policy
            .max_io_pressure
            .zip(pressure)
            .is_some_and(|(max, found)| found > f64::from(max));
        if !is_busy {
            self.postponed_since = None;
            return false;
        }
        let since = *self.postponed_since.get_or_insert(now);
        // Without the lower bound, a clock that was set back would postpone it for as long.
        let is_long = !(SignedDuration::ZERO..MAX_POSTPONED).contains(&now.duration_since(since));
        if is_long {
            self.postponed_since = None;
        } else {
            info!(policy = %policy.name(), "policy postponed: I/O pressure is above max_io_pressure");
        }
        !is_long
    }

    /// Measures the filesystems and reports them to the observer.
    async fn check_filesystems(&mut self) {
        let measured = self.set.maintenance.filesystems().await;
        let was_blind = std::mem::replace(&mut self.is_blind, measured.is_err());
        match measured {
            Ok(filesystems) => {
                self.observer.measured(Some(&filesystems));
                self.record_filling(filesystems).await;
            }
            Err(error) => {
                let error = chain(&error);
                if was_blind {
                    debug!(%error, "cannot measure the filesystems");
                } else {
                    warn!(%error, "cannot measure the filesystems");
                }
                self.observer.measured(None);
            }
        }
    }

    /// Records how full the filesystems are, and reports when they will be full.
    async fn record_filling(&self, found: Filesystems) {
        let (filling, policies) = (Arc::clone(&self.filling), self.set.policies.clone());
        let evaluating = move || {
            let recorded = filling.record(&found.seen);
            let forecast = FillForecast::new(&found, &policies, Some(&*filling));
            (recorded, forecast)
        };
        let (recorded, forecast) = blocking(evaluating).await;
        self.observer.forecast(&forecast);
        if let Err(error) = recorded {
            warn!(%error, "cannot record how full the filesystems are; retrying in ten minutes");
        }
    }

    fn adopt(&mut self, set: PolicySet) {
        let set = observed(set, &self.observer);
        info!(policies = set.policies.len(), "new policies in force");
        self.timetable = timetable(&set, &self.history);
        self.queue.publish(set.clone());
        self.set = set;
        self.announce();
    }

    fn announce(&self) {
        for (index, policy) in self.set.policies.iter().enumerate() {
            self.observer.due(policy.name(), self.timetable.due(index));
        }
    }
}

/// Returns the policy set with a cluster lock that reports to the observer.
fn observed(mut set: PolicySet, observer: &Arc<dyn MaintenanceObserver>) -> PolicySet {
    if let Some(shared) = &mut set.maintenance.cluster_lock {
        let lock = Arc::clone(&shared.lock);
        shared.lock = Arc::new(ObservedLock::new(lock, Arc::clone(observer)));
    }
    set
}

fn timetable(set: &PolicySet, history: &RunHistory) -> Timetable {
    let ended = |policy: &Policy| history.last_end(policy.name());
    let now = set.maintenance.engine.store().now();
    Timetable::new(&set.policies, now, ended, fastrand::f64)
}
