//! A daemon for one test, and an HTTP client.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{HeaderMap, Request, StatusCode};
use hyper_util::rt::TokioIo;
use reclaim_testkit::Signal;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;

/// Time between two checks of an awaited condition.
pub(crate) const PAUSE: Duration = Duration::from_millis(10);
/// Checks before a test gives up, after 60 s.
pub(crate) const CHECKS: u32 = 6000;

/// A running `reclaim serve`. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Daemon {
    child: Child,
    socket: PathBuf,
    /// Dropping it deletes the directory.
    directory: TempDir,
}

/// The answer to a request.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    /// Parses the body.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }

    /// Asserts an error status, and returns the message.
    #[track_caller]
    pub(crate) fn refused(&self, status: u16) -> String {
        assert_eq!(self.status.as_u16(), status, "{self:#?}");
        self.json()["message"].as_str().unwrap().to_owned()
    }

    /// Asserts status 200, and parses the body.
    #[track_caller]
    pub(crate) fn done(&self) -> Value {
        assert_eq!(self.status, StatusCode::OK, "{self:#?}");
        self.json()
    }
}

impl Daemon {
    /// Starts a daemon on the containerd at `address` and waits until it listens. The grace period
    /// is short, unless `args` set it.
    pub(crate) async fn start(address: &str, args: &[&str]) -> Self {
        Self::start_with(address, &[], args).await
    }

    /// Like [`Self::start`], with global options before those of `serve`.
    pub(crate) async fn start_with(address: &str, globals: &[&str], args: &[&str]) -> Self {
        let directory = tempfile::Builder::new()
            .prefix("reclaim-")
            .tempdir()
            .unwrap();
        let socket = directory.path().join("r.sock");
        let mut command = serve_with(address, globals, &socket);
        if !args.contains(&"--state") {
            command.arg("--state").arg(directory.path());
        }
        if !args.contains(&"--grace") {
            command.args(["--grace", "10ms"]);
        }
        let child = command.args(args).spawn().unwrap();
        let mut daemon = Self {
            child,
            socket,
            directory,
        };
        daemon.wait().await;
        daemon
    }

    /// Wraps a process that has been started, and the directory of its socket.
    pub(crate) fn adopted(child: Child, socket: PathBuf, directory: TempDir) -> Self {
        Self {
            child,
            socket,
            directory,
        }
    }

    /// Returns the socket.
    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    /// Returns the directory of the socket.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    async fn wait(&mut self) {
        for _ in 0..CHECKS {
            // A connection is not enough: the daemon answers only after it has all its sockets.
            if let Ok(stream) = UnixStream::connect(&self.socket).await
                && ask_on(stream, "GET", "/_ping", &[], "").await.is_ok()
            {
                return;
            }
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("the daemon ended while starting: {status}");
            }
            tokio::time::sleep(PAUSE).await;
        }
        panic!("the daemon does not listen");
    }

    /// Sends a request on a new connection.
    pub(crate) async fn ask(&self, method: &str, path: &str) -> Answer {
        self.ask_with(method, path, &[], "").await
    }

    pub(crate) async fn ask_with(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let stream = UnixStream::connect(&self.socket).await.unwrap();
        ask_on(stream, method, path, headers, body).await.unwrap()
    }

    /// Prunes images with these filters, as JSON.
    pub(crate) async fn prune(&self, filters: &str) -> Answer {
        let path = format!("/v1.51/images/prune?filters={}", form_urlencoded(filters));
        self.ask("POST", &path).await
    }

    /// Sends SIGTERM, and waits for the end.
    pub(crate) async fn stop(mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.ended().await
    }

    pub(crate) fn signal(&self, signal: Signal) {
        reclaim_testkit::signal(&self.child, signal);
    }

    /// Waits for the end.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        for _ in 0..CHECKS {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            tokio::time::sleep(PAUSE).await;
        }
        panic!("the daemon does not end");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Returns the command of a daemon on `socket`.
pub(crate) fn serve(address: &str, socket: &Path) -> Command {
    serve_with(address, &[], socket)
}

fn serve_with(address: &str, globals: &[&str], socket: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_reclaim"));
    command
        .env_clear()
        .args(["--address", address])
        .args(globals)
        .args(["serve", "--listen"])
        .arg(format!("unix://{}", socket.display()))
        .stdin(Stdio::null());
    command
}

/// Sends a request on this connection.
pub(crate) async fn ask_on(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Result<Answer, hyper::Error> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "d");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request
        .body(Full::new(Bytes::copy_from_slice(body.as_bytes())))
        .unwrap();
    let answer = sender.send_request(request).await?;
    let (parts, body) = answer.into_parts();
    let body = body.collect().await?.to_bytes();
    connection.abort();
    Ok(Answer {
        status: parts.status,
        headers: parts.headers,
        body: String::from_utf8(body.to_vec()).unwrap(),
    })
}

/// Encodes a text for a query.
pub(crate) fn form_urlencoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        })
        .collect()
}
