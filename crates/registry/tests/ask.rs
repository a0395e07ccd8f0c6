//! Questions to registries that answer in every way.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

#[path = "common/server.rs"]
#[expect(dead_code, reason = "shared with others")]
mod server;

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reclaim_model::{Digest, Reference, RegistryAnswer, RegistryImage};
use reclaim_registry::Registries;
use rustls::pki_types::PrivateKeyDer;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use server::{Server, answer};

impl Server {
    /// Starts a registry that answers every question with this digest.
    async fn having(digest: Digest) -> Self {
        Self::start(move |_| Some(has(&digest))).await
    }

    /// Returns the image `team/app` in this registry.
    fn image(&self) -> RegistryImage {
        image(&self.address)
    }

    async fn ask(&self) -> RegistryAnswer {
        Registries::default().ask(&self.image()).await
    }
}

fn has(digest: &Digest) -> String {
    answer(
        "200 OK",
        &[("Docker-Content-Digest", &digest.to_string())],
        "",
    )
}

fn digest() -> Digest {
    Digest::Sha256([7; 32])
}

fn image(registry: &str) -> RegistryImage {
    let name = Reference::parse_normalized(&format!("{registry}/team/app:1")).unwrap();
    RegistryImage::new(&name, &digest())
}

#[track_caller]
fn assert_unknown(answer: &RegistryAnswer, why: &str) {
    match answer {
        RegistryAnswer::Unknown(found) => assert!(found.contains(why), "{found}"),
        RegistryAnswer::Has => panic!("it has the image, not: {why}"),
    }
}

#[tokio::test]
async fn a_registry_that_answers_with_the_digest_has_the_image() {
    let server = Server::having(digest()).await;
    assert_eq!(server.ask().await, RegistryAnswer::Has);
    let requests = server.requests();
    assert_eq!(requests.len(), 1);
    let line = format!("HEAD /v2/team/app/manifests/{} HTTP/1.1\r\n", digest());
    assert!(requests[0].starts_with(&line), "{requests:?}");
    assert!(!requests[0].to_lowercase().contains("authorization"));
}

#[tokio::test]
async fn every_other_answer_proves_nothing() {
    for (status, why) in [
        ("404 Not Found", "answered 404 Not Found"),
        ("401 Unauthorized", "answered 401 Unauthorized"),
        ("403 Forbidden", "answered 403 Forbidden"),
        ("429 Too Many Requests", "answered 429"),
        ("500 Internal Server Error", "answered 500"),
        ("204 No Content", "answered 204"),
        ("200 OK", "without the digest"),
    ] {
        let server = Server::start(move |_| Some(answer(status, &[], ""))).await;
        assert_unknown(&server.ask().await, why);
        assert_unknown(&server.ask().await, &server.address);
    }
    let other = Server::having(Digest::Sha256([8; 32])).await;
    assert_unknown(&other.ask().await, "without the digest");
    let noise = Server::start(|_| Some("no HTTP".to_owned())).await;
    assert_unknown(&noise.ask().await, "cannot be reached");
    let missing = format!("/v2/team/app/manifests/{}", digest());
    let elsewhere = Server::having(digest()).await;
    let location = format!("http://{}{missing}", elsewhere.address);
    let moved = Server::start(move |_| {
        Some(answer(
            "307 Temporary Redirect",
            &[("location", &location)],
            "",
        ))
    });
    assert_unknown(&moved.await.ask().await, "answered 307");
    assert_eq!(elsewhere.requests(), Vec::<String>::new());
}

#[tokio::test]
async fn a_registry_that_is_gone_or_late_proves_nothing() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = gone.local_addr().unwrap().to_string();
    drop(gone);
    let answer = Registries::default().ask(&image(&address)).await;
    assert_unknown(&answer, "cannot be reached");
    assert_unknown(&answer, "refused");
    let late = Server::start(|_| None).await;
    assert_unknown(&late.ask().await, "did not answer within 5s");
}

#[tokio::test]
async fn a_public_image_is_asked_for_with_an_anonymous_token() {
    // The registry and its realm are one server here.
    let realm = Arc::new(Mutex::new(String::new()));
    let shared = Arc::clone(&realm);
    let server = Server::start(move |request| {
        let realm = shared.lock().unwrap().clone();
        Some(if request.starts_with("GET /token") {
            answer("200 OK", &[], "{\"token\":\"anonymous\"}")
        } else if request
            .to_lowercase()
            .contains("authorization: bearer anonymous\r\n")
        {
            has(&digest())
        } else {
            let demand = format!("Bearer realm=\"{realm}\",service=\"here\",scope=\"all\"");
            answer("401 Unauthorized", &[("WWW-Authenticate", &demand)], "")
        })
    })
    .await;
    *realm.lock().unwrap() = format!("http://{}/token", server.address);
    assert_eq!(server.ask().await, RegistryAnswer::Has);
    let requests = server.requests();
    assert_eq!(requests.len(), 3, "{requests:#?}");
    let token = "GET /token?service=here&scope=repository%3Ateam%2Fapp%3Apull HTTP/1.1\r\n";
    assert!(requests[1].starts_with(token), "{requests:#?}");
    for (wrong, why) in [
        ("", "answered 401 Unauthorized"),
        ("http://", "not an address"),
        ("http://127.0.0.2:1/token", "not HTTPS"),
        ("https://127.0.0.1:1/token", "cannot be reached"),
    ] {
        wrong.clone_into(&mut realm.lock().unwrap());
        assert_unknown(&server.ask().await, why);
    }
}

