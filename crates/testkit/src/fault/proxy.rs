//! The socket that clients connect to.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio::task::{JoinHandle, JoinSet};

use super::connection;
use super::outage::{Outage, Request};
use super::plan::{Call, Fault, Plan};

/// What all connections of a proxy share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) containerd: PathBuf,
    plan: Mutex<Plan>,
}

impl Shared {
    pub(super) fn plan(&self) -> MutexGuard<'_, Plan> {
        // Whole after every method, whatever panicked beside it.
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A socket in front of containerd's. All connections end when it is dropped.
#[derive(Debug)]
pub struct FaultProxy {
    shared: Arc<Shared>,
    socket: PathBuf,
    listener: JoinHandle<()>,
    _directory: TempDir,
}

impl FaultProxy {
    /// Listens in front of the containerd at `socket`, with these faults to come.
    pub fn start(containerd: &Path, faults: impl IntoIterator<Item = Fault>) -> Self {
        Self::listening(
            containerd,
            Plan::new(faults.into_iter().collect(), Vec::new()),
        )
    }

    /// Listens in front of the containerd at `socket`, parts of which are broken for good.
    pub fn broken(containerd: &Path, outages: impl IntoIterator<Item = Outage>) -> Self {
        Self::listening(
            containerd,
            Plan::new(Vec::new(), outages.into_iter().collect()),
        )
    }

    fn listening(containerd: &Path, plan: Plan) -> Self {
        let directory = tempfile::Builder::new()
            .prefix("reclaim-fault-")
            .tempdir_in("/tmp")
            .expect("a directory can be made in /tmp");
        let socket = directory.path().join("c.sock");
        let listener = UnixListener::bind(&socket).expect("a new directory takes a socket");
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

    /// Returns the socket as `--address` and `CONTAINERD_ADDRESS` want it.
    pub fn address(&self) -> &str {
        let path = self.socket.to_str();
        path.expect("the socket's path is made of ASCII by the kit")
    }

    /// Returns the calls seen so far, in the order in which they came.
    pub fn calls(&self) -> Vec<Call> {
        self.shared.plan().calls().to_vec()
    }

    /// Returns the requests seen so far, in the order in which they came: of all methods but
    /// those whose client sends a stream.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.plan().requests().to_vec()
    }

    /// Returns how many faults have struck, and how often an outage was met.
    pub fn struck(&self) -> usize {
        self.shared.plan().struck()
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

/// Serves clients until it is dropped, and they with it.
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
