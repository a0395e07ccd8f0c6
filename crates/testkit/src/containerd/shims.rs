//! What outlives containerd by design: the shims, and the containers that they watch.
//!
//! A test that runs pods removes them. Where it fails before, this ends what is left: nothing of it
//! would end with the daemon.

use std::ffi::OsStr;
use std::fs::{self, DirEntry};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

/// Where shims listen, whatever the directories of their containerd.
const SOCKETS: &str = "/run/containerd/s/";

/// Where runc keeps what it knows of the containers of a daemon that lives in `directory`.
pub(super) fn runc_root(directory: &Path) -> PathBuf {
    directory.join("runc")
}

/// Ends the containers and shims of a daemon that has ended, which lived in `directory` and
/// listened at `socket`.
pub(super) fn end_all(directory: &Path, socket: &Path) {
    for namespace in entries(&runc_root(directory)) {
        for container in entries(&namespace.path()) {
            // Kills its processes and removes its cgroups. There may be nothing to do.
            let deleting = Command::new("runc")
                .arg("--root")
                .arg(namespace.path())
                .args(["delete", "--force"])
                .arg(container.file_name())
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
            deleting.ok();
        }
    }
    for process in entries(Path::new("/proc")) {
        if let Some(shim) = shim_of(&process, socket) {
            // It may have ended with its container.
            kill_process(shim, Signal::KILL).ok();
        }
    }
    for bundle in bundles(directory) {
        if let Some(socket) = shim_socket(&bundle) {
            fs::remove_file(socket).ok();
        }
    }
}

/// Returns the ID of a process if it is a shim of the containerd at `socket`.
fn shim_of(process: &DirEntry, socket: &Path) -> Option<Pid> {
    let pid = process.file_name().to_str()?.parse().ok()?;
    let command = fs::read(process.path().join("cmdline")).ok()?;
    let mut words = command.split(|it| *it == 0);
    let program = Path::new(OsStr::from_bytes(words.next()?)).file_name()?;
    let is_shim = program.as_bytes().starts_with(b"containerd-shim");
    let is_of_socket = words.any(|word| word == socket.as_os_str().as_bytes());
    Pid::from_raw(pid).filter(|_| is_shim && is_of_socket)
}

/// The directories of the tasks.
fn bundles(directory: &Path) -> Vec<PathBuf> {
    let tasks = directory.join("state/io.containerd.runtime.v2.task");
    let namespaces = entries(&tasks).into_iter();
    let tasks = namespaces.flat_map(|it| entries(&it.path()));
    tasks.map(|it| it.path()).collect()
}

/// Finds the socket of a shim: 1.x writes it alone into a file, 2.x with more.
fn shim_socket(bundle: &Path) -> Option<PathBuf> {
    let address = |file: &str| fs::read_to_string(bundle.join(file)).ok();
    let address = address("bootstrap.json").or_else(|| address("address"))?;
    let (_, rest) = address.split_once(SOCKETS)?;
    let name: String = rest.chars().take_while(char::is_ascii_hexdigit).collect();
    (!name.is_empty()).then(|| Path::new(SOCKETS).join(name))
}

/// What is in a directory; nothing if there is none.
fn entries(directory: &Path) -> Vec<DirEntry> {
    let entries = fs::read_dir(directory);
    entries.into_iter().flatten().flatten().collect()
}
