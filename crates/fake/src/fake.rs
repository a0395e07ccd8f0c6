//! The server as a whole: its state, its connections, and what is done to calls.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use containerd_client::types::Envelope;
use futures::FutureExt;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use tokio::io::DuplexStream;
use tokio::sync::watch;
use tonic::transport::{Channel, Endpoint};

use crate::events::Subscribers;
use crate::fault::{Call, Fault};
use crate::server;
use crate::state::{State, timestamp};

/// How many bytes are on their way in one direction of a connection at most.
const PIPE: usize = 1 << 18;

/// A containerd in memory. Cheap to clone; all clones are the same one.
#[derive(Clone)]
pub struct Fake(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    subscribers: Mutex<Subscribers>,
    hook: Mutex<Option<Arc<Hook>>>,
    calls: Mutex<u64>,
    /// Counts its starts; odd while it is there.
    starts: watch::Sender<u64>,
    now: Box<dyn Fn() -> Timestamp + Send + Sync>,
}

/// Decides what becomes of a call.
type Hook = dyn Fn(&Call) -> Fault + Send + Sync;

impl fmt::Debug for Fake {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = formatter.debug_struct("Fake");
        debug.field("state", &self.0.state).finish_non_exhaustive()
    }
}

impl Fake {
    /// Starts an empty containerd of a version, such as `2.1.9`, by whose rules it collects.
    pub fn new(version: &str) -> Self {
        Self::with_clock(version, Timestamp::now)
    }

    /// As [`Self::new`], with a wall clock of its own.
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

    /// Returns a channel to it, which connects when it is used, and again after an outage.
    ///
    /// # Panics
    ///
    /// If there is no tokio runtime.
    pub fn channel(&self) -> Channel {
        let fake = self.clone();
        let connect = tower::service_fn(move |_| std::future::ready(fake.connect()));
        Endpoint::from_static("http://fake").connect_with_connector_lazy(connect)
    }

    fn connect(&self) -> io::Result<TokioIo<DuplexStream>> {
        let mut starts = self.0.starts.subscribe();
        let start = *starts.borrow_and_update();
        if start.is_multiple_of(2) {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let (client, server) = tokio::io::duplex(PIPE);
        let serving = server::serve(self.clone(), server);
        tokio::spawn(async move {
            // A connection does not outlive the process.
            let gone = starts.wait_for(|it| *it != start).map(drop);
            tokio::select! {
                () = serving => {}
                () = gone => {}
            }
        });
        Ok(TokioIo::new(client))
    }

    /// Ends it, as a process that is killed: connections break and none can be made. What it
    /// stores stays.
    pub fn stop(&self) {
        lock(&self.0.subscribers).clear();
        self.0.starts.send_modify(|it| *it += *it % 2);
    }

    /// Starts it again.
    pub fn start(&self) {
        self.0.starts.send_modify(|it| *it += (*it + 1) % 2);
    }

    /// Calls `decide` for each call from now on, before it is carried out, to choose a fault. It may
    /// change what is stored.
    pub fn on_call(&self, decide: impl Fn(&Call) -> Fault + Send + Sync + 'static) {
        *lock(&self.0.hook) = Some(Arc::new(decide));
    }

    /// Carries out all calls again.
    pub fn heal(&self) {
        *lock(&self.0.hook) = None;
    }

    /// Returns how many calls have arrived.
    pub fn calls(&self) -> u64 {
        *lock(&self.0.calls)
    }

    /// Looks at what is stored.
    pub fn look<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&lock(&self.0.state))
    }

    /// Changes what is stored, as another client would, and publishes what happened.
    pub fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = lock(&self.0.state);
        let changed = change(&mut state);
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
        changed
    }

    /// Collects, as by itself.
    pub fn collect(&self) {
        let now = self.now();
        self.change(|state| state.collect(now));
    }

    /// Returns the time by its clock.
    pub fn now(&self) -> Timestamp {
        (self.0.now)()
    }

    pub(crate) fn subscribers(&self) -> MutexGuard<'_, Subscribers> {
        lock(&self.0.subscribers)
    }

    /// Decides what becomes of a call.
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
    // A test that panicked has failed already.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
