//! Roles: what each client can request, by certificate, by group and by socket.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{DistinguishedName, DnType, SanType};
use reclaim_api::access::{Api, Method, Role, methods};
use reclaim_testkit::Signal;
use rustix::process::{Gid, Uid};
use rustix::thread::{set_thread_gid, set_thread_uid};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;

use crate::authority::{Authority, ask, connect, free_port, params};
use crate::daemon::{Daemon, ask_on};
use crate::host::fill;
use crate::rig::Rig;

/// The status of `PERMISSION_DENIED` in gRPC.
const DENIED: &str = "7";

/// A user whose only group in the system's database is of the same number.
const DAEMON: u32 = 1;

/// A group of which no user is a member.
const BIN: u32 = 2;

const LISTS: &str = r#"
[access]
read = ["CN:reader", "group:bin"]
prune = ["URI:spiffe://example/pruner"]
admin = ["DNS:admin.example", "group:daemon"]

[protect]
references = ["app:*"]
"#;

/// A connection for requests over HTTP/2.
struct Client(SendRequest<Full<Bytes>>);

impl Client {
    async fn on(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Self {
        let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
        let (sender, connection) = handshake.await.unwrap();
        tokio::spawn(connection);
        Self(sender)
    }

    /// Whether the daemon refuses a request because of the sender.
    async fn is_refused(&mut self, method: &Method) -> bool {
        let is_grpc = method.api == Api::Grpc;
        let request = Request::builder()
            .method(method.http.clone())
            .uri(format!("http://d{}", method.path));
        let (request, body) = if is_grpc {
            let request = request
                .header("content-type", "application/grpc")
                .header("te", "trailers");
            // An empty message.
            (request, Bytes::from_static(&[0; 5]))
        } else {
            (request, Bytes::new())
        };
        let response = self.0.send_request(request.body(Full::new(body)).unwrap());
        let response = tokio::time::timeout(Duration::from_secs(60), response);
        let response = response.await.unwrap().unwrap();
        if is_grpc {
            let status = response.headers().get("grpc-status");
            status.is_some_and(|status| status == DENIED)
        } else {
            response.status() == 403
        }
    }

    /// Tries every method of every API, and checks that those which need more than this role are
    /// refused, and no others.
    async fn try_all(&mut self, who: &str, role: Option<Role>) {
        let methods = methods();
        for api in [Api::Json, Api::Grpc, Api::Docker] {
            assert!(methods.iter().filter(|method| method.api == api).count() > 10);
        }
        for method in methods {
            let is_refused = self.is_refused(&method).await;
            assert_eq!(is_refused, role < method.role, "{who}: {method:?}");
        }
    }

    async fn get(&mut self, path: &str) -> (u16, String) {
        let request = Request::get(format!("http://d{path}")).body(Full::default());
        let response = self.0.send_request(request.unwrap()).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }
}

/// A daemon with TLS, a configuration and unused images.
struct Stage {
    rig: Rig,
    daemon: Daemon,
    authority: Authority,
    port: u16,
    folder: TempDir,
}

impl Stage {
    async fn start(config: &str, args: &[&str]) -> Self {
        let rig = Rig::start().await;
        fill(&rig.namespace).await;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.toml");
        fs::write(&file, config).unwrap();
        let authority = Authority::new();
        let port = free_port();
        let mut all = authority.options(&authority.sign("server"));
        all.extend(["--listen".to_owned(), format!("tcp://127.0.0.1:{port}")]);
        all.extend(["--config".to_owned(), file.to_str().unwrap().to_owned()]);
        all.extend(args.iter().map(|arg| (*arg).to_owned()));
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        let daemon = Daemon::start(rig.containerd.address(), &all).await;
        // Users other than root reach the socket, whose own permissions decide.
        fs::set_permissions(daemon.directory(), Permissions::from_mode(0o755)).unwrap();
        Self {
            rig,
            daemon,
            authority,
            port,
            folder,
        }
    }

    /// Signs a certificate with a common name and alternative names.
    fn sign(&self, name: &str, alternative: Vec<SanType>) -> (PathBuf, PathBuf) {
        let mut params = params();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.subject_alt_names = alternative;
        self.authority.sign_params(name, &params)
    }

