//! A certificate authority for tests, and clients over TLS.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, IsCa,
    KeyIdMethod, KeyPair, RevokedCertParams, SerialNumber, date_time_ymd,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::daemon::{Answer, ask_on};

/// A certificate authority, with its certificates as files.
pub(crate) struct Authority {
    directory: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { directory, issuer }
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Signs a certificate, and returns the files of it and its key.
    pub(crate) fn sign(&self, name: &str) -> (PathBuf, PathBuf) {
        self.sign_params(name, &params())
    }

    /// Signs a certificate with these parameters, and returns the files of it and its key.
    pub(crate) fn sign_params(&self, name: &str, params: &CertificateParams) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let files = (
            self.file(&format!("{name}.pem")),
            self.file(&format!("{name}.key")),
        );
        fs::write(&files.0, certificate.pem()).unwrap();
        fs::write(&files.1, key.serialize_pem()).unwrap();
        files
    }

    /// Returns the text of a list of revoked certificates, which ends in this year.
    pub(crate) fn revoke(&self, serials: &[u64], last_year: i32) -> String {
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2024, 1, 1),
            next_update: date_time_ymd(last_year, 12, 31),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: serials
                .iter()
                .map(|&serial| RevokedCertParams {
                    serial_number: SerialNumber::from(serial),
                    revocation_time: date_time_ymd(2024, 1, 1),
                    reason_code: None,
                    invalidity_date: None,
                })
                .collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).unwrap().pem().unwrap()
    }

    /// Returns the options of a daemon with these certificates for TLS.
    pub(crate) fn options(&self, (certificate, key): &(PathBuf, PathBuf)) -> Vec<String> {
        let files = [
            ("--tls-cert", certificate),
            ("--tls-key", key),
            ("--tls-ca", &self.file("ca.pem")),
        ];
        files
            .into_iter()
            .flat_map(|(option, file)| [option, text(file)].map(str::to_owned))
            .collect()
    }

    pub(crate) fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_file(self.file("ca.pem")).unwrap())
            .unwrap();
        roots
    }
}

/// Returns the parameters of a certificate for this machine.
pub(crate) fn params() -> CertificateParams {
    CertificateParams::new(vec!["localhost".to_owned()]).unwrap()
}

/// Pings over TLS, with or without a certificate. Returns the status, or `None` if the daemon
/// refuses the connection.
pub(crate) async fn ping(
    port: u16,
    authority: &Authority,
    certificate: Option<&(PathBuf, PathBuf)>,
) -> Option<u16> {
    let answer = ask(port, authority, certificate, ["GET", "/_ping", ""]).await?;
    Some(answer.status.as_u16())
}

/// Sends a request over TLS: the method, the path and the body.
pub(crate) async fn ask(
    port: u16,
    authority: &Authority,
    certificate: Option<&(PathBuf, PathBuf)>,
    [method, path, body]: [&str; 3],
) -> Option<Answer> {
    let stream = connect(port, authority, certificate).await?;
    // With TLS 1.3, the client's handshake succeeds before the server refuses it.
    ask_on(stream, method, path, &[], body).await.ok()
}

/// Connects over TLS.
pub(crate) async fn connect(
    port: u16,
    authority: &Authority,
    certificate: Option<&(PathBuf, PathBuf)>,
) -> Option<TlsStream<TcpStream>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(authority.roots());
    let config = match certificate {
        Some((certificate, key)) => {
            let chain = vec![CertificateDer::from_pem_file(certificate).unwrap()];
            let key = PrivateKeyDer::from_pem_file(key).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
        None => builder.with_no_client_auth(),
    };
    let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let connecting = TlsConnector::from(Arc::new(config)).connect(name, stream);
    connecting.await.ok()
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