#[tokio::test]
async fn a_private_image_stays() {
    for (status, body, why) in [
        ("401 Unauthorized", "", "its realm answered 401"),
        ("200 OK", "{}", "its realm gave none"),
        (
            "200 OK",
            "{\"token\":\"denied\"}",
            "answered 401 Unauthorized",
        ),
    ] {
        let address = Arc::new(Mutex::new(String::new()));
        let shared = Arc::clone(&address);
        let server = Server::start(move |request| {
            let address = shared.lock().unwrap().clone();
            Some(if request.starts_with("GET ") {
                answer(status, &[], body)
            } else {
                let demand = format!("Bearer realm=\"http://{address}/token\"");
                answer("401 Unauthorized", &[("WWW-Authenticate", &demand)], "")
            })
        })
        .await;
        server.address.clone_into(&mut address.lock().unwrap());
        assert_unknown(&server.ask().await, why);
    }
}

fn write(root: &Path, registry: &str, text: &str) {
    let directory = root.join(registry);
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("hosts.toml"), text).unwrap();
}

#[tokio::test]
async fn a_mirror_that_has_the_image_is_enough() {
    let root = tempfile::tempdir().unwrap();
    let registries = Registries::new(vec![root.path().to_owned()]);
    let mirror = Server::having(digest()).await;
    let registry = Server::start(|_| Some(answer("404 Not Found", &[], ""))).await;
    let hosts = format!("server = \"http://{}\"\n", registry.address);
    let one_mirror = format!("{hosts}[host.\"http://{}\"]\n", mirror.address);
    write(root.path(), "registry.internal", &one_mirror);
    let image = image("registry.internal");
    assert_eq!(registries.ask(&image).await, RegistryAnswer::Has);
    let asked = format!(
        "HEAD /v2/team/app/manifests/{}?ns=registry.internal ",
        digest()
    );
    assert!(mirror.requests()[0].starts_with(&asked));
    assert_eq!(registry.requests(), Vec::<String>::new());

    // Neither has it: the answer names both.
    let empty = Server::start(|_| Some(answer("404 Not Found", &[], ""))).await;
    let empty_mirror = format!("{hosts}[host.\"http://{}\"]\n", empty.address);
    write(root.path(), "_default", &empty_mirror);
    fs::remove_dir_all(root.path().join("registry.internal")).unwrap();
    let neither = registries.ask(&image).await;
    assert_unknown(
        &neither,
        &format!("{} answered 404 Not Found, ", empty.address),
    );
    assert_unknown(&neither, &registry.address);
    write(root.path(), "_default", "server = [");
    assert_unknown(&registries.ask(&image).await, "hosts.toml");
    write(
        root.path(),
        "_default",
        "server = \"a\"\ncapabilities = [\"push\"]",
    );
    assert_unknown(
        &registries.ask(&image).await,
        "no host of registry.internal serves pulls",
    );
}

#[tokio::test]
async fn a_host_that_is_not_verified_proves_nothing() {
    let root = tempfile::tempdir().unwrap();
    let registries = Registries::new(vec![root.path().to_owned()]);
    let certified = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .unwrap();
    let tls = TlsAcceptor::from(Arc::new(config));
    let server = Server::start_with(Some(tls), |_| Some(has(&digest()))).await;
    let hosts = format!(
        "[host.\"https://{}\"]\nskip_verify = true\n",
        server.address
    );
    // No other host may answer in its place.
    let only = format!("server = \"https://127.0.0.1:1\"\n{hosts}");
    write(root.path(), "registry.internal", &only);
    let image = image("registry.internal");
    assert_unknown(&registries.ask(&image).await, "cannot be reached");
    let ca = root.path().join("registry.internal/ca.pem");
    fs::write(&ca, certified.cert.pem()).unwrap();
    write(
        root.path(),
        "registry.internal",
        &format!("{only}ca = \"ca.pem\"\n"),
    );
    let asking = tokio::time::timeout(Duration::from_secs(60), registries.ask(&image));
    assert_eq!(asking.await.unwrap(), RegistryAnswer::Has);
    fs::write(&ca, "no certificate").unwrap();
    assert_unknown(&registries.ask(&image).await, "cannot be reached");
}
