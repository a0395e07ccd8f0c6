//! The connection to one containerd, and how every call is made on it.

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

use crate::clock::Clock;
use crate::deadline::Line;
use crate::error::{Class, ConnectError, StoreError, class_of};
use crate::filesystem::Disk;
use crate::look::Looks;

/// The metadata key by which containerd knows the namespace of a call.
const NAMESPACE_HEADER: &str = "containerd-namespace";

/// The metadata key by which containerd knows the lease of a call.
const LEASE_HEADER: &str = "containerd-lease";

/// The largest message that we accept, in bytes.
///
/// tonic's own limit of 4 MiB is exceeded by a few hundred containers; containerd's servers
/// send at most 16 MiB. Twice that leaves room for one that was configured otherwise.
pub(crate) const MAX_MESSAGE: usize = 32 << 20;

/// How long a server may take to tell its version before it is taken for something else.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// The waits between tries to learn the version. Short: what listens may not be containerd.
const HANDSHAKE_WAITS: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(400)];

/// A connection to one containerd. Cheap to clone; all clones share one HTTP/2 connection.
#[derive(Debug, Clone)]
pub struct Containerd {
    line: Line,
    server: Arc<Mutex<Server>>,
    calls: Arc<Mutex<BTreeMap<&'static str, u64>>>,
    files: Files,
    clock: Clock,
    pub(crate) looks: Looks,
}

/// Where containerd's files are.
#[derive(Debug, Clone)]
enum Files {
    /// On this machine, if they are where containerd says.
    Here,
    /// Where they cannot be looked at.
    Elsewhere,
    /// Nowhere: a disk stands for them.
    On(Arc<dyn Disk>),
}

/// What the server is.
#[derive(Debug)]
struct Server {
    version: Arc<str>,
    rules: Option<CollectorRules>,
}

