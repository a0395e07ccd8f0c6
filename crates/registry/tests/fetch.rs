//! Fetches from registries that answer in every way.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

#[path = "common/server.rs"]
mod server;

use std::fs;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reclaim_model::{Digest, FetchedPart, RegistryContent, RegistryCredentials};
use reclaim_registry::{FetchError, FetchLimits, Registries};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokio::sync::mpsc;

use server::{Server, answer};

const BODY: &str = "a layer, as it was pushed";

fn content(registry: &str) -> RegistryContent {
    RegistryContent {
        registry: registry.to_owned(),
        path: "team/app".to_owned(),
        digest: Digest::Sha256(Sha256::digest(BODY).into()),
        size: BODY.len() as u64,
        is_manifest: false,
    }
}

fn user() -> RegistryCredentials {
    RegistryCredentials {
        user: "me".to_owned(),
        password: "secret".to_owned(),
    }
}

/// `me:secret` in base64, as in the header.
const BASIC: &str = "authorization: basic bwu6c2vjcmv0\r\n";

fn limits() -> FetchLimits {
    FetchLimits {
        silence: Duration::from_millis(300),
        base: Duration::from_secs(3),
        ..FetchLimits::default()
    }
}

/// Fetches content, and returns what was received last.
async fn fetch_by(
    registries: Registries,
    content: RegistryContent,
    user: Option<RegistryCredentials>,
) -> Result<Vec<u8>, FetchError> {
    let (parts, mut received) = mpsc::channel(1);
    let registries = registries.with_limits(limits());
    let fetching = async move { registries.fetch(&content, user.as_ref(), &parts).await };
    let fetching = tokio::spawn(fetching);
    let mut body = Vec::new();
    while let Some(part) = received.recv().await {
        match part {
            FetchedPart::Begin => body.clear(),
            FetchedPart::Data(data) => body.extend(data),
        }
    }
    fetching.await.unwrap().map(|()| body)
}

async fn fetch(server: &Server) -> Result<Vec<u8>, FetchError> {
    fetch_by(Registries::default(), content(&server.address), None).await
}

/// Asserts that a server whose every answer is this one gives nothing.
async fn assert_refused(given: String, why: &str) {
    let server = Server::start(move |_| Some(given.clone())).await;
    let error = fetch(&server).await.unwrap_err();
    assert!(error.to_string().contains(why), "{error}");
}

/// An answer that ends before its body does.
fn cut(body: &str) -> String {
    let length = BODY.len();
    format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}")
}

/// An answer without the length of its body.
fn unbounded(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{body}")
}

#[tokio::test]
async fn a_blob_and_a_manifest_are_requested_by_digest() {
    let server = Server::start(|_| Some(answer("200 OK", &[], BODY))).await;
    assert_eq!(fetch(&server).await.unwrap(), BODY.as_bytes());
    let manifest = RegistryContent {
        is_manifest: true,
        ..content(&server.address)
    };
    let fetched = fetch_by(Registries::default(), manifest.clone(), Some(user())).await;
    assert_eq!(fetched.unwrap(), BODY.as_bytes());
    let requests = server.requests();
    let digest = manifest.digest;
    assert!(requests[0].starts_with(&format!("GET /v2/team/app/blobs/{digest} ")));
    assert!(requests[1].starts_with(&format!("GET /v2/team/app/manifests/{digest} ")));
    // The server did not ask for them.
    assert!(!requests.concat().to_lowercase().contains("authorization"));
}

#[tokio::test]
async fn wrong_bytes_are_refused() {
    let other = BODY.replace("pushed", "forged");
    assert_refused(answer("200 OK", &[], &other), "its digest is sha256:").await;
    assert_refused(unbounded(&other), "its digest is sha256:").await;
    let long = format!("{BODY}!");
    assert_refused(answer("200 OK", &[], &long), "bytes in place of").await;
    assert_refused(unbounded(&long.repeat(100_000)), "more than the").await;
    assert_refused(answer("200 OK", &[], "short"), "bytes in place of").await;
    for status in [
        "204 No Content",
        "404 Not Found",
        "500 Internal Server Error",
    ] {
        assert_refused(answer(status, &[], ""), "answered ").await;
    }
    assert_refused("no HTTP".to_owned(), "cannot be reached").await;
}

