//! The lock by which the nodes of a cluster take turns at running policies.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use reclaim_engine::now;
use reclaim_model::{Filesystem, Watermark};
use tokio_util::sync::CancellationToken;

use crate::observer::MaintenanceObserver;
use crate::policy_run::PolicyRun;

/// A lock that the nodes of a cluster share, so that they do not all collect, and later pull, at
/// once.
///
/// It spreads load and guards nothing: the engine's guards keep two runs off one host.
#[async_trait]
pub trait ClusterLock: fmt::Debug + Send + Sync {
    /// Waits until this host has the lock.
    ///
    /// # Errors
    ///
    /// If the lock cannot be read or taken, or `cancel` came first. The policy does not run then.
    async fn acquire(
        &self,
        cancel: &CancellationToken,
    ) -> Result<Box<dyn ClusterLockGuard>, Box<dyn Error + Send + Sync>>;

    /// A policy ran. Shows a problem of the run to the operators of the cluster; by default nothing.
    /// It must not block.
    fn ran(&self, _run: &PolicyRun) {}
}

/// The cluster lock while this host has it.
#[async_trait]
pub trait ClusterLockGuard: Send + Sync {
    /// Returns a token that is cancelled when the lock is lost: this host should stop then.
    fn lost(&self) -> CancellationToken;

    /// Gives the lock to the next host.
    async fn release(self: Box<Self>);
}

/// A cluster lock that reports when a policy waits for it.
#[derive(Debug)]
pub(super) struct ObservedLock {
    lock: Arc<dyn ClusterLock>,
    observer: Arc<dyn MaintenanceObserver>,
}

impl ObservedLock {
    pub(super) fn new(lock: Arc<dyn ClusterLock>, observer: Arc<dyn MaintenanceObserver>) -> Self {
        Self { lock, observer }
    }
}

#[async_trait]
impl ClusterLock for ObservedLock {
    async fn acquire(
        &self,
        cancel: &CancellationToken,
    ) -> Result<Box<dyn ClusterLockGuard>, Box<dyn Error + Send + Sync>> {
        self.observer.waits_for_lock(Some(now()));
        let acquired = self.lock.acquire(cancel).await;
        self.observer.waits_for_lock(None);
        if acquired.is_err() && !cancel.is_cancelled() {
            self.observer.lock_failed();
        }
        acquired
    }

    fn ran(&self, run: &PolicyRun) {
        self.lock.ran(run);
    }
}

/// A cluster lock, and how long this host respects it.
#[derive(Debug, Clone)]
pub struct SharedLock {
    /// The lock.
    pub lock: Arc<dyn ClusterLock>,
    /// Above this mark on any filesystem, no run waits for long: a lock that others keep must not
    /// fill the disk of this host.
    pub critical: Watermark,
}

impl SharedLock {
    /// Returns the filesystem that is above the critical mark, if one is.
    pub(super) fn critical<'f>(&self, filesystems: &'f [Filesystem]) -> Option<&'f Filesystem> {
        let mut filesystems = filesystems.iter();
        filesystems.find(|filesystem| {
            let room = filesystem.bytes;
            self.critical.is_exceeded(room.total, room.left)
        })
    }
}

/// A cluster lock that was acquired for a run.
pub(super) struct Acquired {
    guard: Box<dyn ClusterLockGuard>,
    /// Stops the run: by the caller's token, or when the lock is lost.
    pub(super) cancel: CancellationToken,
    _watch: tokio::task::JoinHandle<()>,
}

impl Acquired {
    /// Waits until this host has the lock, or `cancel` comes first.
    pub(super) async fn new(
        lock: &Arc<dyn ClusterLock>,
        cancel: &CancellationToken,
    ) -> Result<Self, Box<dyn Error + Send + Sync>> {
        let child = cancel.child_token();
        let guard = lock.acquire(cancel).await?;
        let (lost, stop) = (guard.lost(), child.clone());
        let watch = tokio::spawn(async move {
            tokio::select! {
                () = lost.cancelled() => stop.cancel(),
                () = stop.cancelled() => {}
            }
        });
        Ok(Self {
            guard,
            cancel: child,
            _watch: watch,
        })
    }

    /// Gives the lock to the next host.
    pub(super) async fn release(self) {
        self.cancel.cancel();
        self.guard.release().await;
    }
}
