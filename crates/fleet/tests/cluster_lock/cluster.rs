//! Nodes of one cluster, each with a cable to the API server that can be cut, and the count of
//! those that may work.

use std::convert::Infallible;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use axum::http::Request;
use kube::Client;
use kube::client::Body;
use reclaim_fleet::{Turn, TurnError, Turns, TurnsConfig};
use tokio_util::sync::CancellationToken;
use tower::{ServiceExt, service_fn};

use reclaim_testkit::ApiServer;

/// For how long a dead node keeps its turn.
pub(crate) const LEASE: Duration = Duration::from_secs(60);

/// One node.
pub(crate) struct Node {
    pub(crate) turns: Turns,
    cut: Arc<AtomicBool>,
}

impl Node {
    pub(crate) fn new(server: &ApiServer, name: &str, at_once: u32) -> Self {
        let cut = Arc::new(AtomicBool::new(false));
        let (router, cable) = (server.router(), Arc::clone(&cut));
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
        let config = TurnsConfig {
            at_once: NonZeroU32::new(at_once).unwrap(),
            namespace: None,
            lease_name: "reclaim".to_owned(),
            node: name.to_owned(),
            lease_duration: LEASE,
        };
        let turns = Turns::new(Client::new(service, "fleet"), config);
        Self { turns, cut }
    }

    pub(crate) fn cut(&self) {
        self.cut.store(true, Ordering::SeqCst);
    }

    pub(crate) fn mend(&self) {
        self.cut.store(false, Ordering::SeqCst);
    }

    /// Takes a turn and waits for as long as it takes.
    pub(crate) async fn take(&self) -> Result<Turn, TurnError> {
        self.turns.take(&CancellationToken::new()).await
    }
}

/// Counts those who work, and remembers the most that did at once.
#[derive(Debug, Default)]
pub(crate) struct Census {
    now: AtomicUsize,
    most: AtomicUsize,
    turns: AtomicUsize,
}

impl Census {
    /// Works for a while, or until the turn is lost.
    pub(crate) async fn work(&self, turn: &Turn, time: Duration) {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        self.turns.fetch_add(1, Ordering::SeqCst);
        let lost = turn.lost();
        tokio::time::timeout(time, lost.cancelled()).await.ok();
        self.now.fetch_sub(1, Ordering::SeqCst);
    }

    pub(crate) fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }

    pub(crate) fn turns(&self) -> usize {
        self.turns.load(Ordering::SeqCst)
    }
}
