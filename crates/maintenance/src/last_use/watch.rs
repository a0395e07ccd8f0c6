//! The task that keeps the index of last use up to date and on disk.
//!
//! It records containerd's events, and scans the whole store when it starts, from time to time,
//! and when an event does not say enough. Events that happened while it was not connected are lost:
//! the scan at the start covers for them. Events are recorded one after the other and never during
//! a scan, so an event is newer than the scan before it.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use reclaim_engine::{Engine, RunError, Shared, blocking};
use reclaim_model::{
    Namespace, RecordTimes, TargetsInUse, UseEvent, UseEventKind, WrittenRecord, chain,
};
use reclaim_plan::targets_in_use;
use reclaim_store::{Events, StoreError};
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::{LastUseIndex, Observed};
use crate::observer::MaintenanceObserver;

/// The time between two scans when no event needs one.
const PERIOD: Duration = Duration::from_secs(600);

/// The time from an event that needs a scan to the scan: events come in bursts.
const SETTLING: Duration = Duration::from_secs(1);

/// The shortest pause between two scans.
const PAUSE: Duration = Duration::from_secs(5);

/// The shortest pause after a scan, in durations of that scan: scans are not urgent and must not
/// keep a large containerd busy.
const PAUSE_FACTOR: u32 = 20;

/// The shortest time between two saves.
const SAVE_AGAIN: Duration = Duration::from_secs(1);

/// The time from a failed save to the next attempt.
const SAVE_AFTER_FAILURE: Duration = Duration::from_secs(5);

/// The shortest and longest waits before reconnecting to the event stream.
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

impl LastUseIndex {
    /// Scans all namespaces and records which images are present and in use.
    ///
    /// If a container store cannot be read, all images of the namespace count as in use.
    ///
    /// Returns how many image records of each namespace a prune keeps because their image cannot be
    /// read.
    ///
    /// Cancellation safe: it only reads, and records each namespace as a whole.
    ///
    /// # Errors
    ///
    /// If containerd cannot be read whole; nothing is recorded then.
    pub async fn reconcile(
        self: &Arc<Self>,
        engine: &Engine,
    ) -> Result<BTreeMap<Namespace, usize>, RunError> {
        let index = Arc::clone(self);
        let moment = blocking(move || index.moment()).await;
        let inventory = Shared::new(engine.observe_all().await?);
        let mut unreadable = BTreeMap::new();
        for namespace in inventory.namespaces.keys() {
            let registered = engine.registered(namespace).await;
            let (name, index) = (namespace.clone(), Arc::clone(self));
            let recording = inventory.read(move |inventory| {
                let seen = match registered {
                    Ok(registered) => targets_in_use(inventory, &name, &registered),
                    Err(error) => {
                        debug!(
                            namespace = %name,
                            error = chain(&error),
                            "cannot list the containers; all images count as in use"
                        );
                        all_used(targets_in_use(inventory, &name, &[]))
                    }
                };
                index.record_scan(&name, &seen, moment);
                seen.unreadable
            });
            unreadable.insert(namespace.clone(), recording.await);
        }
        let index = Arc::clone(self);
        let forgetting = inventory.read(move |inventory| {
            let is_gone = |name: &Namespace| !inventory.namespaces.contains_key(name);
            for namespace in index.namespaces().into_iter().filter(is_gone) {
                index.record_scan(&namespace, &TargetsInUse::default(), moment);
            }
        });
        forgetting.await;
        self.record_timeline(engine, &inventory).await;
        Ok(unreadable)
    }

    /// Keeps the index up to date and on disk until it is cancelled: by containerd's events, by
    /// scans, and by the reports of this engine's runs. `observer` receives the state of the event
    /// stream and the results of scans.
    ///
    /// It returns after the last save, which may have failed. No error ends it: it retries, and logs
    /// each outage once.
    pub async fn watch(
        self: Arc<Self>,
        engine: &Engine,
        observer: &dyn MaintenanceObserver,
        cancel: &CancellationToken,
    ) {
        let mut saver = Saver::new(Arc::clone(&self));
        {
            let following_events = pin!(self.follow_events(engine, observer));
            let following_reports = pin!(self.follow_reports(engine));
            let saving = pin!(saver.run());
            tokio::select! {
                () = cancel.cancelled() => {}
                () = following_events => {}
                () = following_reports => {}
                () = saving => {}
            }
        }
        saver.save().await;
    }

    /// Records what runs remove.
    async fn follow_reports(self: &Arc<Self>, engine: &Engine) {
        let mut reports = engine.reports();
        loop {
            match reports.recv().await {
                Ok(report) => {
                    let index = Arc::clone(self);
                    blocking(move || index.record_removals(&report)).await;
                }
                Err(RecvError::Lagged(missed)) => {
                    warn!(missed, "missed run reports; re-pulls may go unnoticed");
                }
                // The engine has the sender, so this never happens while it exists.
                Err(RecvError::Closed) => std::future::pending().await,
            }
        }
    }

