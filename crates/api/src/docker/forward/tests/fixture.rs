//! A scripted engine, a listener that forwards to it, and raw connections of clients.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use axum::Router;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::engine_at;
use crate::access::Access;
use crate::docker::forward::{Forwarder, prepare};
use crate::listen::{self, Address, Limits, SocketAccess};

/// A listener that forwards, and the engine's listener, which the test answers.
pub(super) struct Forwarding {
    pub(super) engine: UnixListener,
    pub(super) stop: CancellationToken,
    pub(super) serving: JoinHandle<()>,
    directory: TempDir,
}

impl Forwarding {
    pub(super) async fn start() -> Self {
        Self::start_with(Limits::of_forwarding()).await
    }

    /// Requests that are not forwarded are answered with `ours` and their path.
    pub(super) async fn start_with(limits: Limits) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("d.sock");
        let engine = bind(&socket);
        let address = engine_at(&format!("unix://{}", socket.display()));
        let ours = [Address::Unix(directory.path().join("r.sock"))];
        let access = prepare(&address, &ours, SocketAccess::default()).unwrap();
        let listeners = listen::open(&ours, &access, None).await.unwrap();
        let stop = CancellationToken::new();
        let forwarder = Forwarder::new(address, [], &listeners, stop.clone()).unwrap();
        let ours = Router::new()
            .fallback(async |uri: http::Uri| format!("ours {}", uri.path_and_query().unwrap()));
        let router = forwarder.router(listen::limited(ours, &limits));
        let serving = listen::serve(listeners, router, limits, Access::default(), stop.clone());
        Self {
            engine,
            stop,
            serving: tokio::spawn(serving),
            directory,
        }
    }

    pub(super) fn engine_socket(&self) -> PathBuf {
        self.directory.path().join("d.sock")
    }

    /// Connects as a client.
    pub(super) async fn client(&self) -> Raw {
        let socket = self.directory.path().join("r.sock");
        Raw::connect(&socket).await
    }

    /// Accepts a connection as the engine.
    pub(super) async fn accept(&self) -> Raw {
        Raw(self.engine.accept().await.unwrap().0)
    }
}

/// Listens with the permissions of a Docker socket.
pub(super) fn bind(socket: &Path) -> UnixListener {
    let listener = UnixListener::bind(socket).unwrap();
    fs::set_permissions(socket, Permissions::from_mode(0o660)).unwrap();
    listener
}

/// One end of a connection, as bytes.
pub(super) struct Raw(pub(super) UnixStream);

impl Raw {
    pub(super) async fn connect(socket: &Path) -> Self {
        Self(UnixStream::connect(socket).await.unwrap())
    }

    pub(super) async fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
    }

    /// Ends the sending direction.
    pub(super) async fn end(&mut self) {
        self.0.shutdown().await.unwrap();
    }

    /// Reads up to the end of the headers.
    pub(super) async fn head(&mut self) -> String {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            head.push(char::from(self.0.read_u8().await.unwrap()));
        }
        head
    }

    /// Reads exactly this text.
    pub(super) async fn expect(&mut self, text: &str) {
        let mut bytes = vec![0; text.len()];
        self.0.read_exact(&mut bytes).await.unwrap();
        assert_eq!(String::from_utf8(bytes).unwrap(), text);
    }

    /// Reads to the end.
    pub(super) async fn rest(&mut self) -> String {
        let mut text = String::new();
        self.0.read_to_string(&mut text).await.unwrap();
        text
    }
}
