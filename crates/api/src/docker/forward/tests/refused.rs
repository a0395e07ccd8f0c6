//! What is not forwarded, and what does not start.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use axum::Router;
use axum::body::Body;
use http::Request;
use tokio::net::UnixListener;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::engine_at;
use super::fixture::{Forwarding, Raw, bind};
use crate::access::{Rights, Role};
use crate::docker::forward::{EngineAddress, ForwardError, Forwarder, prepare};
use crate::listen::{self, Address, SocketAccess};

async fn refused(client: &mut Raw) -> (String, String) {
    let head = client.head().await;
    let length = head.to_lowercase();
    let (_, length) = length.split_once("content-length: ").unwrap();
    let length: usize = length.lines().next().unwrap().parse().unwrap();
    let mut body = vec![0; length];
    tokio::io::AsyncReadExt::read_exact(&mut client.0, &mut body)
        .await
        .unwrap();
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let status = head.lines().next().unwrap().to_owned();
    (status, body["message"].as_str().unwrap().to_owned())
}

/// In Docker's form, and with the engine's address.
#[tokio::test]
async fn an_engine_that_does_not_answer_is_named() {
    let forwarding = Forwarding::start().await;
    let address = format!("unix://{}", forwarding.engine_socket().display());
    let mut client = forwarding.client().await;
    client.send("GET /info HTTP/1.1\r\nHost: d\r\n\r\n").await;
    drop(forwarding.accept().await);
    let (status, message) = refused(&mut client).await;
    assert_eq!(status, "HTTP/1.1 502 Bad Gateway");
    let expected = format!("no response from the Docker Engine at {address}: ");
    assert!(message.starts_with(&expected), "{message}");

    // Nothing listens.
    let socket = forwarding.engine_socket();
    fs::remove_file(&socket).unwrap();
    drop(bind(&socket));
    client.send("GET /info HTTP/1.1\r\nHost: d\r\n\r\n").await;
    let (status, message) = refused(&mut client).await;
    assert_eq!(status, "HTTP/1.1 503 Service Unavailable");
    let expected = format!("cannot connect to the Docker Engine at {address}: ");
    assert!(message.starts_with(&expected), "{message}");

    // The engine's socket is gone.
    fs::remove_file(&socket).unwrap();
    client.send("GET /info HTTP/1.1\r\nHost: d\r\n\r\n").await;
    let (status, message) = refused(&mut client).await;
    assert_eq!(status, "HTTP/1.1 503 Service Unavailable");
    assert!(message.contains(&socket.display().to_string()), "{message}");
}

/// The engine of the address forwards to us: the request comes back with our name in `Via`.
#[tokio::test]
async fn a_request_that_comes_back_is_refused() {
    let forwarding = Forwarding::start().await;
    let mut client = forwarding.client().await;
    client.send("GET /info HTTP/1.1\r\nHost: d\r\n\r\n").await;
    let head = forwarding.accept().await.head().await;
    let mut back = forwarding.client().await;
    back.send(&head).await;
    let (status, message) = refused(&mut back).await;
    assert_eq!(status, "HTTP/1.1 508 Loop Detected");
    assert!(
        message.contains("has already passed this daemon"),
        "{message}"
    );
}

/// The engine's socket is replaced by one that fewer users can connect to.
#[tokio::test]
async fn a_socket_that_became_wider_than_the_engines_does_not_forward() {
    let forwarding = Forwarding::start().await;
    let socket = forwarding.engine_socket();
    fs::set_permissions(&socket, Permissions::from_mode(0o400)).unwrap();
    let mut client = forwarding.client().await;
    client.send("GET /info HTTP/1.1\r\nHost: d\r\n\r\n").await;
    let (status, message) = refused(&mut client).await;
    assert_eq!(status, "HTTP/1.1 503 Service Unavailable");
    assert!(message.contains("would be open to users"), "{message}");
}