#[tokio::test]
async fn what_was_cut_off_is_continued() {
    let server = Server::start(|request| {
        let rest = request.to_lowercase().contains("range: bytes=7-\r\n");
        let range = format!("bytes 7-{}/{}", BODY.len() - 1, BODY.len());
        Some(if rest {
            answer(
                "206 Partial Content",
                &[("Content-Range", &range)],
                &BODY[7..],
            )
        } else {
            cut(&BODY[..7])
        })
    })
    .await;
    assert_eq!(fetch(&server).await.unwrap(), BODY.as_bytes());
    assert_eq!(server.requests().len(), 2);

    // A server without ranges begins again.
    let count = Arc::new(Mutex::new(0));
    let server = Server::start(move |_| {
        let mut count = count.lock().unwrap();
        *count += 1;
        Some(if *count == 1 {
            cut("zzz")
        } else {
            answer("200 OK", &[], BODY)
        })
    })
    .await;
    assert_eq!(fetch(&server).await.unwrap(), BODY.as_bytes());

    // Another part than the requested one is not appended.
    let server = Server::start(|request| {
        let rest = request.to_lowercase().contains("range: ");
        Some(if rest {
            let range = format!("bytes 0-{}/{}", BODY.len() - 1, BODY.len());
            answer(
                "206 Partial Content",
                &[("Content-Range", &range)],
                &BODY[7..],
            )
        } else {
            cut(&BODY[..7])
        })
    })
    .await;
    let error = fetch(&server).await.unwrap_err();
    assert!(error.to_string().contains("another part"), "{error}");
}

#[tokio::test]
async fn a_fetch_ends_whatever_the_host_does() {
    let silent = Server::start(|_| None).await;
    let error = fetch(&silent).await.unwrap_err();
    assert!(
        error.to_string().contains("did not answer within"),
        "{error}"
    );
    let always_cut = Server::start(|request| {
        Some(if request.to_lowercase().contains("range: ") {
            answer("200 OK", &[], "").replace("length: 0", "length: 25")
        } else {
            cut("a")
        })
    })
    .await;
    let error = fetch(&always_cut).await.unwrap_err();
    assert!(error.to_string().contains("cut the answer off"), "{error}");
    assert!(always_cut.requests().len() <= 5);
    // A byte now and then is never silent for long.
    let slow = Server::trickling(Duration::from_millis(200)).await;
    let error = fetch(&slow).await.unwrap_err();
    assert!(error.to_string().contains("took longer than 3s"), "{error}");
}

#[tokio::test]
async fn a_redirect_to_storage_is_followed_without_credentials() {
    // The realm, the registry and its storage are one host here.
    let server = Server::start(|request| {
        let lower = request.to_lowercase();
        Some(if request.starts_with("GET /storage") {
            answer("200 OK", &[], BODY)
        } else if lower.contains(BASIC) {
            answer(
                "307 Temporary Redirect",
                &[("Location", "/storage?signed=1")],
                "",
            )
        } else {
            let demand = [("WWW-Authenticate", "Basic realm=\"x\"")];
            answer("401 Unauthorized", &demand, "")
        })
    })
    .await;
    let registry = content(&server.address);
    let fetched = fetch_by(Registries::default(), registry.clone(), Some(user())).await;
    assert_eq!(fetched.unwrap(), BODY.as_bytes());
    let requests = server.requests();
    assert!(
        requests[2].starts_with("GET /storage?signed=1 "),
        "{requests:#?}"
    );
    assert!(!requests[2].to_lowercase().contains("authorization"));

    let error = fetch(&server).await.unwrap_err();
    assert!(matches!(error, FetchError::Unauthorized(_)), "{error:?}");
    let wrong = RegistryCredentials {
        password: "other".to_owned(),
        ..user()
    };
    let error = fetch_by(Registries::default(), registry, Some(wrong)).await;
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("to the given credentials") && !error.contains("other"),
        "{error}"
    );
}

#[tokio::test]
async fn no_redirect_leads_into_the_machine_or_out_of_https() {
    let inside = Server::start(|_| Some(answer("200 OK", &[], BODY))).await;
    for location in [
        format!("http://localhost:{}/x", inside.port()),
        "http://storage.example/x".to_owned(),
        "https://127.0.0.2/x".to_owned(),
        "https://[::1]/x".to_owned(),
        "https://169.254.169.254/x".to_owned(),
        "https://localhost/x".to_owned(),
        "//storage.example/x".to_owned(),
        "ftp://127.0.0.1/x".to_owned(),
        "file:///etc/passwd".to_owned(),
        "x".to_owned(),
    ] {
        let answer = answer("302 Found", &[("Location", &location)], "");
        assert_refused(answer, "is not followed").await;
    }
    assert_eq!(inside.requests(), Vec::<String>::new());
    let around = answer("302 Found", &[("Location", "/v2/again")], "");
    assert_refused(around, "redirects more than").await;
    assert_refused(answer("302 Found", &[], ""), "answered 302").await;
}

