//! Mutual TLS: server and client both present a certificate.
//!
//! The files are read again while the daemon runs. A new configuration applies to new connections;
//! open ones stay.

use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

use super::expiry::{TlsExpiry, certificates_expire, lists_expire};

/// The time between two checks whether the files have changed.
const CHECK_EVERY: Duration = Duration::from_secs(5);

/// The paths of the TLS files, in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate of the server, with the intermediate ones.
    pub certificate: PathBuf,
    /// The private key of the server.
    pub key: PathBuf,
    /// The CA that signs the certificates of clients.
    pub authority: PathBuf,
    /// Certificates of clients that are revoked. With any, each CA in a client's chain needs a list
    /// that has not expired.
    pub revoked: Vec<PathBuf>,
}

/// The TLS configuration of listeners. Cheap to clone: all clones use the files that were read last.
#[derive(Clone)]
pub struct Tls {
    shared: Arc<Shared>,
}

struct Shared {
    files: TlsFiles,
    current: RwLock<Loaded>,
}

/// What was read from the files.
struct Loaded {
    config: Arc<ServerConfig>,
    expiry: TlsExpiry,
    /// The files before they were read.
    stamps: Vec<Option<Stamp>>,
}

/// A version of a file. A symbolic link counts as the file to which it leads.
#[derive(PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl fmt::Debug for Tls {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut tls = formatter.debug_struct("Tls");
        tls.field("files", &self.shared.files)
            .finish_non_exhaustive()
    }
}

/// Why the TLS files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or does not contain what it should.
    #[error("read the {what} in `{}`", path.display())]
    File {
        /// What the file should contain.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// The files do not make a valid configuration.
    #[error("{what}")]
    Config {
        /// What is wrong.
        what: &'static str,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl TlsFiles {
    /// Reads the files.
    ///
    /// # Errors
    ///
    /// [`TlsError`] if a file cannot be read or used.
    pub fn load(self) -> Result<Tls, TlsError> {
        let current = RwLock::new(self.read()?);
        let files = self;
        Ok(Tls {
            shared: Arc::new(Shared { files, current }),
        })
    }

    fn paths(&self) -> impl Iterator<Item = &Path> {
        let paths = [&self.certificate, &self.key, &self.authority];
        paths.into_iter().chain(&self.revoked).map(PathBuf::as_path)
    }

    fn stamps(&self) -> Vec<Option<Stamp>> {
        self.paths().map(Stamp::read).collect()
    }

    fn read(&self) -> Result<Loaded, TlsError> {
        // Before the files: one that changes meanwhile is read again.
        let stamps = self.stamps();
        let certificates: Vec<CertificateDer<'_>> = sections("certificate", &self.certificate)?;
        let key = PrivateKeyDer::from_pem_file(&self.key)
            .map_err(|source| failed("key", &self.key, source))?;
        let mut roots = RootCertStore::empty();
        let authorities: Vec<CertificateDer<'_>> = sections("authority", &self.authority)?;
        let client_ca = certificates_expire(&authorities);
        for authority in authorities {
            roots.add(authority).map_err(|error| TlsError::Config {
                what: "--tls-ca is not a CA certificate",
                source: Box::new(error),
            })?;
        }
        let mut revoked = Vec::new();
        for path in &self.revoked {
            let lists = sections("list of revoked certificates", path)?;
            revoked.extend::<Vec<CertificateRevocationListDer<'_>>>(lists);
        }
        let expiry = TlsExpiry {
            server: certificates_expire(&certificates),
            client_ca,
            crl: lists_expire(&revoked),
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                .with_crls(revoked)
                // A list that is not updated says nothing about newer certificates.
                .enforce_revocation_expiration()
                .build()
                .map_err(|error| TlsError::Config {
                    what: "--tls-ca and --tls-crl cannot verify any client",
                    source: Box::new(error),
                })?;
        let unusable = |error: rustls::Error| TlsError::Config {
            what: "cannot use --tls-cert with --tls-key",
            source: Box::new(error),
        };
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(unusable)?
            .with_client_cert_verifier(verifier)
            .with_single_cert(certificates, key)
            .map_err(unusable)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        // A resumed session would not verify the client's certificate again.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Loaded {
            config: Arc::new(config),
            expiry,
            stamps,
        })
    }
}

impl Tls {
    /// Reads the files again, for new connections. After an error those that were read last stay in
    /// force.
    ///
    /// # Errors
    ///
    /// [`TlsError`] if a file cannot be read or used.
    pub fn reload(&self) -> Result<(), TlsError> {
        let loaded = self.shared.files.read()?;
        let current = self.shared.current.write();
        *current.unwrap_or_else(PoisonError::into_inner) = loaded;
        Ok(())
    }

    /// Returns when the files in force expire.
    pub fn expiry(&self) -> TlsExpiry {
        self.current().expiry
    }

    /// Waits until the files differ from those in force.
    pub async fn changed(&self) {
        loop {
            tokio::time::sleep(CHECK_EVERY).await;
            let tls = self.clone();
            // The files may be on a filesystem that does not answer.
            let has_changed =
                reclaim_engine::blocking(move || tls.shared.files.stamps() != tls.current().stamps);
            if has_changed.await {
                return;
            }
        }
    }

    /// Returns an acceptor for a new connection.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.current().config))
    }

    fn current(&self) -> RwLockReadGuard<'_, Loaded> {
        let current = self.shared.current.read();
        current.unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stamp {
    /// Returns the version of a file; `None` if it cannot be read.
    fn read(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        Some(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

/// Reads all sections of one kind; at least one.
fn sections<T: PemObject>(what: &'static str, path: &Path) -> Result<Vec<T>, TlsError> {
    let failed = |source| failed(what, path, source);
    let sections: Vec<T> = T::pem_file_iter(path)
        .map_err(failed)?
        .collect::<Result<_, _>>()
        .map_err(failed)?;
    if sections.is_empty() {
        return Err(failed(rustls::pki_types::pem::Error::NoItemsFound));
    }
    Ok(sections)
}

fn failed(what: &'static str, path: &Path, source: rustls::pki_types::pem::Error) -> TlsError {
    TlsError::File {
        what,
        path: path.to_owned(),
        source,
    }
}