    async fn over_tls(&self, certificate: &(PathBuf, PathBuf)) -> Client {
        let stream = connect(self.port, &self.authority, Some(certificate)).await;
        Client::on(stream.unwrap()).await
    }
}

/// Connects from a thread of this user and group.
async fn as_user(uid: u32, gid: u32, socket: &Path) -> Client {
    let socket = socket.to_owned();
    let connecting = thread::spawn(move || {
        set_thread_gid(Gid::from_raw(gid)).unwrap();
        set_thread_uid(Uid::from_raw(uid)).unwrap();
        std::os::unix::net::UnixStream::connect(socket).unwrap()
    });
    let stream = connecting.join().unwrap();
    stream.set_nonblocking(true).unwrap();
    Client::on(UnixStream::from_std(stream).unwrap()).await
}

#[tokio::test]
async fn every_method_of_every_api_needs_its_role() {
    let folder = tempfile::tempdir().unwrap();
    let read_only = folder.path().join("read.sock");
    let address = format!("unix://{}", read_only.display());
    let args = ["--socket-group", "bin", "--read-only-listen", &address];
    let stage = Stage::start(LISTS, &args).await;
    let dns = |name: &str| SanType::DnsName(name.try_into().unwrap());
    let uri = |name: &str| SanType::URI(name.try_into().unwrap());

    // A name that another kind of name has.
    let unlisted = stage.sign(
        "admin.example",
        vec![dns("reader"), uri("spiffe://example")],
    );
    let mut client = stage.over_tls(&unlisted).await;
    client.try_all("an unlisted certificate", None).await;
    assert_eq!(client.get("/live").await.1, "alive\n");
    assert_eq!(client.get("/ready").await.0, 200);
    let (status, body) = client.get("/reclaim/v1/df").await;
    let error: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &error["error"]["kind"]), (403, &json!("denied")));
    assert_eq!(
        error["error"]["message"],
        "the request needs the role `read`, and [access] of the configuration does not list a \
         client at 127.0.0.1"
    );

    let reader = stage.sign("reader", Vec::new());
    let mut client = stage.over_tls(&reader).await;
    client
        .try_all("a certificate that reads", Some(Role::Read))
        .await;
    let stream = UnixStream::connect(&read_only).await.unwrap();
    let mut client = Client::on(stream).await;
    client
        .try_all("root on a read-only socket", Some(Role::Read))
        .await;
    let socket = stage.daemon.socket();
    let mut client = as_user(65_534, BIN, socket).await;
    client.try_all("a group that reads", Some(Role::Read)).await;
    assert_eq!(stage.rig.names().await.len(), 4, "reading changes nothing");

    let pruner = stage.sign("x", vec![uri("spiffe://example/pruner"), dns("reader")]);
    let mut client = stage.over_tls(&pruner).await;
    client
        .try_all("a certificate that prunes", Some(Role::Prune))
        .await;
    let admin = stage.sign("y", vec![dns("Admin.Example")]);
    let mut client = stage.over_tls(&admin).await;
    client
        .try_all("a certificate that administers", Some(Role::Admin))
        .await;
    // The group is that of the user in the system's database.
    let mut client = as_user(DAEMON, BIN, socket).await;
    client
        .try_all("a group that administers", Some(Role::Admin))
        .await;
    let mut client = Client::on(UnixStream::connect(socket).await.unwrap()).await;
    client.try_all("root", Some(Role::Admin)).await;
}

/// As before there were roles: all but lifting the protection.
#[tokio::test]
async fn without_lists_every_client_may_use_every_method() {
    let stage = Stage::start("", &["--socket-group", "bin"]).await;
    let client = stage.sign("client", Vec::new());
    let mut client = stage.over_tls(&client).await;
    client.try_all("any certificate", Some(Role::Admin)).await;
    let mut client = as_user(65_534, BIN, stage.daemon.socket()).await;
    client
        .try_all("the group of the socket", Some(Role::Admin))
        .await;
}

