//! The sockets of a daemon: permissions, addresses, and clients that do not finish a request.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Output;
use std::time::Duration;

use reclaim_testkit::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::daemon::{Daemon, serve};
use crate::rig::Rig;

/// Starts a daemon that must fail. Returns its standard error.
fn refused(address: &str, socket: &Path, args: &[&str]) -> String {
    let state = tempfile::tempdir().unwrap();
    let mut command = serve(address, socket);
    command.arg("--state").arg(state.path());
    let output: Output = command.args(args).output().unwrap();
    assert!(!output.status.success(), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[tokio::test]
async fn only_the_owner_and_the_group_may_connect() {
    let rig = Rig::start().await;
    let mode = |daemon: &Daemon| {
        let metadata = fs::symlink_metadata(daemon.socket()).unwrap();
        assert!(metadata.file_type().is_socket());
        (metadata.permissions().mode() & 0o7777, metadata.gid())
    };
    let daemon = Daemon::start(rig.containerd.address(), &[]).await;
    assert_eq!(mode(&daemon), (0o660, 0));
    let args = ["--socket-mode", "600", "--socket-group", "daemon"];
    let daemon = Daemon::start(rig.containerd.address(), &args).await;
    assert_eq!(mode(&daemon), (0o600, 1));
    assert!(daemon.stop().await.success());

    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("s");
    let address = rig.containerd.address();
    for mode in ["666", "777", "060", "4660", "x", ""] {
        let error = refused(address, &socket, &["--socket-mode", mode]);
        assert!(
            error.contains("accepted are 600, 620, 640 and 660"),
            "{mode}: {error}"
        );
    }
    let error = refused(address, &socket, &["--socket-group", "nobody-has-this"]);
    assert!(
        error.contains("group `nobody-has-this` does not exist"),
        "{error}"
    );
    assert!(!socket.exists());
}

#[tokio::test]
async fn replaces_a_socket_only_if_no_process_listens_on_it() {
    let rig = Rig::start().await;
    let address = rig.containerd.address();
    let daemon = Daemon::start(address, &[]).await;
    let error = refused(address, daemon.socket(), &[]);
    assert!(error.contains("another process is listening on"), "{error}");
    daemon.ask("GET", "/_ping").await;

    // A killed daemon leaves its socket.
    let stale = daemon.directory().join("stale");
    drop(UnixListener::bind(&stale).unwrap());
    let mut second = serve(address, &stale).spawn().unwrap();
    let connecting = async {
        while UnixStream::connect(&stale).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let connected = tokio::time::timeout(Duration::from_secs(60), connecting).await;
    second.kill().unwrap();
    second.wait().unwrap();
    connected.unwrap();

    // Another process listens on this socket.
    let others = daemon.directory().join("others");
    let _listener = UnixListener::bind(&others).unwrap();
    let error = refused(address, &others, &[]);
    assert!(error.contains("another process is listening on"), "{error}");

    let file = daemon.directory().join("file");
    fs::write(&file, "precious").unwrap();
    let error = refused(address, &file, &[]);
    assert!(error.contains("exists and is not a socket"), "{error}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
}

#[tokio::test]
async fn errors_about_wrong_addresses_name_accepted_ones() {
    let rig = Rig::start().await;
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("s");
    for address in [
        "/run/x.sock",
        "http://0.0.0.0:80",
        "tcp://localhost:1",
        "unix://x",
    ] {
        let error = refused(rig.containerd.address(), &socket, &["--listen", address]);
        assert!(
            error.contains(&format!("`{address}` is not an address to listen on")),
            "{error}"
        );
    }
    let error = refused(rig.containerd.address(), &socket, &["--listen", "fd://"]);
    assert!(error.contains("systemd"), "{error}");
    let error = refused(
        rig.containerd.address(),
        &socket,
        &["--docker", "ssh://host"],
    );
    assert!(
        error.contains("`ssh://host` is not an address of a Docker Engine"),
        "{error}"
    );
}

/// The daemon does not delete the socket when it ends.
#[tokio::test]
async fn uses_a_socket_that_systemd_passes() {
    let (_rig, mut daemon) = passed("reclaim.socket").await;
    assert_eq!(daemon.ask("POST", "/images/prune").await.status, 200);
    daemon.signal(Signal::TERM);
    assert!(daemon.ended().await.success());
    assert!(daemon.socket().exists(), "it is systemd's");
}

#[tokio::test]
async fn a_socket_of_systemd_is_read_only_by_its_name() {
    let (_rig, daemon) = passed("read-only").await;
    let refused = daemon.ask("POST", "/images/prune").await;
    assert_eq!(
        refused.refused(403),
        "the request needs the role `prune`, and this socket is read-only"
    );
    assert_eq!(daemon.ask("GET", "/images/json").await.status, 200);
}

/// Starts a daemon with a socket that has this name.
async fn passed(name: &str) -> (Rig, Daemon) {
    let rig = Rig::start().await;
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("passed.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    // Like systemd, the shell passes the socket as descriptor 3 and sets the variables for it.
    let script =
        format!("exec 3<&0; export LISTEN_FDS=1 LISTEN_PID=$$ LISTEN_FDNAMES={name}; exec \"$@\"");
    let child = std::process::Command::new("sh")
        .args([
            "-c",
            &script,
            "sh",
            env!("CARGO_BIN_EXE_reclaim"),
            "--address",
        ])
        .args([
            rig.containerd.address(),
            "serve",
            "--listen",
            "fd://",
            "--state",
        ])
        .arg(directory.path())
        .stdin(std::os::fd::OwnedFd::from(listener))
        .spawn()
        .unwrap();
    let daemon = Daemon::adopted(child, socket, directory);
    let answer = daemon.ask("GET", "/_ping").await;
    assert_eq!(answer.body, "OK");
    (rig, daemon)
}

/// Incomplete requests and endless headers.
#[tokio::test]
async fn clients_that_do_not_finish_a_request_do_not_block_others() {
    let rig = Rig::start().await;
    let daemon = Daemon::start(rig.containerd.address(), &[]).await;
    let mut silent = Vec::new();
    for _ in 0..64 {
        let mut stream = UnixStream::connect(daemon.socket()).await.unwrap();
        stream.write_all(b"GET /images/json HT").await.unwrap();
        silent.push(stream);
    }
    assert_eq!(daemon.ask("GET", "/_ping").await.status, 200);

    let mut endless = UnixStream::connect(daemon.socket()).await.unwrap();
    endless
        .write_all(b"GET /_ping HTTP/1.1\r\nx: ")
        .await
        .unwrap();
    // The daemon may close the connection before all is written.
    drop(endless.write_all(&vec![b'x'; 1 << 20]).await);
    let mut answer = Vec::new();
    drop(endless.read_to_end(&mut answer).await);
    let answer = String::from_utf8_lossy(&answer);
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 431"),
        "{answer}"
    );
    assert_eq!(daemon.ask("GET", "/_ping").await.status, 200);
}

/// A client's own ID is used if it is safe to log.
#[tokio::test]
async fn every_request_has_an_id() {
    let rig = Rig::start().await;
    let daemon = Daemon::start(rig.containerd.address(), &[]).await;
    let id_for = async |requested: &str| {
        let answer = daemon
            .ask_with("GET", "/_ping", &[("x-request-id", requested)], "")
            .await;
        answer.headers["x-request-id"].to_str().unwrap().to_owned()
    };
    assert_eq!(id_for("run-7.a_B").await, "run-7.a_B");
    for unsafe_id in ["a b", "a\tb", "\"", &"x".repeat(65)] {
        assert_ne!(id_for(unsafe_id).await, unsafe_id);
    }
}
