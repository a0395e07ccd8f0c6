//! The task that keeps last use up to date: it hears events, looks where they do not say enough,
//! and writes down what it learns.
//!
//! # What it may assume
//!
//! Nothing of what happened while it did not listen. So it looks at the whole store when it begins
//! to listen, and again from time to time. Events are taken one after the other and never during a
//! look: what an event says is newer than the look before it.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use reclaim_model::{
    Happening, Namespace, RecordTimes, TargetsInUse, UseEvent, WrittenRecord, chain,
};
use reclaim_plan::targets_in_use;
use reclaim_store::StoreError;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::{Heard, LastUseIndex};
use crate::engine::{Engine, RunError};
use crate::off_thread::{Shared, blocking};

/// Time between two looks when nothing asks for one.
const PERIOD: Duration = Duration::from_secs(600);

/// How long after an event that asks for a look it is taken: events come in bursts.
const SETTLING: Duration = Duration::from_secs(1);

/// Time between two looks at least.
const PAUSE: Duration = Duration::from_secs(5);

/// How many times as long as a look the pause after it is at least: looks are for nobody's hurry,
/// and must not keep a large and busy containerd busy themselves.
const PAUSE_FACTOR: u32 = 20;

/// Time between two saves at least.
const SAVE_AGAIN: Duration = Duration::from_secs(1);

/// Time from a save that failed to the next one.
const SAVE_AFTER_FAILURE: Duration = Duration::from_secs(5);

/// The waits before listening again after the stream broke.
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

impl Engine {
    /// Looks at all namespaces and notes which images are there and in use.
    ///
    /// Where a container store cannot be read, all images of the namespace count as used.
    ///
    /// Cancellation safe: it only reads, and notes each namespace whole.
    ///
    /// # Errors
    ///
    /// If containerd cannot be read whole; nothing is noted then.
    pub async fn reconcile(&self, index: &Arc<LastUseIndex>) -> Result<(), RunError> {
        let inventory = Shared::new(self.observe_all().await?);
        for namespace in inventory.namespaces.keys() {
            let registered = self.registered(namespace).await;
            let (name, index) = (namespace.clone(), Arc::clone(index));
            let noting = inventory.read(move |inventory| {
                let seen = match registered {
                    Ok(registered) => targets_in_use(inventory, &name, &registered),
                    Err(error) => {
                        debug!(namespace = %name, error = chain(&error), "all images count as used");
                        all_used(targets_in_use(inventory, &name, &[]))
                    }
                };
                index.note(&name, &seen, inventory.observed_at);
            });
            noting.await;
        }
        let index = Arc::clone(index);
        let forgetting = inventory.read(move |inventory| {
            let is_gone = |it: &Namespace| !inventory.namespaces.contains_key(it);
            for namespace in index.namespaces().into_iter().filter(is_gone) {
                index.note(&namespace, &TargetsInUse::default(), inventory.observed_at);
            }
        });
        forgetting.await;
        Ok(())
    }

    /// Watches containerd until it is cancelled, and keeps the index up to date and on disk. What
    /// runs of this engine remove is noted, too.
    ///
    /// It returns after the last change is written, or could not be. There is no error that ends
    /// it: what does not work is tried again, and told once.
    pub async fn watch(&self, index: Arc<LastUseIndex>, cancel: &CancellationToken) {
        let mut saver = Saver::new(Arc::clone(&index));
        {
            let listening = pin!(self.listen(&index));
            let hearing = pin!(self.hear_reports(&index));
            let saving = pin!(saver.run());
            tokio::select! {
                () = cancel.cancelled() => {}
                () = listening => {}
                () = hearing => {}
                () = saving => {}
            }
        }
        saver.save().await;
    }

    /// Takes what runs remove.
    async fn hear_reports(&self, index: &Arc<LastUseIndex>) {
        let mut reports = self.reports();
        loop {
            match reports.recv().await {
                Ok(report) => {
                    let (index, now) = (Arc::clone(index), self.store.now());
                    blocking(move || index.removed(&report, now)).await;
                }
                Err(RecvError::Lagged(missed)) => warn!(missed, "re-pulls may go unnoticed"),
                // Not while the engine is there.
                Err(RecvError::Closed) => std::future::pending().await,
            }
        }
    }

