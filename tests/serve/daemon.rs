//! A daemon of one test, and a client that speaks HTTP to it.

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

/// Time between two looks at a starting daemon, and looks before giving up: 60 s.
const PAUSE: Duration = Duration::from_millis(10);
const LOOKS: u32 = 6000;

/// A running `reclaim serve`. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Daemon {
    child: Child,
    socket: PathBuf,
    /// Keeps the directory.
    directory: TempDir,
}

/// What a request came to.
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

    /// Demands a status, and returns the message of an error.
    #[track_caller]
    pub(crate) fn refused(&self, status: u16) -> String {
        assert_eq!(self.status.as_u16(), status, "{self:#?}");
        self.json()["message"].as_str().unwrap().to_owned()
    }

    /// Demands that it went well.
    #[track_caller]
    pub(crate) fn done(&self) -> Value {
        assert_eq!(self.status, StatusCode::OK, "{self:#?}");
        self.json()
    }
}

impl Daemon {
    /// Starts one on the containerd at `address` and waits until it listens. The grace is short,
    /// unless `args` say otherwise.
    pub(crate) async fn start(address: &str, args: &[&str]) -> Self {
        Self::start_with(address, &[], args).await
    }

    /// As [`Self::start`], with options of every command before those of `serve`.
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

    /// Takes over one that is started already, with the directory in which its socket is.
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
        for _ in 0..LOOKS {
            // The socket takes connections before the others are there; answers come after all are.
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

    /// Asks by a connection of its own.
    pub(crate) async fn ask(&self, method: &str, path: &str) -> Answer {
        self.ask_with(method, path, &[], "").await
    }

    pub(crate) async fn ask_with(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &'static str,
    ) -> Answer {
        let stream = UnixStream::connect(&self.socket).await.unwrap();
        ask_on(stream, method, path, headers, body).await.unwrap()
    }

    /// Prunes with these filters, as JSON.
    pub(crate) async fn prune(&self, filters: &str) -> Answer {
        let filters: String = form_urlencoded(filters);
        let path = format!("/v1.51/images/prune?filters={filters}");
        self.ask("POST", &path).await
    }

    /// Asks it to end, and waits until it has.
    pub(crate) async fn stop(mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.ended().await
    }

    pub(crate) fn signal(&self, signal: Signal) {
        reclaim_testkit::signal(&self.child, signal);
    }

    pub(crate) async fn ended(&mut self) -> ExitStatus {
        for _ in 0..LOOKS {
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

/// The command of a daemon on `socket`.
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

/// Asks over a connection.
pub(crate) async fn ask_on(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &'static str,
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
        .body(Full::new(Bytes::from_static(body.as_bytes())))
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

/// Writes a text as part of a query.
pub(crate) fn form_urlencoded(text: &str) -> String {
    let bytes = text.bytes();
    bytes
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        })
        .collect()
}
