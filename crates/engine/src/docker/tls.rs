//! Certificates for connections to Docker Engines over the network.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use super::DockerError;

/// The files of a directory as `DOCKER_CERT_PATH` names it.
const AUTHORITY: &str = "ca.pem";
const CERTIFICATE: &str = "cert.pem";
const KEY: &str = "key.pem";

/// A directory with `ca.pem`, which verifies engines, and `cert.pem` and `key.pem`, which identify this
/// client to them. The files are read for each connection, so they can be renewed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DockerTls(PathBuf);

impl DockerTls {
    /// Checks that the files can be used.
    ///
    /// # Errors
    ///
    /// [`DockerError::Certificates`]
    pub fn new(directory: &Path) -> Result<Self, DockerError> {
        let tls = Self(directory.to_owned());
        tls.config()?;
        Ok(tls)
    }

    /// Reads the files.
    pub(super) fn config(&self) -> Result<ClientConfig, DockerError> {
        let mut roots = RootCertStore::empty();
        for certificate in self.certificates(AUTHORITY)? {
            let added = roots.add(certificate);
            added.map_err(|error| self.unusable(AUTHORITY, error))?;
        }
        let chain = self.certificates(CERTIFICATE)?;
        let key = PrivateKeyDer::from_pem_file(self.0.join(KEY));
        let key = key.map_err(|error| self.unusable(KEY, error))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| self.unusable(AUTHORITY, error))?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key);
        config.map_err(|error| self.unusable(CERTIFICATE, error))
    }

    fn certificates(&self, name: &str) -> Result<Vec<CertificateDer<'static>>, DockerError> {
        let read = CertificateDer::pem_file_iter(self.0.join(name));
        let read = read.map_err(|error| self.unusable(name, error))?;
        let certificates: Result<Vec<_>, _> = read.collect();
        let certificates = certificates.map_err(|error| self.unusable(name, error))?;
        if certificates.is_empty() {
            let missing = rustls::pki_types::pem::Error::NoItemsFound;
            return Err(self.unusable(name, missing));
        }
        Ok(certificates)
    }

    fn unusable(
        &self,
        name: &str,
        source: impl std::error::Error + Send + Sync + 'static,
    ) -> DockerError {
        DockerError::Certificates {
            path: self.0.join(name),
            source: Box::new(source),
        }
    }
}
