//! The daemon's process and its private directory, which is removed with it.

use std::env;
use std::fs::{self, File};
use std::iter;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::thread;

use rustix::process::Signal;
use tempfile::TempDir;

use super::builder::{ContainerdBuilder, Filesystem};
use super::mounts::{mount_image, mount_memory, unmount_below};
use super::process::{Process, bound_command, find_on_path};
use super::shims;

/// The environment variable with the path of another containerd.
const BINARY_VARIABLE: &str = "RECLAIM_TEST_CONTAINERD";

/// The limit of a socket path. The kernel allows 107 bytes, and containerd creates a second socket
/// with the suffix `.ttrpc`.
const SOCKET_PATH_LIMIT: usize = 100;

/// The memory that must be free for a private directory there: many times what a test needs, because
/// tests run in parallel. In a Docker container there are only 64 MiB.
const FREE_MEMORY: u64 = 1 << 30;

/// A containerd process with root, state, socket, configuration and log in one directory.
#[derive(Debug)]
pub(super) struct Daemon {
    process: Option<Process>,
    socket: PathBuf,
    path: PathBuf,
    /// `None` only while dropping.
    directory: Option<TempDir>,
}

impl Daemon {
    /// Creates the directory and starts the process, which may not answer yet.
    pub(super) fn launch(builder: &ContainerdBuilder) -> Self {
        let directory = tempfile::Builder::new()
            .prefix("reclaim-")
            .tempdir_in(base_directory(builder))
            .expect("a directory can be created below the base directory");
        // Canonical, because the mount table has no symbolic links.
        let path = fs::canonicalize(directory.path()).expect("the directory was just created");
        let socket = path.join("c.sock");
        assert!(
            socket.as_os_str().len() < SOCKET_PATH_LIMIT,
            "socket path is too long: {}",
            socket.display()
        );
        let config = builder.config(&path, &socket);
        let mut daemon = Self {
            process: None,
            socket,
            path,
            directory: Some(directory),
        };
        if let Some(filesystem) = builder.own_filesystem() {
            // `unmount_below` unmounts it.
            fs::create_dir(daemon.root()).expect("the private directory is writable");
            match filesystem {
                Filesystem::Memory(bytes) => mount_memory(&daemon.root(), bytes, None),
                Filesystem::Ext4(bytes) => mount_image("ext4", &daemon.root(), bytes),
                Filesystem::Btrfs(bytes) => mount_image("btrfs", &daemon.root(), bytes),
            }
        }
        if let Some(bytes) = builder.snapshots_bytes() {
            let root = daemon.root().join("io.containerd.snapshotter.v1.overlayfs");
            fs::create_dir(&root).expect("the root has its own filesystem");
            mount_memory(&root, bytes, None);
        }
        fs::write(daemon.config_path(), config).expect("the private directory is writable");
        daemon.relaunch();
        daemon
    }

    /// Starts the process on the existing directory.
    pub(super) fn relaunch(&mut self) {
        let binary = containerd_binary();
        let mut command = bound_command(&binary);
        if let Some(directory) = binary.parent().filter(|directory| directory.is_absolute()) {
            // Finds its own shims before those of another containerd.
            let path = env::var_os("PATH").unwrap_or_default();
            let paths = iter::once(directory.to_owned()).chain(env::split_paths(&path));
            let path = env::join_paths(paths).expect("no directory has a colon in its name");
            command.env("PATH", path);
        }
        let log = self.open_log();
        let same_log = log.try_clone().expect("a file handle can be cloned");
        command
            .arg("--config")
            .arg(self.config_path())
            .current_dir(&self.path)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(same_log);
        let process = Process::spawn(command)
            .unwrap_or_else(|error| panic!("start `{}`: {error}", binary.display()));
        self.process = Some(process);
    }

    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }

    pub(super) fn root(&self) -> PathBuf {
        self.path.join("root")
    }

    pub(super) fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    pub(super) fn exit_status(&mut self) -> Option<ExitStatus> {
        self.process.as_mut().and_then(Process::exit_status)
    }

    pub(super) fn log(&self) -> String {
        let bytes = fs::read(self.log_path()).expect("the log is created before the process");
        String::from_utf8_lossy(&bytes).into_owned()
    }

    pub(super) fn signal(&self, signal: Signal) {
        if let Some(process) = &self.process {
            process.signal(signal);
        }
    }

    /// Stops the process with SIGTERM, without blocking the other tasks of the test.
    pub(super) async fn end(&mut self) {
        let process = self.process.take();
        let ended = tokio::task::spawn_blocking(move || drop(process)).await;
        ended.expect("ending a child does not panic");
    }

    /// Kills the process.
    pub(super) async fn kill(&mut self) {
        if let Some(process) = &mut self.process {
            process.kill();
        }
        self.end().await;
    }

    fn config_path(&self) -> PathBuf {
        self.path.join("config.toml")
    }

    fn log_path(&self) -> PathBuf {
        self.path.join("containerd.log")
    }

    fn open_log(&self) -> File {
        let mut options = File::options();
        let opened = options.create(true).append(true).open(self.log_path());
        opened.expect("the private directory is writable")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.process.take());
        shims::end_all(&self.path, &self.socket);
        unmount_below(&self.path);
        if let Some(Err(error)) = self.directory.take().map(TempDir::close)
            && !thread::panicking()
        {
            panic!("remove `{}`: {error}", self.path.display());
        }
    }
}

/// Returns the parent of the private directories. Not `TMPDIR`, which may be too long for a socket.
///
/// It is in memory if there is enough: containerd waits for the disk twice in every transaction, and
/// without these waits a store is built several times faster. Nothing else differs.
fn base_directory(builder: &ContainerdBuilder) -> &'static Path {
    const MEMORY: &str = "/dev/shm";
    let has_memory = || {
        rustix::fs::statvfs(MEMORY)
            .is_ok_and(|usage| usage.f_bavail.saturating_mul(usage.f_frsize) >= FREE_MEMORY)
    };
    Path::new(if !builder.wants_disk() && has_memory() {
        MEMORY
    } else {
        "/tmp"
    })
}

/// Returns the containerd under test.
pub(super) fn containerd_binary() -> PathBuf {
    match env::var_os(BINARY_VARIABLE) {
        Some(binary) => PathBuf::from(binary),
        None => find_on_path("containerd").unwrap_or_else(|| {
            panic!(
                "containerd is not on PATH; install it (Debian: `apt-get install containerd runc`, \
                 or `cargo xtask test`) or set {BINARY_VARIABLE}=/path/to/containerd"
            )
        }),
    }
}
