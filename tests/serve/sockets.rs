//! Who may come in, and by which door.

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

fn refused(address: &str, socket: &Path, args: &[&str]) -> String {
    let state = tempfile::tempdir().unwrap();
    let mut command = serve(address, socket);
    command.arg("--state").arg(state.path());
    let output: Output = command.args(args).output().unwrap();
    assert!(!output.status.success(), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[tokio::test]
async fn only_the_owner_and_the_group_may_come_in() {
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
async fn a_socket_is_taken_from_the_dead_only() {
    let rig = Rig::start().await;
    let address = rig.containerd.address();
    let daemon = Daemon::start(address, &[]).await;
    let error = refused(address, daemon.socket(), &[]);
    assert!(error.contains("another process is listening on"), "{error}");
    daemon.ask("GET", "/_ping").await;

    // One that was killed leaves its socket.
    let stale = daemon.directory().join("stale");
    drop(UnixListener::bind(&stale).unwrap());
    let mut second = serve(address, &stale).spawn().unwrap();
    let answered = async {
        for _ in 0..6000 {
            if UnixStream::connect(&stale).await.is_ok() {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        false
    };
    let answered = answered.await;
    second.kill().unwrap();
    second.wait().unwrap();
    assert!(answered);

    // Somebody else's, which answers.
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
async fn wrong_addresses_are_refused_with_those_that_are_accepted() {
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
        error.contains("`ssh://host` is no address of a Docker Engine"),
        "{error}"
    );
}

/// A socket that systemd has opened is taken over, and left to it.
#[tokio::test]
async fn takes_over_what_systemd_passes_on() {
    let rig = Rig::start().await;
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("passed.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    // The shell does what systemd does: number 3, and whose it is.
    let script = "exec 3<&0; export LISTEN_FDS=1 LISTEN_PID=$$; exec \"$@\"";
    let child = std::process::Command::new("sh")
        .args([
            "-c",
            script,
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
    let mut daemon = Daemon::adopted(child, socket, directory);
    let answer = daemon.ask("GET", "/_ping").await;
    assert_eq!(answer.body, "OK");
    daemon.signal(Signal::TERM);
    assert!(daemon.ended().await.success());
    assert!(daemon.socket().exists(), "it is systemd's");
}

/// Neither silence nor endless headers hold the door: others are served meanwhile.
#[tokio::test]
async fn clients_that_do_not_speak_hold_nobody_up() {
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
    // It may be cut off while we still write.
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

/// Requests have names: a client's own if it is plain, and never anything that could break a log.
#[tokio::test]
async fn requests_have_names() {
    let rig = Rig::start().await;
    let daemon = Daemon::start(rig.containerd.address(), &[]).await;
    let name = async |given: &str| {
        let answer = daemon
            .ask_with("GET", "/_ping", &[("x-request-id", given)], "")
            .await;
        answer.headers["x-request-id"].to_str().unwrap().to_owned()
    };
    assert_eq!(name("run-7.a_B").await, "run-7.a_B");
    for odd in ["a b", "a\tb", "\"", &"x".repeat(65)] {
        assert_ne!(name(odd).await, odd);
    }
}