    /// Records events, and reconnects whenever the stream breaks.
    async fn follow_events(self: &Arc<Self>, engine: &Engine, observer: &dyn MaintenanceObserver) {
        let mut wait = FIRST_WAIT;
        let mut is_logged = false;
        loop {
            let error = match engine.store().events().await {
                Ok(events) => {
                    (wait, is_logged) = (FIRST_WAIT, false);
                    observer.event_stream(true);
                    let connection = self.connected();
                    let Err(error) = self.follow_stream(engine, events, observer).await;
                    drop(connection);
                    error
                }
                Err(error) => error,
            };
            observer.event_stream(false);
            let error = chain(&error);
            if is_logged {
                debug!(error, "cannot connect to containerd's event stream");
            } else {
                warn!(
                    error,
                    "lost containerd's event stream; rescanning after reconnect"
                );
                is_logged = true;
            }
            sleep(wait).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    /// Records events until the stream breaks.
    async fn follow_stream(
        self: &Arc<Self>,
        engine: &Engine,
        mut events: Events,
        observer: &dyn MaintenanceObserver,
    ) -> Result<Infallible, StoreError> {
        let index = Arc::clone(self);
        blocking(move || index.forget_checks()).await;
        debug!("connected to containerd's event stream");
        let mut scans = ScanSchedule::begin();
        loop {
            tokio::select! {
                () = sleep_until(scans.next) => scans.scan(engine, self, observer).await,
                event = events.next() => {
                    let event = event?;
                    // The start and end of a process only make the use of its image younger.
                    if !matches!(event.kind, UseEventKind::Task { .. }) {
                        self.note_change();
                    }
                    let event = completed(engine, event).await;
                    // The index may be locked by a large scan or save.
                    let index = Arc::clone(self);
                    let recorded = blocking(move || index.record_event(&event)).await;
                    if recorded == Observed::ScanNeeded {
                        scans.soon();
                    }
                }
            }
        }
    }
}

/// Adds to an event what only the record contains.
async fn completed(engine: &Engine, mut event: UseEvent) -> UseEvent {
    if let UseEventKind::ImageWritten { name, record } = &mut event.kind {
        match engine.store().image_record(&event.namespace, name).await {
            Ok(found) => {
                *record = found.map(|image| WrittenRecord {
                    target: image.target.digest,
                    times: RecordTimes {
                        created: image.created_at,
                        updated: image.updated_at,
                    },
                });
            }
            // A scan follows in any case.
            Err(error) => debug!(error = chain(&error), "cannot read the record of an event"),
        }
    }
    event
}

/// When the store is scanned.
#[derive(Debug)]
struct ScanSchedule {
    next: Instant,
    /// The earliest time of the next scan, whatever happens.
    not_before: Instant,
    is_logged: bool,
}

impl ScanSchedule {
    /// Begins with a scan at once.
    fn begin() -> Self {
        let now = Instant::now();
        Self {
            next: now,
            not_before: now,
            is_logged: false,
        }
    }

    fn soon(&mut self) {
        let soon = (Instant::now() + SETTLING).max(self.not_before);
        self.next = self.next.min(soon);
    }

    async fn scan(
        &mut self,
        engine: &Engine,
        index: &Arc<LastUseIndex>,
        observer: &dyn MaintenanceObserver,
    ) {
        let begun = Instant::now();
        let scanned = index.reconcile(engine).await;
        let now = Instant::now();
        let pause = PAUSE.max((now - begun) * PAUSE_FACTOR);
        self.not_before = now + pause;
        match scanned {
            Ok(unreadable) => {
                observer.scanned(&unreadable);
                debug!(took = ?(now - begun), "scanned which images are in use");
                self.next = now + PERIOD.max(pause);
                self.is_logged = false;
            }
            Err(error) => {
                if !self.is_logged {
                    let error = chain(&error);
                    warn!(error, "cannot scan containerd; last use is incomplete");
                }
                self.next = self.not_before;
                self.is_logged = true;
            }
        }
    }
}

/// Saves the index on threads that may block.
#[derive(Debug)]
struct Saver {
    index: Arc<LastUseIndex>,
    has_failed: bool,
}

impl Saver {
    fn new(index: Arc<LastUseIndex>) -> Self {
        Self {
            index,
            has_failed: false,
        }
    }

    /// Saves after changes, at most once in [`SAVE_AGAIN`].
    async fn run(&mut self) {
        loop {
            if !self.has_failed {
                self.index.changed().await;
            }
            let wait = if self.save().await {
                SAVE_AGAIN
            } else {
                SAVE_AFTER_FAILURE
            };
            sleep(wait).await;
        }
    }

    /// Saves once and returns whether that succeeded. Logs the begin and the end of an outage.
    async fn save(&mut self) -> bool {
        let index = Arc::clone(&self.index);
        let saved = tokio::task::spawn_blocking(move || index.save()).await;
        let error: Option<String> = match saved {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(chain(&error)),
            Err(error) => Some(chain(&error)),
        };
        match &error {
            None if self.has_failed => info!("saved last use after earlier failures"),
            Some(error) if !self.has_failed => {
                warn!(
                    error,
                    "cannot save last use; keeping it in memory and retrying"
                );
            }
            None | Some(_) => {}
        }
        self.has_failed = error.is_some();
        !self.has_failed
    }
}

/// Marks everything present as in use, for when its users cannot be listed.
fn all_used(mut seen: TargetsInUse) -> TargetsInUse {
    let all: BTreeSet<_> = seen.present.keys().cloned().collect();
    seen.used = all;
    seen
}
