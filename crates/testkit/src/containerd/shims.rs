//! Ends shims and their containers, which outlive containerd by design.
//!
//! A test removes the pods that it runs. If it fails before, they are ended here.

use std::ffi::OsStr;
use std::fs::{self, DirEntry};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

/// The directory of the sockets of all shims, of any containerd.
const SOCKETS: &str = "/run/containerd/s/";

/// Returns the directory of runc's state, for the daemon in `directory`.
pub(super) fn runc_root(directory: &Path) -> PathBuf {
    directory.join("runc")
}

/// Ends the containers and shims of a daemon that has ended. Its directory was `directory` and its
/// socket `socket`.
pub(super) fn end_all(directory: &Path, socket: &Path) {
    for namespace in entries(&runc_root(directory)) {
        for container in entries(&namespace.path()) {
            // Kills its processes and removes its cgroups. Fails if they are gone.
            let deleted = Command::new("runc")
                .arg("--root")
                .arg(namespace.path())
                .args(["delete", "--force"])
                .arg(container.file_name())
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
            deleted.ok();
        }
    }
    for process in entries(Path::new("/proc")) {
        if let Some(shim) = shim_of(&process, socket) {
            // Fails if it ended with its container.
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
    let mut arguments = command.split(|byte| *byte == 0);
    let program = Path::new(OsStr::from_bytes(arguments.next()?)).file_name()?;
    let is_shim = program.as_bytes().starts_with(b"containerd-shim");
    let is_of_socket = arguments.any(|argument| argument == socket.as_os_str().as_bytes());
    Pid::from_raw(pid).filter(|_| is_shim && is_of_socket)
}

/// Returns the bundle directories of all tasks.
fn bundles(directory: &Path) -> Vec<PathBuf> {
    let tasks = directory.join("state/io.containerd.runtime.v2.task");
    entries(&tasks)
        .iter()
        .flat_map(|namespace| entries(&namespace.path()))
        .map(|bundle| bundle.path())
        .collect()
}

/// Returns the socket of a shim. 1.x writes the address alone into a file, 2.x with other fields.
fn shim_socket(bundle: &Path) -> Option<PathBuf> {
    let read = |file: &str| fs::read_to_string(bundle.join(file)).ok();
    let text = read("bootstrap.json").or_else(|| read("address"))?;
    let (_, rest) = text.split_once(SOCKETS)?;
    let name: String = rest.chars().take_while(char::is_ascii_hexdigit).collect();
    (!name.is_empty()).then(|| Path::new(SOCKETS).join(name))
}

/// Returns the entries of a directory; none if it does not exist.
fn entries(directory: &Path) -> Vec<DirEntry> {
    let entries = fs::read_dir(directory);
    entries.into_iter().flatten().flatten().collect()
}
