//! TLS files that change while the daemon runs.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::Empty;
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rcgen::SerialNumber;
use reclaim_testkit::Signal;
use tokio::net::{TcpStream, UnixStream};

use crate::authority::{Authority, connect, free_port, params, ping, text};
use crate::daemon::{Daemon, ask_on, serve};
use crate::rig::Rig;

/// Waits until a condition holds, for a minute at most.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..600 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{what}");
}

/// Replaces a file as a whole.
fn replace(path: &Path, content: impl AsRef<[u8]>) {
    let new = path.with_extension("new");
    fs::write(&new, content).unwrap();
    fs::rename(new, path).unwrap();
}

/// The connection that was open before stays open.
#[tokio::test]
async fn a_certificate_that_is_revoked_while_the_daemon_runs_is_refused() {
    let rig = Rig::start().await;
    let authority = Authority::new();
    let numbered = |name: &str, serial: u64| {
        let mut params = params();
        params.serial_number = Some(SerialNumber::from(serial));
        authority.sign_params(name, &params)
    };
    let (server, stays, leaves) = (
        authority.sign("server"),
        numbered("stays", 7),
        numbered("leaves", 8),
    );
    let list = authority.file("revoked.pem");
    fs::write(&list, authority.revoke(&[], 2100)).unwrap();
    let port = free_port();
    let listen = format!("tcp://127.0.0.1:{port}");
    let mut args = authority.options(&server);
    args.extend(["--tls-crl", text(&list), "--listen", &listen].map(str::to_owned));
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let daemon = Daemon::start(rig.containerd.address(), &args).await;

    let open = connect(port, &authority, Some(&leaves)).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(open)).await.unwrap();
    tokio::spawn(connection);
    let ping_request = || {
        let request = Request::get("/_ping").header("host", "d");
        request.body(Empty::<Bytes>::new()).unwrap()
    };
    let answer = sender.send_request(ping_request()).await.unwrap();
    assert_eq!(answer.status(), 200);
    drop(answer);

    replace(&list, authority.revoke(&[8], 2100));
    until("the certificate is still accepted", async || {
        ping(port, &authority, Some(&leaves)).await.is_none()
    })
    .await;
    assert_eq!(ping(port, &authority, Some(&stays)).await, Some(200));
    sender.ready().await.unwrap();
    let answer = sender.send_request(ping_request()).await.unwrap();
    assert_eq!(answer.status(), 200);

    // A list that has expired, and one of another CA, say nothing about the certificates.
    let unknown = [
        authority.revoke(&[8], 2025),
        Authority::new().revoke(&[8], 2100),
    ];
    for list_text in unknown {
        replace(&list, list_text);
        daemon.signal(Signal::HUP);
        until("a certificate of unknown status is accepted", async || {
            ping(port, &authority, Some(&stays)).await.is_none()
        })
        .await;
        replace(&list, authority.revoke(&[8], 2100));
        daemon.signal(Signal::HUP);
        until("the certificate is refused", async || {
            ping(port, &authority, Some(&stays)).await == Some(200)
        })
        .await;
    }
}

/// A directory of a secret as Kubernetes mounts it: `..data` is a symbolic link to a directory with a
/// version of all files, and is replaced as a whole.
struct Secret {
    directory: PathBuf,
}

impl Secret {
    fn put(&self, version: &str, authority: &Authority) {
        let target = self.directory.join(version);
        fs::create_dir(&target).unwrap();
        let (certificate, key) = authority.sign("server");
        for (from, to) in [
            (certificate, "tls.crt"),
            (key, "tls.key"),
            (authority.file("ca.pem"), "ca.crt"),
        ] {
            fs::copy(from, target.join(to)).unwrap();
        }
        let link = self.directory.join("..new");
        symlink(version, &link).unwrap();
        fs::rename(link, self.directory.join("..data")).unwrap();
    }
}

#[tokio::test]
async fn a_secret_that_kubernetes_replaces_is_used_without_a_signal() {
    let rig = Rig::start().await;
    let folder = tempfile::tempdir().unwrap();
    let secret = Secret {
        directory: folder.path().to_owned(),
    };
    let (first, second) = (Authority::new(), Authority::new());
    let (of_first, of_second) = (first.sign("client"), second.sign("client"));
    secret.put("..1", &first);
    let file = |name: &str| {
        let link = folder.path().join(name);
        symlink(Path::new("..data").join(name), &link).unwrap();
        link
    };
    let (certificate, key, ca) = (file("tls.crt"), file("tls.key"), file("ca.crt"));
    let port = free_port();
    let args = [
        "--listen",
        &format!("tcp://127.0.0.1:{port}"),
        "--tls-cert",
        text(&certificate),
        "--tls-key",
        text(&key),
        "--tls-ca",
        text(&ca),
    ];
    let _daemon = Daemon::start(rig.containerd.address(), &args).await;
    assert_eq!(ping(port, &first, Some(&of_first)).await, Some(200));
    secret.put("..2", &second);
    until("the new certificates are not used", async || {
        ping(port, &second, Some(&of_second)).await == Some(200)
    })
    .await;
    assert_eq!(ping(port, &first, Some(&of_first)).await, None);
}

#[tokio::test]
async fn a_broken_file_leaves_the_old_ones_in_force() {
    let rig = Rig::start().await;
    let authority = Authority::new();
    let (server, client) = (authority.sign("server"), authority.sign("client"));
    let (port, metrics) = (free_port(), free_port());
    let at = |name: &str| authority.file(name);
    let metrics_section = format!("[metrics]\nlisten = \"127.0.0.1:{metrics}\"\n");
    fs::write(at("config.toml"), metrics_section).unwrap();
    let child = serve(rig.containerd.address(), &at("r.sock"))
        .args(["--listen", &format!("tcp://127.0.0.1:{port}")])
        .args(authority.options(&server))
        .arg("--config")
        .arg(at("config.toml"))
        .arg("--state")
        .arg(at("state"))
        .stderr(File::create(at("log")).unwrap())
        .spawn()
        .unwrap();
    let daemon = Daemon::adopted(child, at("r.sock"), tempfile::tempdir().unwrap());
    until("the daemon does not start", async || {
        UnixStream::connect(daemon.socket()).await.is_ok()
            && TcpStream::connect(("127.0.0.1", metrics)).await.is_ok()
    })
    .await;
    let success = async |value: u8| {
        let stream = TcpStream::connect(("127.0.0.1", metrics)).await.unwrap();
        let answer = ask_on(stream, "GET", "/metrics", &[], "").await.unwrap();
        let line = format!("reclaim_tls_reload_success {value}");
        answer.body.lines().any(|found| found == line)
    };
    let errors = || {
        let log = fs::read_to_string(at("log")).unwrap();
        log.matches("cannot reload the TLS files; keeping the old ones")
            .count()
    };
    assert!(success(1).await);
    let key = fs::read(&server.1).unwrap();
    // Not a key, and the key of another certificate.
    let others = [b"broken".to_vec(), fs::read(&client.1).unwrap()];
    for (broken, logged) in others.into_iter().zip([1, 2]) {
        replace(&server.1, broken);
        daemon.signal(Signal::HUP);
        until("the metric does not show the broken file", async || {
            success(0).await && errors() >= logged
        })
        .await;
        assert_eq!(ping(port, &authority, Some(&client)).await, Some(200));
    }
    replace(&server.1, key);
    until("the repaired file is not used", async || success(1).await).await;
    assert_eq!(ping(port, &authority, Some(&client)).await, Some(200));
}