impl Server {
    fn of(version: String) -> Self {
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
    /// [`ConnectError`], which says whether the socket is missing, closed to us, or somebody
    /// else's.
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
            let line = Line::new(channel);
            let version = version(&line).await.map_err(|status| {
                if status.code() == Code::DeadlineExceeded {
                    ConnectError::Silent(path.clone(), HANDSHAKE.as_secs())
                } else {
                    foreign(status.message().to_owned())
                }
            })?;
            Ok((line, version))
        };
        let (line, version) = tokio::time::timeout(HANDSHAKE, handshake)
            .await
            .map_err(|_| ConnectError::Silent(path.clone(), HANDSHAKE.as_secs()))??;
        Ok(Self {
            files: Files::Here,
            ..Self::on(line, version)
        })
    }

    /// Returns a connection to the containerd at `address` that is made when it is used, and made
    /// again until it can be. Until then each call fails, and no version is known.
    ///
    /// # Errors
    ///
    /// If the address is of no kind that we connect to.
    pub fn when_there(address: &str) -> Result<Self, ConnectError> {
        let bad = || ConnectError::BadAddress(address.to_owned());
        let path = socket_path(address)?;
        let uri = format!("unix://{}", path.to_str().ok_or_else(bad)?);
        let endpoint = Endpoint::from_shared(uri).map_err(|_| bad())?;
        Ok(Self {
            files: Files::Here,
            ..Self::on(Line::new(endpoint.connect_lazy()), "unknown".to_owned())
        })
    }

    /// Returns a connection over a channel of the caller's, whose other end need not be on this
    /// machine. Until a call has had an answer, no version is known.
    pub fn over(channel: Channel) -> Self {
        Self::on(Line::new(channel), "unknown".to_owned())
    }

    /// One that is known to be of that version, at the other end of a channel.
    #[cfg(test)]
    pub(crate) fn scripted(channel: Channel, version: &str) -> Self {
        Self::on(Line::new(channel), version.to_owned())
    }

    fn on(line: Line, version: String) -> Self {
        Self {
            line,
            server: Arc::new(Mutex::new(Server::of(version))),
            calls: Arc::default(),
            files: Files::Elsewhere,
            clock: Clock::default(),
            looks: Looks::default(),
        }
    }

    /// Takes containerd for one elsewhere, as behind a forwarded socket: paths that it tells mean
    /// nothing here, and none of its files is looked at.
    #[must_use]
    pub fn elsewhere(self) -> Self {
        Self {
            files: Files::Elsewhere,
            ..self
        }
    }

    /// Measures this disk instead of the filesystems that containerd names, and looks at none of
    /// its files.
    #[must_use]
    pub fn with_disk(self, disk: Arc<dyn Disk>) -> Self {
        Self {
            files: Files::On(disk),
            ..self
        }
    }

    /// Goes by this clock instead of the system's.
    #[must_use]
    pub fn with_clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// Returns the time by the clock of containerd's host.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Returns the disk that stands for containerd's files.
    pub(crate) fn disk(&self) -> Option<&Arc<dyn Disk>> {
        match &self.files {
            Files::On(disk) => Some(disk),
            Files::Here | Files::Elsewhere => None,
        }
    }

    /// Whether containerd's files can be looked at: it is not elsewhere.
    pub fn sees_files(&self) -> bool {
        matches!(self.files, Files::Here)
    }

    /// Returns the version that the server reports.
    pub fn version(&self) -> Arc<str> {
        Arc::clone(&self.server().version)
    }

    /// Asks the server for its version again. It may be another by now: a connection outlives the
    /// server's restarts, and so its upgrades.
    ///
    /// # Errors
    ///
    /// If it does not answer. Cancellation safe: it only reads.
    pub async fn ask_version(&self) -> Result<(), StoreError> {
        const OPERATION: &str = "get version";
        let request = self.request(OPERATION, None, ())?;
        let answer = VersionClient::new(self.channel()).version(request).await;
        let answer = answer.map_err(|status| StoreError::new(OPERATION, status))?;
        *self.server() = Server::of(answer.into_inner().version);
        Ok(())
    }

    fn server(&self) -> std::sync::MutexGuard<'_, Server> {
        // It is replaced as a whole.
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the rules of the server's collector; `None` if its version tells nothing.
    pub fn rules(&self) -> Option<CollectorRules> {
        self.server().rules
    }

    /// Returns how many calls of each kind were made on this connection so far.
    pub fn calls(&self) -> BTreeMap<&'static str, u64> {
        self.counter().clone()
    }

    /// Returns the way of every call, on which each has a deadline.
    pub(crate) fn channel(&self) -> Line {
        self.line.clone()
    }

    /// Counts a call and puts its namespace into the header.
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

    /// As [`Self::request`], under a lease: what the call writes belongs to the lease.
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
        // A counter is right whatever panicked while it was held.
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks for the version, again if the answer is lost or the server is just restarting.
async fn version(line: &Line) -> Result<String, Status> {
    let mut waits = HANDSHAKE_WAITS.into_iter();
    loop {
        let asked = VersionClient::new(line.clone()).version(()).await;
        match asked {
            Ok(answer) => return Ok(answer.into_inner().version),
            Err(status) if status.code() == Code::DeadlineExceeded => return Err(status),
            Err(status) if class_of(&status) == Class::Retry => match waits.next() {
                Some(wait) => tokio::time::sleep(wait).await,
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

/// Opens and closes the socket, because the transport hides why it could not.
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

    fn may_be_spawned(_: impl Send) {}

    /// Whoever calls spawns. This is about types: it is never called.
    #[expect(dead_code, reason = "that it compiles is the test")]
    fn all_that_reads_may_be_spawned(store: &Containerd, namespace: &Namespace) {
        let now = jiff::Timestamp::UNIX_EPOCH;
        may_be_spawned(store.observe(std::slice::from_ref(namespace), &crate::NO_LABELS, now));
        may_be_spawned(store.look_again(namespace));
        may_be_spawned(store.snapshot_bytes(namespace, &[]));
        may_be_spawned(store.leases(namespace));
    }
}
