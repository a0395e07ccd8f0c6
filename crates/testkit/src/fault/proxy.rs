//! The server of the fault proxy.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio::task::{JoinHandle, JoinSet};

use super::connection;
use super::outage::{Outage, Request};
use super::plan::{Call, Fault, Plan};

/// The state that all connections share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) containerd: PathBuf,
    plan: Mutex<Plan>,
}

impl Shared {
    pub(super) fn plan(&self) -> MutexGuard<'_, Plan> {
        // No method leaves the plan half changed, so a poisoned lock is safe to use.
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A proxy in front of containerd's socket. Dropping it closes all connections.
#[derive(Debug)]
pub struct FaultProxy {
    shared: Arc<Shared>,
    socket: PathBuf,
    listener: JoinHandle<()>,
    _directory: TempDir,
}

impl FaultProxy {
    /// Starts a proxy for the socket `containerd`, with these faults.
    pub fn start(containerd: &Path, faults: impl IntoIterator<Item = Fault>) -> Self {
        Self::listening(
            containerd,
            Plan::new(faults.into_iter().collect(), Vec::new()),
        )
    }

    /// Starts a proxy for the socket `containerd`, with these outages.
    pub fn with_outages(containerd: &Path, outages: impl IntoIterator<Item = Outage>) -> Self {
        Self::listening(
            containerd,
            Plan::new(Vec::new(), outages.into_iter().collect()),
        )
    }

    fn listening(containerd: &Path, plan: Plan) -> Self {
        let directory = tempfile::Builder::new()
            .prefix("reclaim-fault-")
            .tempdir_in("/tmp")
            .expect("a directory can be created in /tmp");
        let socket = directory.path().join("c.sock");
        let listener = UnixListener::bind(&socket).expect("a new directory is writable");
        let shared = Arc::new(Shared {
            containerd: containerd.to_owned(),
            plan: Mutex::new(plan),
        });
        Self {
            listener: tokio::spawn(listen(listener, Arc::clone(&shared))),
            shared,
            socket,
            _directory: directory,
        }
    }

    /// Returns the address of the socket, as for `--address` and `CONTAINERD_ADDRESS`.
    pub fn address(&self) -> &str {
        let path = self.socket.to_str();
        path.expect("the path of the socket is ASCII")
    }

    /// Returns the calls so far, in order of arrival.
    pub fn calls(&self) -> Vec<Call> {
        self.shared.plan().calls().to_vec()
    }

    /// Returns the requests so far, in order of arrival, except those of methods whose client sends
    /// a stream.
    pub fn requests(&self) -> Vec<Request> {
        let plan = self.shared.plan();
        let requests = plan.requests().iter();
        requests.map(|(_, request)| request.clone()).collect()
    }

    /// Returns when the first request that matches came, not counting the first `skipped` requests.
    pub fn first_time(
        &self,
        skipped: usize,
        matches: impl Fn(&Request) -> bool,
    ) -> Option<Timestamp> {
        let plan = self.shared.plan();
        let mut requests = plan.requests().iter().skip(skipped);
        let found = requests.find(|(_, request)| matches(request));
        found.map(|(time, _)| *time)
    }

    /// Returns the number of requests so far.
    pub fn request_count(&self) -> usize {
        self.shared.plan().requests().len()
    }

    /// Returns how often faults and outages have struck.
    pub fn struck(&self) -> usize {
        self.shared.plan().struck()
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

/// Serves clients until it is dropped, which closes their connections.
async fn listen(listener: UnixListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Ok((client, _)) = listener.accept() => {
                connections.spawn(connection::serve(client, Arc::clone(&shared)));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}
