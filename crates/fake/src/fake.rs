//! The fake: its state, and the faults of calls.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use containerd_client::types::Envelope;
use jiff::Timestamp;
use tokio::sync::watch;
use tonic::Code;

use crate::events::Subscribers;
use crate::state::{State, timestamp};

/// A call that has arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The service and the method, such as `Images/Delete`.
    pub method: String,
    /// The namespace; empty if the call has none.
    pub namespace: String,
    /// The number of earlier calls.
    pub number: u64,
}

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is carried out and answered.
    None,
    /// It is refused with this code.
    Fail(Code),
    /// It is carried out, but refused with this code.
    FailAfter(Code),
    /// It is neither carried out nor answered.
    Silence,
    /// It is carried out and not answered.
    SilenceAfter,
    /// It is carried out at once and answered after this time.
    Delay(Duration),
    /// It is carried out and answered after this time, even if the client has disconnected.
    Wait(Duration),
}

/// A containerd in memory. Cheap to clone; all clones share their state.
#[derive(Clone)]
pub struct Fake(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    subscribers: Mutex<Subscribers>,
    hook: Mutex<Option<Arc<Hook>>>,
    calls: Mutex<u64>,
    /// Counts starts and stops; odd while it is running.
    starts: watch::Sender<u64>,
    now: Box<dyn Fn() -> Timestamp + Send + Sync>,
}

/// Chooses the fault of a call.
type Hook = dyn Fn(&Call) -> Fault + Send + Sync;

impl fmt::Debug for Fake {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Fake")
            .field("state", &self.0.state)
            .finish_non_exhaustive()
    }
}

impl Fake {
    /// Starts an empty containerd of a version such as `2.1.9`, which determines the collector rules.
    pub fn new(version: &str) -> Self {
        Self::with_clock(version, Timestamp::now)
    }

    /// Starts an empty containerd with its own wall clock; see [`Self::new`].
    pub fn with_clock(version: &str, now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(Inner {
            state: Mutex::new(State::new(version)),
            subscribers: Mutex::default(),
            hook: Mutex::default(),
            calls: Mutex::default(),
            starts: watch::Sender::new(1),
            now: Box::new(now),
        }))
    }

    /// Stops it like a killed process: connections break, and new ones are refused. The state is
    /// kept.
    pub fn stop(&self) {
        lock(&self.0.subscribers).clear();
        self.0.starts.send_modify(|starts| *starts += *starts % 2);
    }

    /// Starts it again.
    pub fn start(&self) {
        self.0
            .starts
            .send_modify(|starts| *starts += (*starts + 1) % 2);
    }

    /// Calls `decide` before each call from now on, to choose its fault. It may change the state.
    pub fn on_call(&self, decide: impl Fn(&Call) -> Fault + Send + Sync + 'static) {
        *lock(&self.0.hook) = Some(Arc::new(decide));
    }

    /// Removes the hook of [`Self::on_call`].
    pub fn heal(&self) {
        *lock(&self.0.hook) = None;
    }

    /// Returns the number of calls so far.
    pub fn calls(&self) -> u64 {
        *lock(&self.0.calls)
    }

    /// Reads the state.
    pub fn look<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&lock(&self.0.state))
    }

    /// Changes the state, as another client would, and publishes the events.
    pub fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = lock(&self.0.state);
        let result = change(&mut state);
        let events = std::mem::take(&mut state.events);
        drop(state);
        let mut subscribers = lock(&self.0.subscribers);
        for event in events {
            subscribers.publish(&Envelope {
                timestamp: Some(timestamp(self.now())),
                namespace: event.namespace,
                topic: event.topic,
                event: event.message,
            });
        }
        result
    }

    /// Runs a collection.
    pub fn collect(&self) {
        let now = self.now();
        self.change(|state| state.collect(now));
    }

    /// Returns the time of its clock.
    pub fn now(&self) -> Timestamp {
        (self.0.now)()
    }

    /// Returns a receiver of the number of starts and stops, which is odd while the fake is running.
    pub(crate) fn starts(&self) -> watch::Receiver<u64> {
        self.0.starts.subscribe()
    }

    pub(crate) fn subscribers(&self) -> MutexGuard<'_, Subscribers> {
        lock(&self.0.subscribers)
    }

    /// Counts a call and returns its fault.
    pub(crate) fn fault(&self, method: &str, namespace: &str) -> Fault {
        let number = {
            let mut calls = lock(&self.0.calls);
            *calls += 1;
            *calls - 1
        };
        let hook = lock(&self.0.hook).clone();
        hook.map_or(Fault::None, |decide| {
            decide(&Call {
                method: method.to_owned(),
                namespace: namespace.to_owned(),
                number,
            })
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic while the lock was held has failed the test already.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