/// Pings are forwarded for every client.
#[tokio::test]
async fn forwards_only_for_administrators_and_never_from_a_read_only_socket() {
    let directory = tempfile::tempdir().unwrap();
    let (engine, ours) = (directory.path().join("d"), directory.path().join("r"));
    let listener = bind(&engine);
    let addresses = [Address::Unix(ours)];
    let access = prepare(&address(&engine), &addresses, SocketAccess::default()).unwrap();
    let listeners = listen::open(&addresses, &access, None).await.unwrap();
    let stop = CancellationToken::new();
    let forwarder = Forwarder::new(address(&engine), [], &listeners, stop).unwrap();
    let answered = Router::new().fallback(async || "ours");
    let router = forwarder.router(answered);
    drop(listener);
    let status = async |rights: Rights, method: &str, path: &str| {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .body(Body::empty())
            .unwrap();
        request.extensions_mut().insert(rights);
        router
            .clone()
            .oneshot(request)
            .await
            .unwrap()
            .status()
            .as_u16()
    };
    let requests = [
        ("GET", "/containers/json"),
        ("POST", "/v1.51/containers/create"),
        ("POST", "/images/load"),
        ("GET", "/images/get"),
    ];
    for (method, path) in requests {
        for role in [Role::Read, Role::Prune] {
            assert_eq!(
                status(Rights::given(role), method, path).await,
                403,
                "{path}"
            );
        }
        assert_eq!(status(Rights::NONE, method, path).await, 403, "{path}");
        // The engine is gone, so what is forwarded fails.
        for rights in [Rights::given(Role::Admin), Rights::UNLISTED] {
            assert_eq!(status(rights, method, path).await, 503, "{path}");
        }
        let read_only = Rights {
            is_read_only: true,
            ..Rights::given(Role::Read)
        };
        assert_eq!(
            status(read_only, method, path).await,
            200,
            "answered here: {path}"
        );
    }
    assert_eq!(
        status(Rights::given(Role::Read), "GET", "/_ping").await,
        503
    );
}

fn address(path: &Path) -> EngineAddress {
    engine_at(&format!("unix://{}", path.display()))
}

/// The permissions are those of the engine's socket, and never wider.
#[tokio::test]
async fn starts_only_with_the_permissions_of_the_engine() {
    let directory = tempfile::tempdir().unwrap();
    let (engine, ours) = (directory.path().join("d"), directory.path().join("r"));
    let _listener = UnixListener::bind(&engine).unwrap();
    let owner = rustix::process::getgid().as_raw().to_string();
    for (theirs, mode, group, expected) in [
        (0o660, None, None, Ok(0o660)),
        (0o666, None, None, Ok(0o660)),
        (0o600, None, None, Ok(0o600)),
        (0o600, Some(0o660), None, Err(())),
        (0o660, Some(0o600), Some("12345"), Ok(0o600)),
        (0o660, None, Some("12345"), Err(())),
        (0o666, None, Some("12345"), Ok(0o660)),
    ] {
        fs::set_permissions(&engine, Permissions::from_mode(theirs)).unwrap();
        let access = SocketAccess {
            mode,
            group: group.map(str::to_owned),
        };
        if access.group.is_some() && !rustix::process::geteuid().is_root() {
            continue;
        }
        let addresses = [Address::Unix(ours.clone())];
        let access = prepare(&address(&engine), &addresses, access).unwrap();
        if group.is_none() && access.mode == Some(0o660) {
            assert_eq!(access.group.as_ref(), Some(&owner));
        }
        let listeners = listen::open(&addresses, &access, None).await.unwrap();
        let stop = CancellationToken::new();
        let forwarder = Forwarder::new(address(&engine), [], &listeners, stop);
        match (forwarder, expected) {
            (Ok(_), Ok(mode)) => {
                let metadata = fs::metadata(&ours).unwrap();
                assert_eq!(metadata.permissions().mode() & 0o777, mode);
            }
            (Err(ForwardError::Wider { .. }), Err(())) => {}
            (result, _) => panic!("{theirs:o}, {mode:?}, {group:?}: {result:?}"),
        }
    }
}

#[tokio::test]
async fn does_not_forward_to_itself_or_from_other_listeners() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let _listener = UnixListener::bind(path("d")).unwrap();
    symlink(path("d"), path("link")).unwrap();
    fs::write(path("file"), "").unwrap();
    let prepared = |engine: &str, listen: Address| {
        let prepared = prepare(&address(&path(engine)), &[listen], SocketAccess::default());
        prepared.unwrap_err()
    };
    for (engine, ours) in [("d", "d"), ("d", "link"), ("link", "d")] {
        let error = prepared(engine, Address::Unix(path(ours)));
        assert!(matches!(error, ForwardError::Itself(_)), "{error}");
    }
    let error = prepared("d", "tcp://127.0.0.1:2376".parse().unwrap());
    assert!(matches!(error, ForwardError::NotUnix(_)), "{error}");
    assert!(
        error.is_usage() && error.to_string().contains("only Unix sockets"),
        "{error}"
    );
    let error = prepared("file", Address::Systemd);
    assert!(matches!(error, ForwardError::NotSocket(_)), "{error}");
    let error = prepared("missing", Address::Systemd);
    assert!(matches!(error, ForwardError::Unknown { .. }), "{error}");

    // The engine's socket is replaced by our own after the check.
    let addresses = [Address::Unix(path("r"))];
    let access = SocketAccess::default();
    let listeners = listen::open(&addresses, &access, None).await.unwrap();
    let stop = CancellationToken::new();
    let error = Forwarder::new(address(&path("r")), [], &listeners, stop).unwrap_err();
    assert!(matches!(error, ForwardError::Itself(_)), "{error}");
}
