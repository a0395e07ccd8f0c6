//! A Docker Engine over TCP: with certificates, or on this machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use reclaim_testkit::{Layer, image};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::authority::Authority;
use crate::daemon::{Daemon, serve};
use crate::rig::Rig;

/// Serves an engine with one stopped container, to clients with a certificate of the authority.
/// Returns its address.
async fn engine(authority: &Authority) -> String {
    let (certificate, key) = authority.sign("server");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let roots = Arc::new(authority.roots());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider));
    let chain = vec![CertificateDer::from_pem_file(certificate).unwrap()];
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(chain, PrivateKeyDer::from_pem_file(key).unwrap())
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // A client without a certificate is refused here or at the first read.
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut chunk = [0; 1024];
                match stream.read(&mut chunk).await {
                    Ok(length) if length > 0 => request.extend(&chunk[..length]),
                    _ => break,
                }
            }
            let request = String::from_utf8(request).unwrap();
            let path = request.split(' ').nth(1).unwrap_or_default();
            let body = if path.contains("/containers/json") {
                json!([{"Id": "aa", "Image": "used:1", "State": "exited"}])
            } else if path.ends_with("/info") {
                json!({"Containerd": {"Namespaces": {"Containers": "default"}}})
            } else {
                json!({"ApiVersion": "1.51", "Version": "28.5.2"})
            };
            let body = body.to_string();
            let length = body.len();
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}");
            drop(stream.write_all(answer.as_bytes()).await);
            drop(stream.shutdown().await);
        }
    });
    format!("tcp://localhost:{port}")
}

/// Returns a directory as `DOCKER_CERT_PATH` names it, with a certificate of one authority, which
/// verifies engines of another.
fn certificates(name: &str, verifying: &Authority, signing: &Authority) -> PathBuf {
    let (certificate, key) = signing.sign(name);
    let directory = signing.file(&format!("{name}-directory"));
    fs::create_dir(&directory).unwrap();
    fs::copy(verifying.file("ca.pem"), directory.join("ca.pem")).unwrap();
    fs::copy(certificate, directory.join("cert.pem")).unwrap();
    fs::copy(key, directory.join("key.pem")).unwrap();
    directory
}

#[tokio::test]
async fn lists_containers_over_mutual_tls() {
    let rig = Rig::start().await;
    for name in ["used", "unused"] {
        let own = Layer::named(name, 900);
        let built = image(&format!("docker.io/library/{name}:1")).layers([own]);
        built.build(&rig.namespace).await.unwrap();
    }
    let (authority, other) = (Authority::new(), Authority::new());
    let address = engine(&authority).await;
    let all = r#"{"dangling":["false"]}"#;
    // An engine of another authority, and a client of another one.
    for (name, verifying, signing) in [("a", &other, &authority), ("b", &authority, &other)] {
        let directory = certificates(name, verifying, signing);
        let tls = directory.to_str().unwrap();
        let args = [
            "--docker",
            &address,
            "--docker-tls",
            tls,
            "--namespace",
            "default",
        ];
        let daemon = Daemon::start(rig.containerd.address(), &args).await;
        let message = daemon.prune(all).await.refused(503);
        assert!(message.contains(&address), "{message}");
        assert_eq!(rig.names().await.len(), 2);
    }
    let directory = certificates("c", &authority, &authority);
    let tls = directory.to_str().unwrap();
    let args = [
        "--docker",
        &address,
        "--docker-tls",
        tls,
        "--namespace",
        "default",
    ];
    let daemon = Daemon::start(rig.containerd.address(), &args).await;
    daemon.prune(all).await.done();
    let names: Vec<String> = rig.names().await.into_iter().collect();
    assert_eq!(names, ["docker.io/library/used:1"]);
}

/// Runs a command that ends, and asserts that it names what is wrong.
fn refused(command: &mut Command, code: i32, error: &str) {
    let output = command.output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{command:?}: {stderr}");
    assert!(stderr.contains(error), "{command:?}: {stderr}");
}

#[tokio::test]
async fn refuses_an_engine_on_another_machine_without_certificates() {
    let rig = Rig::start().await;
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let valid = certificates("client", &authority, &authority);
    let empty = directory.path().join("empty");
    fs::create_dir(&empty).unwrap();
    let socket = directory.path().join("r.sock");
    let serving = |args: &[&str]| {
        let mut command = serve(rig.containerd.address(), &socket);
        command.arg("--state").arg(directory.path()).args(args);
        command
    };
    let needs_tls = "a connection to the Docker Engine at `tcp://192.0.2.1:2376` needs TLS";
    let docker = ["--docker", "tcp://192.0.2.1:2376"];
    refused(&mut serving(&docker), 2, needs_tls);
    let with = |tls: &Path, more: &[&str]| {
        let tls = ["--docker-tls", tls.to_str().unwrap()];
        serving(&[&docker[..], &tls, more].concat())
    };
    refused(&mut with(&empty, &[]), 1, "empty/ca.pem");
    let message = "cannot forward requests to `tcp://192.0.2.1:2376`; accepted are unix:///PATH";
    refused(&mut with(&valid, &["--forward"]), 2, message);
    refused(&mut serving(&["--docker-tls", "x"]), 2, "--docker");

    let mut project = Command::new(env!("CARGO_BIN_EXE_reclaim"));
    project
        .env_clear()
        .args(["project", "prune", "--project-name=x", "--rmi=all"]);
    project.current_dir(directory.path());
    project.env("DOCKER_HOST", "tcp://192.0.2.1:2376");
    refused(&mut project, 2, needs_tls);
    project.env("DOCKER_CERT_PATH", &empty);
    refused(&mut project, 2, needs_tls);
    project.env("DOCKER_TLS_VERIFY", "1");
    refused(&mut project, 1, "empty/ca.pem");
}
