//! A private containerd: one daemon, one directory, one test.
//!
//! Dropping [`Containerd`] ends the daemon and removes its directory, also while a panic
//! unwinds. If the test process is killed, its daemons are killed too (see [`process`]). Then only
//! the directory, `reclaim-*` below `/dev/shm` or `/tmp`, is left, and after a test with pods
//! their shims and containers (see [`shims`]).

mod builder;
mod ctr;
mod daemon;
pub(crate) mod mounts;
mod prepares;
pub(crate) mod process;
mod ready;
mod shims;
mod version;

use std::fs;
use std::path::{Path, PathBuf};

use containerd_client::services::v1::ListNamespacesRequest;
use containerd_client::services::v1::namespaces_client::NamespacesClient;
use rustix::process::Signal;
use tonic::Status;
use tonic::transport::Channel;

pub use self::builder::ContainerdBuilder;
use self::daemon::Daemon;
pub use self::prepares::Prepares;
pub use self::process::{busybox, signal};
pub use self::version::Version;
use crate::cri::Cri;
use crate::namespace::NamespaceClient;

/// The line that containerd logs once per collection: at debug level in 1.6, at trace level
/// from 1.7 on.
const COLLECTION_LINE: &str = "msg=\"garbage collected\"";

/// A running containerd that belongs to one test.
#[derive(Debug)]
pub struct Containerd {
    daemon: Daemon,
    channel: Channel,
    version: Version,
}

impl Containerd {
    /// Starts a containerd with the defaults of [`ContainerdBuilder`] and waits until it answers.
    pub async fn start() -> Self {
        Self::builder().start().await
    }

    /// Returns a builder for a containerd with other options.
    pub fn builder() -> ContainerdBuilder {
        ContainerdBuilder::default()
    }

    async fn launch(builder: &ContainerdBuilder) -> Self {
        let mut daemon = Daemon::launch(builder);
        let (channel, version) = ready::wait(&mut daemon).await;
        Self {
            daemon,
            channel,
            version,
        }
    }

    /// Returns the path of the gRPC socket.
    pub fn socket(&self) -> &Path {
        self.daemon.socket()
    }

    /// Returns the address of the socket, as for `--address` and `CONTAINERD_ADDRESS`.
    pub fn address(&self) -> &str {
        let path = self.socket().to_str();
        path.expect("the path of the socket is ASCII")
    }

    /// Returns the process ID of the daemon, or `None` after [`Containerd::kill`].
    pub fn pid(&self) -> Option<u32> {
        self.daemon.pid()
    }

    /// Returns the version that the daemon reported when it became ready.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Returns a connected channel. All handles of one daemon share it.
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// Returns a handle on one namespace. This alone does not create it in containerd.
    pub fn namespace(&self, name: &str) -> NamespaceClient {
        NamespaceClient::new(self.channel(), name)
    }

    /// Returns a client of its CRI plugin, which [`ContainerdBuilder::cri`] enables. containerd
    /// answers before the plugin does, so this waits for the plugin.
    ///
    /// # Panics
    ///
    /// If the plugin does not answer in time.
    pub async fn cri(&self) -> Cri {
        let cri = Cri::new(self.channel());
        ready::wait_for_cri(&cri).await;
        cri
    }

    /// Returns the names of all namespaces, sorted.
    pub async fn namespaces(&self) -> Result<Vec<String>, Status> {
        let mut client = NamespacesClient::new(self.channel());
        let request = ListNamespacesRequest::default();
        let answer = client.list(request).await?.into_inner();
        let namespaces = answer.namespaces.into_iter();
        let mut names: Vec<String> = namespaces.map(|namespace| namespace.name).collect();
        names.sort();
        Ok(names)
    }

    /// Returns everything that containerd has logged, over all restarts.
    pub fn log(&self) -> String {
        self.daemon.log()
    }

    /// Returns the number of collections, over all restarts.
    ///
    /// A synchronous deletion returns after its collection is logged, so compare the number before
    /// and after. Asynchronous deletions cause collections later, and building an image ends with
    /// such a deletion: call [`NamespaceClient::collect`] first, so that none is pending.
    pub fn collections(&self) -> usize {
        self.log().matches(COLLECTION_LINE).count()
    }

    /// Returns the directory that holds containerd's state on disk.
    pub fn root(&self) -> PathBuf {
        self.daemon.root()
    }

    /// Returns the directory of the blobs: `<algorithm>/<hex>` below it.
    pub fn content_dir(&self) -> PathBuf {
        self.root().join("io.containerd.content.v1.content/blobs")
    }

    /// Returns the total length of all blob files, of all namespaces.
    pub fn content_bytes_on_disk(&self) -> u64 {
        blob_files(&self.content_dir())
            .iter()
            .map(|path| fs::metadata(path).expect("a listed blob exists").len())
            .sum()
    }

    /// Stops the daemon with SIGTERM and starts it again on the same directory and socket.
    /// Existing handles keep working.
    pub async fn restart(&mut self) {
        self.daemon.end().await;
        self.daemon.relaunch();
        (self.channel, self.version) = ready::wait(&mut self.daemon).await;
    }

    /// Sends a signal to the daemon, such as SIGSTOP, after which it exists and never answers.
    pub fn signal(&self, signal: Signal) {
        self.daemon.signal(signal);
    }

    /// Kills the daemon with SIGKILL, like a crash. [`Containerd::restart`] starts it again.
    pub async fn kill(&mut self) {
        self.daemon.kill().await;
    }
}

/// Returns the paths of all blobs below `content_dir`, in no particular order.
fn blob_files(content_dir: &Path) -> Vec<PathBuf> {
    // The first blob creates the directory.
    let Ok(algorithms) = fs::read_dir(content_dir) else {
        return Vec::new();
    };
    algorithms
        .flat_map(|algorithm| {
            let algorithm = algorithm.expect("the private directory is readable");
            fs::read_dir(algorithm.path()).expect("an algorithm is a directory")
        })
        .map(|blob| blob.expect("the private directory is readable").path())
        .collect()
}
