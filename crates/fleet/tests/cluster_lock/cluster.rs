//! Nodes of one cluster, each with a cable to the API server that can be cut, and a count of those
//! that hold the lock.

use std::convert::Infallible;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use axum::http::Request;
use kube::Client;
use kube::client::Body;
use reclaim_fleet::{ClusterLock, ClusterLockConfig, ClusterLockError, ClusterLockGuard};
use tokio_util::sync::CancellationToken;
use tower::{ServiceExt, service_fn};

use reclaim_testkit::ApiServer;

/// How long a dead node holds its lease.
pub(crate) const LEASE: Duration = Duration::from_secs(60);

/// One node.
pub(crate) struct Node {
    pub(crate) lock: ClusterLock,
    cut: Arc<AtomicBool>,
}

impl Node {
    pub(crate) fn new(server: &ApiServer, name: &str, max_holders: u32) -> Self {
        let cut = Arc::new(AtomicBool::new(false));
        let config = ClusterLockConfig {
            max_holders: NonZeroU32::new(max_holders).unwrap(),
            namespace: None,
            lease_name: "reclaim".to_owned(),
            node: name.to_owned(),
            lease_duration: LEASE,
        };
        let lock = ClusterLock::new(client(server, &cut), config);
        Self { lock, cut }
    }

    pub(crate) fn cut(&self) {
        self.cut.store(true, Ordering::SeqCst);
    }

    pub(crate) fn mend(&self) {
        self.cut.store(false, Ordering::SeqCst);
    }

    /// Acquires the lock, and waits for it as long as necessary.
    pub(crate) async fn acquire(&self) -> Result<ClusterLockGuard, ClusterLockError> {
        self.lock.acquire(&CancellationToken::new()).await
    }
}

/// Returns a client for the API server, which gets no answer while the cable is cut.
pub(crate) fn client(server: &ApiServer, cable: &Arc<AtomicBool>) -> Client {
    let (router, cable) = (server.router(), Arc::clone(cable));
    let service = service_fn(move |request: Request<Body>| {
        let (router, cable) = (router.clone(), Arc::clone(&cable));
        async move {
            if cable.load(Ordering::SeqCst) {
                std::future::pending::<()>().await;
            }
            let answer = router.oneshot(request).await;
            if cable.load(Ordering::SeqCst) {
                std::future::pending::<()>().await;
            }
            answer.map_err(|never: Infallible| match never {})
        }
    });
    Client::new(service, "fleet")
}

/// Counts the holders of the lock.
#[derive(Debug, Default)]
pub(crate) struct Census {
    now: AtomicUsize,
    most: AtomicUsize,
    total: AtomicUsize,
}

impl Census {
    /// Works for a while, or until the lock is lost.
    pub(crate) async fn work(&self, guard: &ClusterLockGuard, time: Duration) {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        self.total.fetch_add(1, Ordering::SeqCst);
        let lost = guard.lost();
        tokio::time::timeout(time, lost.cancelled()).await.ok();
        self.now.fetch_sub(1, Ordering::SeqCst);
    }

    /// Returns the largest number of nodes that held the lock at once.
    pub(crate) fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }

    /// Returns how often the lock was acquired.
    pub(crate) fn total(&self) -> usize {
        self.total.load(Ordering::SeqCst)
    }
}