    /// Listens, and listens again whenever the stream breaks.
    async fn listen(&self, index: &Arc<LastUseIndex>) {
        let mut wait = FIRST_WAIT;
        let mut is_told = false;
        loop {
            let mut has_begun = false;
            let Err(error) = self.listen_once(index, &mut has_begun).await;
            if has_begun {
                (wait, is_told) = (FIRST_WAIT, false);
            }
            let error = chain(&error);
            if is_told {
                debug!(error, "containerd cannot be listened to");
            } else {
                warn!(
                    error,
                    "containerd is not listened to; it will be looked at when it is"
                );
                is_told = true;
            }
            sleep(wait).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    /// Listens until the stream breaks.
    async fn listen_once(
        &self,
        index: &Arc<LastUseIndex>,
        has_begun: &mut bool,
    ) -> Result<std::convert::Infallible, StoreError> {
        let mut events = self.store.events().await?;
        *has_begun = true;
        debug!("listening to containerd");
        let mut looks = Looks::begin();
        loop {
            tokio::select! {
                () = sleep_until(looks.next) => looks.look(self, index).await,
                event = events.next() => {
                    let event = self.completed(event?).await;
                    // It may have to wait for one that notes or saves a lot.
                    let hearing = Arc::clone(index);
                    let heard = blocking(move || hearing.hear(&event)).await;
                    if heard == Heard::LookSoon {
                        looks.soon();
                    }
                }
            }
        }
    }

    /// Adds to an event what only the record tells.
    async fn completed(&self, mut event: UseEvent) -> UseEvent {
        if let Happening::ImageWritten { name, record } = &mut event.what {
            match self.store.image_record(&event.namespace, name).await {
                Ok(found) => {
                    *record = found.map(|image| WrittenRecord {
                        target: image.target.digest,
                        times: RecordTimes {
                            created: image.created_at,
                            updated: image.updated_at,
                        },
                    });
                }
                // A look follows in any case.
                Err(error) => debug!(error = chain(&error), "a record cannot be read"),
            }
        }
        event
    }
}

/// When looks are taken.
#[derive(Debug)]
struct Looks {
    next: Instant,
    /// Before that there is none, whatever happens.
    not_before: Instant,
    is_told: bool,
}

impl Looks {
    /// The first is at once.
    fn begin() -> Self {
        let now = Instant::now();
        Self {
            next: now,
            not_before: now,
            is_told: false,
        }
    }

    fn soon(&mut self) {
        let soon = (Instant::now() + SETTLING).max(self.not_before);
        self.next = self.next.min(soon);
    }

    async fn look(&mut self, engine: &Engine, index: &Arc<LastUseIndex>) {
        let begun = Instant::now();
        let looked = engine.reconcile(index).await;
        let now = Instant::now();
        let pause = PAUSE.max((now - begun) * PAUSE_FACTOR);
        self.not_before = now + pause;
        match looked {
            Ok(()) => {
                debug!(took = ?(now - begun), "noted what is in use");
                self.next = now + PERIOD.max(pause);
                self.is_told = false;
            }
            Err(error) => {
                if !self.is_told {
                    let error = chain(&error);
                    warn!(
                        error,
                        "containerd cannot be looked at; last use is incomplete"
                    );
                }
                self.next = self.not_before;
                self.is_told = true;
            }
        }
    }
}

/// Writes the index down, off the threads that serve calls.
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

    /// Saves whenever something changed, but not all the time.
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

    /// Returns whether all is written. Tells of a failure once, and of its end.
    async fn save(&mut self) -> bool {
        let index = Arc::clone(&self.index);
        let saved = tokio::task::spawn_blocking(move || index.save()).await;
        let error: Option<String> = match saved {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(chain(&error)),
            Err(error) => Some(chain(&error)),
        };
        match &error {
            None if self.has_failed => info!("last use is written again"),
            Some(error) if !self.has_failed => {
                warn!(error, "last use is kept in memory until it can be written");
            }
            None | Some(_) => {}
        }
        self.has_failed = error.is_some();
        !self.has_failed
    }
}

/// Counts everything that is there as used: who uses it cannot be seen.
fn all_used(mut seen: TargetsInUse) -> TargetsInUse {
    let all: BTreeSet<_> = seen.present.keys().cloned().collect();
    seen.used = all;
    seen
}
