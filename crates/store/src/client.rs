//! The connection to one containerd, and the headers of its calls.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use containerd_client::services::v1::version_client::VersionClient;
use jiff::Timestamp;
use reclaim_model::{CollectorRules, Namespace};
use tokio::net::UnixStream;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use crate::calls::CallObserver;
use crate::clock::Clock;
use crate::deadline::TimedChannel;
use crate::disk_tasks::DiskTasks;
use crate::error::{Class, ConnectError, StoreError, class_of};
use crate::files::{Disk, Files};

/// The metadata key for the namespace of a call.
const NAMESPACE_HEADER: &str = "containerd-namespace";

/// The metadata key for the lease of a call.
const LEASE_HEADER: &str = "containerd-lease";

/// The largest message that we accept, in bytes.
///
/// A few hundred containers exceed tonic's own limit of 4 MiB. containerd sends at most 16 MiB by
/// default; twice that leaves room for a server with another limit.
pub(crate) const MAX_MESSAGE: usize = 32 << 20;

/// How long the first connection may take, up to the answer with the version.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// The pauses between attempts to get the version. Short, because the server may not be containerd.
const HANDSHAKE_PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(400)];

/// The version before the server has reported one.
const UNKNOWN_VERSION: &str = "unknown";

/// A connection to one containerd. Cheap to clone; all clones share one HTTP/2 connection.
#[derive(Debug, Clone)]
pub struct Containerd {
    channel: TimedChannel,
    server: Arc<Mutex<Server>>,
    calls: Arc<Mutex<BTreeMap<&'static str, u64>>>,
    files: Files,
    clock: Clock,
    pub(crate) disk_tasks: DiskTasks,
}

/// The server's version, and its collector's rules if they are known.
#[derive(Debug)]
struct Server {
    version: Arc<str>,
    rules: Option<CollectorRules>,
}

impl Server {
    fn of_version(version: String) -> Self {
        Self {
            rules: CollectorRules::for_version(&version),
            version: version.into(),
        }
    }
}

