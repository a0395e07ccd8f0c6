//! A private containerd: one daemon, one directory, one test.
//!
//! Dropping [`Containerd`] ends the daemon and removes its directory, also while a panic
//! unwinds. A test process that is killed takes its daemons with it (see [`process`]); only
//! the directory, `reclaim-*` below `/dev/shm` or `/tmp`, is then left, and of a test that runs
//! pods what these are made of (see [`shims`]).

mod builder;
mod daemon;
pub(crate) mod mounts;
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
pub use self::process::{busybox, signal};
pub use self::version::Version;
use crate::cri::Cri;
use crate::namespace::NamespaceClient;

/// What containerd logs once per collection: at debug level in 1.6, at trace level
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

    /// Returns the socket as `--address` and `CONTAINERD_ADDRESS` want it.
    pub fn address(&self) -> &str {
        let path = self.socket().to_str();
        path.expect("the socket's path is made of ASCII by the kit")
    }

    /// Returns the process ID of the daemon, or `None` after [`Containerd::kill`].
    pub fn pid(&self) -> Option<u32> {
        self.daemon.pid()
    }

    /// Returns the version that the daemon told when it became ready.
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

    /// Returns a client of its CRI plugin, which must have been asked for:
    /// [`ContainerdBuilder::cri`]. containerd answers before the plugin does, so this waits for it.
    ///
    /// # Panics
    ///
    /// If it does not come to answer.
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
        let mut names: Vec<String> = answer.namespaces.into_iter().map(|it| it.name).collect();
        names.sort();
        Ok(names)
    }

    /// Returns everything that containerd has logged, over all restarts.
    pub fn log(&self) -> String {
        self.daemon.log()
    }

    /// Returns how many collections there were, over all restarts.
    ///
    /// A synchronous deletion answers after its collection was logged, so compare before and after.
    /// Asynchronous deletions cause collections too, some time later, and building an image ends
    /// with one: [`NamespaceClient::collect`] first, and nothing more comes unasked.
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

    /// Returns the sum of the lengths of all blob files, whatever namespaces they belong to.
    pub fn content_bytes_on_disk(&self) -> u64 {
        blob_files(&self.content_dir())
            .iter()
            .map(|path| fs::metadata(path).expect("a blob listed is there").len())
            .sum()
    }

    /// Ends the daemon as an administrator would (SIGTERM) and starts it on the same directory
    /// and socket. Handles made before keep working.
    pub async fn restart(&mut self) {
        self.daemon.end().await;
        self.daemon.relaunch();
        (self.channel, self.version) = ready::wait(&mut self.daemon).await;
    }

    /// Sends a signal to the daemon, such as SIGSTOP: it is there then, and never answers.
    pub fn signal(&self, signal: Signal) {
        self.daemon.signal(signal);
    }

    /// Kills the daemon as a crash would (SIGKILL). [`Containerd::restart`] brings it back.
    pub async fn kill(&mut self) {
        self.daemon.kill().await;
    }
}

/// Returns the paths of all blobs below `content_dir`, in no particular order.
fn blob_files(content_dir: &Path) -> Vec<PathBuf> {
    // Before the first blob is written, there is no directory.
    let Ok(algorithms) = fs::read_dir(content_dir) else {
        return Vec::new();
    };
    algorithms
        .flat_map(|algorithm| {
            let algorithm = algorithm.expect("the kit may read its own directory");
            fs::read_dir(algorithm.path()).expect("an algorithm is a directory")
        })
        .map(|blob| blob.expect("the kit may read its own directory").path())
        .collect()
}