#[tokio::test]
async fn a_demand_for_credentials_ends() {
    let count = Arc::new(Mutex::new(0));
    let counting = Arc::clone(&count);
    let server = Server::start(move |_| {
        *counting.lock().unwrap() += 1;
        let demand = [("WWW-Authenticate", "Basic realm=\"x\"")];
        Some(answer("401 Unauthorized", &demand, ""))
    })
    .await;
    let error = fetch_by(
        Registries::default(),
        content(&server.address),
        Some(user()),
    )
    .await;
    assert!(
        matches!(error, Err(FetchError::Unauthorized(_))),
        "{error:?}"
    );
    assert_eq!(*count.lock().unwrap(), 2);
    for (realm, why) in [
        ("http://realm.example/token", "not HTTPS"),
        ("https://127.0.0.1:1/token", "cannot be reached"),
        ("nothing at all", "not an address"),
    ] {
        let demand = format!("Bearer realm=\"{realm}\"");
        let demand = answer("401 Unauthorized", &[("WWW-Authenticate", &demand)], "");
        assert_refused(demand, why).await;
    }
}

#[tokio::test]
async fn credentials_buy_a_token_and_never_leave_for_a_mirror() {
    let address = Arc::new(Mutex::new(String::new()));
    let shared = Arc::clone(&address);
    let registry = Server::start(move |request| {
        let lower = request.to_lowercase();
        Some(
            if request.starts_with("GET /token") && lower.contains(BASIC) {
                answer("200 OK", &[], "{\"token\":\"bought\"}")
            } else if lower.contains("authorization: bearer bought\r\n") {
                answer("200 OK", &[], BODY)
            } else {
                let realm = format!("Bearer realm=\"http://{}/token\"", shared.lock().unwrap());
                answer("401 Unauthorized", &[("WWW-Authenticate", &realm)], "")
            },
        )
    })
    .await;
    registry.address.clone_into(&mut address.lock().unwrap());
    let mirror = Server::start(|_| {
        let demand = [("WWW-Authenticate", "Basic realm=\"x\"")];
        Some(answer("401 Unauthorized", &demand, ""))
    })
    .await;
    let root = TempDir::new().unwrap();
    let directory = root.path().join("registry.internal");
    fs::create_dir(&directory).unwrap();
    let hosts = format!(
        "server = \"http://{}\"\n[host.\"http://{}\"]\n",
        registry.address, mirror.address
    );
    fs::write(directory.join("hosts.toml"), hosts).unwrap();
    let registries = Registries::new(vec![root.path().to_owned()]);
    let fetched = fetch_by(registries, content("registry.internal"), Some(user())).await;
    assert_eq!(fetched.unwrap(), BODY.as_bytes());
    let to_mirror = mirror.requests();
    assert_eq!(to_mirror.len(), 1);
    assert!(to_mirror[0].contains("?ns=registry.internal"));
    assert!(!to_mirror[0].to_lowercase().contains("authorization"));
}

#[tokio::test]
async fn a_host_that_lies_is_replaced_by_the_next() {
    let mirror = Server::start(|_| Some(answer("200 OK", &[], &BODY.replace('a', "e")))).await;
    let registry = Server::start(|_| Some(answer("200 OK", &[], BODY))).await;
    let root = TempDir::new().unwrap();
    fs::create_dir(root.path().join("_default")).unwrap();
    let hosts = format!(
        "server = \"http://{}\"\n[host.\"http://{}\"]\n",
        registry.address, mirror.address
    );
    fs::write(root.path().join("_default/hosts.toml"), hosts).unwrap();
    let registries = Registries::new(vec![root.path().to_owned()]);
    let fetched = fetch_by(registries, content("registry.internal"), None).await;
    assert_eq!(fetched.unwrap(), BODY.as_bytes());
    assert_eq!((mirror.requests().len(), registry.requests().len()), (1, 1));
}

#[tokio::test]
async fn a_receiver_that_is_gone_stops_it() {
    let server = Server::start(|_| Some(answer("200 OK", &[], BODY))).await;
    let (parts, received) = mpsc::channel(1);
    drop(received);
    let registries = Registries::default();
    let content = content(&server.address);
    let fetched = registries.fetch(&content, None, &parts);
    assert_eq!(fetched.await, Err(FetchError::Closed));
}