impl Containerd {
    /// Connects to the containerd at `address`: a path, with or without `unix://` before it.
    ///
    /// # Errors
    ///
    /// [`ConnectError`], which says whether the socket is missing, not accessible, or another
    /// server's.
    pub async fn connect(address: &str) -> Result<Self, ConnectError> {
        let path = socket_path(address)?;
        probe(&path).await?;
        let foreign = |why: String| ConnectError::NotContainerd {
            path: path.clone(),
            why,
        };
        let handshake = async {
            let channel = containerd_client::connect(&path)
                .await
                .map_err(|error| foreign(reclaim_model::chain(&error)))?;
            let channel = TimedChannel::new(channel);
            let version = version(&channel).await.map_err(|status| {
                if status.code() == Code::DeadlineExceeded {
                    ConnectError::Silent(path.clone(), HANDSHAKE_TIMEOUT.as_secs())
                } else {
                    foreign(status.message().to_owned())
                }
            })?;
            Ok((channel, version))
        };
        let (channel, version) = tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake)
            .await
            .map_err(|_| ConnectError::Silent(path.clone(), HANDSHAKE_TIMEOUT.as_secs()))??;
        Ok(Self::new(channel, version, Files::Local))
    }

    /// Returns a connection to the containerd at `address` that connects with the first call, and
    /// with each call until it succeeds. Until then the version is unknown.
    ///
    /// # Errors
    ///
    /// [`ConnectError::BadAddress`].
    pub fn connect_lazily(address: &str) -> Result<Self, ConnectError> {
        let bad = || ConnectError::BadAddress(address.to_owned());
        let path = socket_path(address)?;
        let uri = format!("unix://{}", path.to_str().ok_or_else(bad)?);
        let endpoint = Endpoint::from_shared(uri).map_err(|_| bad())?;
        let channel = TimedChannel::new(endpoint.connect_lazy());
        Ok(Self::new(channel, UNKNOWN_VERSION.to_owned(), Files::Local))
    }

    /// Returns a connection over the caller's channel, whose other end may be on another machine.
    /// The version is unknown until [`Self::refresh_version`].
    pub fn from_channel(channel: Channel) -> Self {
        let channel = TimedChannel::new(channel);
        Self::new(channel, UNKNOWN_VERSION.to_owned(), Files::Remote)
    }

    /// Returns a connection to a server of a known version.
    #[cfg(test)]
    pub(crate) fn scripted(channel: Channel, version: &str) -> Self {
        Self::new(
            TimedChannel::new(channel),
            version.to_owned(),
            Files::Remote,
        )
    }

    fn new(channel: TimedChannel, version: String, files: Files) -> Self {
        Self {
            channel,
            server: Arc::new(Mutex::new(Server::of_version(version))),
            calls: Arc::default(),
            files,
            clock: Clock::default(),
            disk_tasks: DiskTasks::default(),
        }
    }

    /// Marks containerd as running on another machine, as behind a forwarded socket: its paths mean
    /// nothing here, and none of its files is read.
    #[must_use]
    pub fn as_remote(self) -> Self {
        Self {
            files: Files::Remote,
            ..self
        }
    }

    /// Uses `disk` instead of the filesystems that containerd names, and reads none of its files.
    #[must_use]
    pub fn with_disk(self, disk: Arc<dyn Disk>) -> Self {
        Self {
            files: Files::Simulated(disk),
            ..self
        }
    }

    /// Uses `clock` instead of the system's.
    #[must_use]
    pub fn with_clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// Returns the time by the clock of containerd's host.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Returns the simulated disk, if there is one.
    pub(crate) fn disk(&self) -> Option<&Arc<dyn Disk>> {
        match &self.files {
            Files::Simulated(disk) => Some(disk),
            Files::Local | Files::Remote => None,
        }
    }

    /// Whether containerd's files are on this machine.
    pub fn sees_files(&self) -> bool {
        matches!(self.files, Files::Local)
    }

    /// Returns the version that the server reports.
    pub fn version(&self) -> Arc<str> {
        Arc::clone(&self.server().version)
    }

    /// Reads the server's version again. It can change: a connection outlives the server's
    /// restarts, and so its upgrades.
    ///
    /// # Errors
    ///
    /// If the server does not answer. Cancellation safe: it only reads.
    pub async fn refresh_version(&self) -> Result<(), StoreError> {
        const OPERATION: &str = "get version";
        let request = self.request(OPERATION, None, ())?;
        let answer = VersionClient::new(self.channel())
            .version(request)
            .await
            .map_err(|status| StoreError::new(OPERATION, status))?;
        *self.server() = Server::of_version(answer.into_inner().version);
        Ok(())
    }

    fn server(&self) -> std::sync::MutexGuard<'_, Server> {
        // A panic cannot leave it half changed: it is replaced as a whole.
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the rules of the server's collector; `None` for an unknown version.
    pub fn rules(&self) -> Option<CollectorRules> {
        self.server().rules
    }

    /// Returns how many calls of each kind were made on this connection so far.
    pub fn calls(&self) -> BTreeMap<&'static str, u64> {
        self.counter().clone()
    }

    /// Reports how each call on this connection ends, from now on. Only the first observer counts.
    pub fn observe_calls(&self, observer: Arc<dyn CallObserver>) {
        self.channel.observe(observer);
    }

    /// Returns the channel for all calls, on which each has a deadline.
    pub(crate) fn channel(&self) -> TimedChannel {
        self.channel.clone()
    }

    /// Counts a call and returns its request, with the namespace in a header.
    pub(crate) fn request<T>(
        &self,
        operation: &'static str,
        namespace: Option<&Namespace>,
        message: T,
    ) -> Result<Request<T>, StoreError> {
        *self.counter().entry(operation).or_default() += 1;
        let mut request = Request::new(message);
        if let Some(namespace) = namespace {
            let value = MetadataValue::try_from(namespace.as_str()).map_err(|error| {
                StoreError::new(operation, Status::invalid_argument(error.to_string()))
                    .within(namespace)
            })?;
            request.metadata_mut().insert(NAMESPACE_HEADER, value);
        }
        Ok(request)
    }

    /// Like [`Self::request`], under a lease: what the call writes belongs to the lease.
    pub(crate) fn leased_request<T>(
        &self,
        operation: &'static str,
        namespace: &Namespace,
        lease: &str,
        message: T,
    ) -> Result<Request<T>, StoreError> {
        let mut request = self.request(operation, Some(namespace), message)?;
        let value = MetadataValue::try_from(lease).map_err(|error| {
            StoreError::new(operation, Status::invalid_argument(error.to_string()))
                .within(namespace)
                .about(lease)
        })?;
        request.metadata_mut().insert(LEASE_HEADER, value);
        Ok(request)
    }

    fn counter(&self) -> std::sync::MutexGuard<'_, BTreeMap<&'static str, u64>> {
        // A panic cannot leave a counter half changed.
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gets the version, and retries if the answer is lost or the server is restarting.
async fn version(channel: &TimedChannel) -> Result<String, Status> {
    let mut pauses = HANDSHAKE_PAUSES.into_iter();
    loop {
        match VersionClient::new(channel.clone()).version(()).await {
            Ok(answer) => return Ok(answer.into_inner().version),
            Err(status) if status.code() == Code::DeadlineExceeded => return Err(status),
            Err(status) if class_of(&status) == Class::Retry => match pauses.next() {
                Some(pause) => tokio::time::sleep(pause).await,
                None => return Err(status),
            },
            Err(status) => return Err(status),
        }
    }
}

fn socket_path(address: &str) -> Result<PathBuf, ConnectError> {
    let path = address.strip_prefix("unix://").unwrap_or(address);
    if path.is_empty() || path.contains("://") {
        return Err(ConnectError::BadAddress(address.to_owned()));
    }
    Ok(PathBuf::from(path))
}

/// Opens and closes the socket, because the transport hides why a connection failed.
async fn probe(path: &Path) -> Result<(), ConnectError> {
    let Err(source) = UnixStream::connect(path).await else {
        return Ok(());
    };
    let path = path.to_owned();
    Err(if source.kind() == ErrorKind::NotFound {
        ConnectError::Missing(path)
    } else if source.kind() == ErrorKind::PermissionDenied {
        ConnectError::Denied(path)
    } else {
        ConnectError::Unusable { path, source }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_send(_: impl Send) {}

    /// Callers spawn these futures. Nothing calls this function: that it compiles is the test.
    #[expect(dead_code, reason = "that it compiles is the test")]
    fn reading_futures_are_send(store: &Containerd, namespace: &Namespace) {
        let now = jiff::Timestamp::UNIX_EPOCH;
        assert_send(store.observe(std::slice::from_ref(namespace), &crate::NO_LABELS, now));
        assert_send(store.observe_users(namespace));
        assert_send(store.snapshot_bytes(namespace, &[]));
        assert_send(store.leases(namespace));
    }
}
