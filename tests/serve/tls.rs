//! TCP is served only with mutual TLS.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::daemon::{Answer, Daemon, ask_on, serve};
use crate::rig::Rig;

/// A certificate authority, with its certificates as files.
struct Authority {
    directory: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { directory, issuer }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Signs a certificate, and returns the files of it and its key.
    fn sign(&self, name: &str) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let files = (
            self.file(&format!("{name}.pem")),
            self.file(&format!("{name}.key")),
        );
        fs::write(&files.0, certificate.pem()).unwrap();
        fs::write(&files.1, key.serialize_pem()).unwrap();
        files
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_file(self.file("ca.pem")).unwrap())
            .unwrap();
        roots
    }
}

/// Pings over TLS, with or without a certificate. Returns the status, or `None` if the daemon
/// refuses the connection.
async fn ping(
    port: u16,
    authority: &Authority,
    certificate: Option<&(PathBuf, PathBuf)>,
) -> Option<u16> {
    let answer = ask(port, authority, certificate, ["GET", "/_ping", ""]).await?;
    Some(answer.status.as_u16())
}

/// Sends a request over TLS: the method, the path and the body.
async fn ask(
    port: u16,
    authority: &Authority,
    certificate: Option<&(PathBuf, PathBuf)>,
    [method, path, body]: [&str; 3],
) -> Option<Answer> {
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
    let stream = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
        .ok()?;
    // With TLS 1.3, the client's handshake succeeds before the server refuses it.
    ask_on(stream, method, path, &[], body).await.ok()
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[tokio::test]
async fn refuses_clients_without_a_certificate_of_the_authority() {
    let rig = Rig::start().await;
    let authority = Authority::new();
    let (certificate, key) = authority.sign("server");
    let client = authority.sign("client");
    let ca = authority.file("ca.pem");
    let port = free_port();
    let listen = format!("tcp://127.0.0.1:{port}");
    let tls = [
        "--tls-cert",
        text(&certificate),
        "--tls-key",
        text(&key),
        "--tls-ca",
        text(&ca),
    ];
    let args: Vec<&str> = ["--listen", &listen].into_iter().chain(tls).collect();
    let _daemon = Daemon::start(rig.containerd.address(), &args).await;
    assert_eq!(ping(port, &authority, Some(&client)).await, Some(200));
    assert_eq!(ping(port, &authority, None).await, None);
    // A certificate has no roles yet, so none of them lifts a protection.
    let body = r#"{"request": {"selection": {"filters": {}}, "lift_protection": true}}"#;
    let prune = ["POST", "/reclaim/v1/prune", body];
    let refused = ask(port, &authority, Some(&client), prune).await.unwrap();
    assert_eq!(refused.status, 403, "{refused:#?}");
    assert_eq!(
        refused.json()["error"]["message"],
        "lift_protection: accepted only from root on the daemon's Unix socket; this request is from \
         a client at 127.0.0.1"
    );
    let others = Authority::new();
    let stranger = others.sign("stranger");
    assert_eq!(ping(port, &authority, Some(&stranger)).await, None);
}

#[tokio::test]
async fn tcp_without_tls_is_refused() {
    let rig = Rig::start().await;
    let authority = Authority::new();
    let (certificate, key) = authority.sign("server");
    let listen = format!("tcp://127.0.0.1:{}", free_port());
    let socket = authority.file("s");
    let refused = |args: &[&str]| {
        let mut command = serve(rig.containerd.address(), &socket);
        let output = command
            .args(["--listen", &listen])
            .args(args)
            .output()
            .unwrap();
        assert!(!output.status.success(), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let error = refused(&[]);
    assert!(error.contains("needs mutual TLS"), "{error}");
    let error = refused(&["--tls-cert", text(&certificate), "--tls-key", text(&key)]);
    assert!(error.contains("--tls-ca"), "{error}");
    let args = [
        "--tls-cert",
        text(&certificate),
        "--tls-key",
        text(&key),
        "--tls-ca",
        text(&key),
    ];
    let error = refused(&args);
    assert!(error.contains("read the authority in"), "{error}");
    assert!(
        !socket.exists(),
        "no socket stays open if another cannot be opened"
    );
}
