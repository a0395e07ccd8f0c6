//! Forwarding to a Docker Engine: what is refused at the start, and the end of a daemon with open
//! streams.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use futures::stream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

use crate::daemon::{Daemon, serve};
use crate::rig::Rig;

/// Runs an engine that answers pings, and whose events never end.
fn engine(socket: &Path) {
    let listener = UnixListener::bind(socket).unwrap();
    fs::set_permissions(socket, Permissions::from_mode(0o600)).unwrap();
    let events = async || {
        let first = stream::once(async { Ok::<_, std::convert::Infallible>("{}\n") });
        Body::from_stream(futures::StreamExt::chain(first, stream::pending()))
    };
    let router = Router::new()
        .route("/_ping", get(async || "OK"))
        .route("/events", get(events));
    tokio::spawn(async move { axum::serve(listener, router).await });
}

/// Arguments, the exit status, and a part of the error. Words in capitals are paths.
const REFUSED: &[(&str, i32, &str)] = &[
    (
        "--forward",
        2,
        "forwarding needs exactly one --docker, and 0 are given",
    ),
    (
        "--forward --docker unix://ENGINE --docker unix://ITSELF",
        2,
        "forwarding needs exactly one --docker, and 2 are given",
    ),
    (
        "--forward --docker tcp://192.0.2.1:2375",
        2,
        "a connection to the Docker Engine at `tcp://192.0.2.1:2375` needs TLS",
    ),
    (
        "--forward --docker unix://ENGINE --listen tcp://127.0.0.1:0",
        2,
        "cannot forward requests from tcp://127.0.0.1:0",
    ),
    (
        "--config ON --docker unix://ENGINE --listen tcp://127.0.0.1:0",
        2,
        "cannot forward requests from tcp://127.0.0.1:0",
    ),
    ("--config ON", 2, "forwarding needs exactly one --docker"),
    ("--config BAD", 2, ACCEPTED),
    (
        "--forward --docker unix://ENGINE --forward-except list,build",
        2,
        ACCEPTED,
    ),
    (
        "--docker unix://ENGINE --forward-except list",
        2,
        "cannot use --forward-except without --forward",
    ),
    (
        "--forward --docker unix://ENGINE --socket-mode 660",
        1,
        "would be open to users for whom the Docker socket",
    ),
    (
        "--forward --docker unix://ITSELF",
        1,
        "read who can connect to socket",
    ),
];

const ACCEPTED: &str = "accepted are prune, remove, list, inspect, history and df";

#[tokio::test]
async fn refuses_what_would_open_the_engine_to_others() {
    let rig = Rig::start().await;
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    engine(&path("ENGINE"));
    for (name, text) in [
        ("ON", "[forward]\nenabled = true\n"),
        ("BAD", "[forward]\nexcept = ['build']\n"),
    ] {
        fs::write(path(name), text).unwrap();
    }
    let with_paths = |arg: &str| {
        let names = ["ENGINE", "ITSELF", "ON", "BAD"];
        let path_of = |arg: String, name| arg.replace(name, path(name).to_str().unwrap());
        names.into_iter().fold(arg.to_owned(), path_of)
    };
    for (args, code, error) in REFUSED {
        let mut command = serve(rig.containerd.address(), &path("ITSELF"));
        command.arg("--state").arg(path("state"));
        let output = command
            .args(args.split(' ').map(with_paths))
            .output()
            .unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(*code), "{args}: {stderr}");
        assert!(stderr.contains(error), "{args}: {stderr}");
        assert!(!path("ITSELF").exists(), "{args}");
    }

    // Already listening, so that its socket exists.
    let daemon = Daemon::start(rig.containerd.address(), &[]).await;
    let itself = format!("unix://{}", daemon.socket().display());
    let mut command = serve(rig.containerd.address(), daemon.socket());
    command.arg("--state").arg(path("state"));
    let output = command
        .args(["--forward", "--docker", &itself])
        .output()
        .unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        stderr.contains("this daemon listens there itself"),
        "{stderr}"
    );
}

/// The socket has the permissions of the engine's, and an open stream does not keep the daemon.
#[tokio::test]
async fn ends_with_open_streams() {
    let rig = Rig::start().await;
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("docker");
    engine(&socket);
    let docker = format!("unix://{}", socket.display());
    let args = ["--docker", &docker, "--forward"];
    let daemon = Daemon::start(rig.containerd.address(), &args).await;
    let metadata = fs::metadata(daemon.socket()).unwrap();
    assert_eq!((metadata.mode() & 0o777, metadata.gid()), (0o600, 0));
    assert_eq!(daemon.ask("GET", "/_ping").await.body, "OK");
    let mut events = UnixStream::connect(daemon.socket()).await.unwrap();
    events
        .write_all(b"GET /events HTTP/1.1\r\nHost: d\r\n\r\n")
        .await
        .unwrap();
    let mut head = [0; 15];
    events.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200 OK");
    assert!(daemon.stop().await.success());
    let mut rest = Vec::new();
    events.read_to_end(&mut rest).await.unwrap();
}