#[tokio::test]
async fn administrators_lift_the_protection() {
    let stage = Stage::start(LISTS, &[]).await;
    let uri = SanType::URI("spiffe://example/pruner".try_into().unwrap());
    let pruner = stage.sign("x", vec![uri]);
    let admin = stage.sign(
        "y",
        vec![SanType::DnsName("admin.example".try_into().unwrap())],
    );
    let named = json!({"named": {"names": ["app:1"], "force": true, "prune_parents": true}});
    let body = json!({"request": {"selection": named, "lift_protection": true}}).to_string();
    let prune = ["POST", "/reclaim/v1/prune", &body];
    let refused = ask(stage.port, &stage.authority, Some(&pruner), prune).await;
    assert_eq!(refused.unwrap().status, 403);
    assert_eq!(stage.rig.names().await.len(), 4);
    let lifted = ask(stage.port, &stage.authority, Some(&admin), prune).await;
    assert_eq!(lifted.unwrap().status, 200);
    assert_eq!(stage.rig.names().await.len(), 3);
}

/// A broken list leaves the old one in force.
#[tokio::test]
async fn a_reloaded_list_applies_to_open_connections() {
    let stage = Stage::start(LISTS, &[]).await;
    let file = stage.folder.path().join("config.toml");
    let reader = stage.sign("reader", Vec::new());
    let mut client = stage.over_tls(&reader).await;
    assert_eq!(client.get("/info").await.0, 200);
    for (list, status) in [
        ("read = ['CN:other']", 403),
        ("read = ['group:no-such-group']", 403),
        ("prune = ['CN:reader']", 200),
    ] {
        fs::write(&file, format!("[access]\n{list}\n")).unwrap();
        stage.daemon.signal(Signal::HUP);
        let mut tries = 0;
        while client.get("/info").await.0 != status {
            tries += 1;
            assert!(tries < 600, "{list} is not in force");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

#[tokio::test]
async fn a_read_only_socket_has_its_own_permissions() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("read.sock");
    let address = format!("unix://{}", socket.display());
    let args = [
        ["--read-only-listen", &address],
        ["--read-only-group", "daemon"],
        ["--read-only-mode", "620"],
    ];
    let rig = Rig::start().await;
    let daemon = Daemon::start(rig.containerd.address(), &args.concat()).await;
    let mode = |path: &Path| {
        let metadata = fs::symlink_metadata(path).unwrap();
        (metadata.permissions().mode() & 0o7777, metadata.gid())
    };
    assert_eq!(mode(&socket), (0o620, DAEMON));
    assert_eq!(mode(daemon.socket()), (0o660, 0));
    let stream = UnixStream::connect(&socket).await.unwrap();
    let refused = ask_on(stream, "POST", "/images/prune", &[], "").await;
    assert_eq!(
        refused.unwrap().refused(403),
        "the request needs the role `prune`, and this socket is read-only"
    );
    let host = format!("unix://{}", socket.display());
    let all = ["--host", &host, "image", "prune", "-a", "--dry-run"];
    rig.reclaim(&all).exits(0);
    let error = rig
        .reclaim(&["serve", "--read-only-listen", "fd://"])
        .exits(2);
    assert!(
        error.stderr.contains("FileDescriptorName=read-only"),
        "{error:?}"
    );
}

/// The documentation has a row for each method, with its role.
#[test]
fn the_manual_lists_the_role_of_each_method() {
    let manual = include_str!("../../docs/security.md");
    for method in methods() {
        let name = match method.api {
            Api::Grpc => method.path.rsplit('/').next().unwrap().to_owned(),
            Api::Json => method
                .path
                .replace("/reclaim/v1", "")
                .replace("/x/", "/{plan}/"),
            Api::Docker => continue,
        };
        let role = method
            .role
            .map_or("none".to_owned(), |role| format!("`{role}`"));
        let row = manual
            .lines()
            .find(|line| line.starts_with(&format!("| {role} |")));
        let row = row.unwrap_or_else(|| panic!("no row for {role}"));
        let quoted = format!("`{name}`");
        assert!(
            row.contains(&quoted),
            "docs/security.md lacks {quoted} for {role}: {row}"
        );
    }
}
