//! A private dockerd on a private containerd, with its images in containerd's image store and
//! without the host's network.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::containerd::Containerd;
use crate::containerd::process::{Process, bound_command, find_on_path};
use crate::namespace::NamespaceClient;

/// The environment variable with the path of dockerd.
const BINARY_VARIABLE: &str = "RECLAIM_TEST_DOCKERD";

/// The pause between two checks of a starting daemon, and the number of checks: 60 s in all. dockerd
/// takes one second on an idle machine.
const PAUSE: Duration = Duration::from_millis(10);
const CHECKS: u32 = 6000;

/// The namespace of dockerd's images.
const NAMESPACE: &str = "moby";

/// A running dockerd that belongs to one test. Dropping it ends it, then its containerd.
#[derive(Debug)]
pub struct Dockerd {
    /// `None` only while dropping.
    process: Option<Process>,
    containerd: Containerd,
    socket: PathBuf,
    log: PathBuf,
    /// `None` only while dropping.
    directory: Option<TempDir>,
}

impl Dockerd {
    /// Starts a containerd and a dockerd on it, and waits until it answers.
    pub async fn start() -> Self {
        let containerd = Containerd::start().await;
        let socket = containerd.socket().to_owned();
        Self::start_on(containerd, &socket).await
    }

    /// Starts a dockerd on a containerd, which it reaches through a socket: that of containerd, or of
    /// a proxy in front of it.
    pub async fn start_on(containerd: Containerd, socket: &Path) -> Self {
        let directory = tempfile::Builder::new()
            .prefix("reclaim-")
            .tempdir_in("/tmp")
            .expect("a directory can be created below /tmp");
        let path = directory.path();
        let config =
            r#"{"features": {"containerd-snapshotter": true}, "storage-driver": "native"}"#;
        fs::write(path.join("daemon.json"), config).expect("the private directory is writable");
        let log = path.join("dockerd.log");
        let process = launch(path, socket, &log);
        let mut dockerd = Self {
            process: Some(process),
            containerd,
            socket: path.join("d.sock"),
            log,
            directory: Some(directory),
        };
        dockerd.wait().await;
        dockerd
    }

    /// Returns the address, as for `DOCKER_HOST`.
    pub fn address(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    /// Returns its containerd.
    pub fn containerd(&self) -> &Containerd {
        &self.containerd
    }

    /// Returns a handle on the namespace of the images.
    pub fn namespace(&self) -> NamespaceClient {
        self.containerd.namespace(NAMESPACE)
    }

    async fn wait(&mut self) {
        for _ in 0..CHECKS {
            if answers(&self.socket).await {
                return;
            }
            let status = self.process.as_mut().and_then(Process::exit_status);
            if let Some(status) = status {
                panic!("dockerd ended while starting ({status})\n{}", self.log());
            }
            let slept = tokio::task::spawn_blocking(|| thread::sleep(PAUSE)).await;
            slept.expect("sleeping does not panic");
        }
        panic!("dockerd does not answer\n{}", self.log());
    }

    fn log(&self) -> String {
        let bytes = fs::read(&self.log).expect("the log is created before the process");
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        drop(self.process.take());
        if let Some(Err(error)) = self.directory.take().map(TempDir::close)
            && !thread::panicking()
        {
            panic!("remove the directory of dockerd: {error}");
        }
    }
}

fn launch(path: &Path, containerd: &Path, log: &Path) -> Process {
    let binary = binary();
    let mut command = bound_command(&binary);
    let log = File::create(log).expect("the private directory is writable");
    let same_log = log.try_clone().expect("a file handle can be cloned");
    let below = |name: &str| path.join(name);
    command
        .arg("--config-file")
        .arg(below("daemon.json"))
        .arg("--host")
        .arg(format!("unix://{}", below("d.sock").display()))
        .arg("--data-root")
        .arg(below("data"))
        .arg("--exec-root")
        .arg(below("exec"))
        .arg("--pidfile")
        .arg(below("d.pid"))
        .arg("--containerd")
        .arg(containerd)
        .args(["--bridge=none", "--iptables=false", "--ip6tables=false"])
        .arg("--userland-proxy=false")
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(same_log);
    Process::spawn(command).unwrap_or_else(|error| panic!("start `{}`: {error}", binary.display()))
}

/// Whether the daemon answers a ping.
async fn answers(socket: &Path) -> bool {
    let Ok(mut stream) = UnixStream::connect(socket).await else {
        return false;
    };
    let ping = b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n";
    let mut answer = String::new();
    stream.write_all(ping).await.is_ok()
        && stream.read_to_string(&mut answer).await.is_ok()
        && answer.ends_with("OK")
}

fn binary() -> PathBuf {
    env::var_os(BINARY_VARIABLE)
        .map(PathBuf::from)
        .or_else(|| find_on_path("dockerd"))
        .unwrap_or_else(|| {
            panic!("dockerd is not on PATH; run `cargo xtask dockerd` and set {BINARY_VARIABLE}")
        })
}
