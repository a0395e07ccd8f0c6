//! `ctr`, the command that comes with containerd.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use super::Containerd;
use super::daemon::containerd_binary;
use super::shims::runc_root;

impl Containerd {
    /// Returns a call of `ctr` of the daemon's version, for a namespace.
    pub fn ctr(&self, namespace: &str) -> Command {
        self.ctr_through(self.socket(), namespace)
    }

    /// Returns a call of `ctr` through another socket, such as that of a proxy.
    pub fn ctr_through(&self, socket: &Path, namespace: &str) -> Command {
        let mut command = Command::new(binary());
        command
            .arg("--address")
            .arg(socket)
            .args(["--namespace", namespace])
            .stdin(Stdio::null());
        command
    }

    /// Runs a container until it ends, with `ctr run` and the native snapshotter, then removes it.
    pub async fn ctr_run(&self, namespace: &str, image: &str, id: &str) -> Output {
        let root = self.root();
        let directory = root.parent().expect("the root is in the private directory");
        let mut command = self.ctr(namespace);
        command
            .args(["run", "--rm", "--snapshotter", "native", "--runc-root"])
            .arg(runc_root(directory))
            .arg("--fifo-dir")
            .arg(directory.join("fifo"))
            .args([image, id]);
        let ended = tokio::task::spawn_blocking(move || command.output()).await;
        ended
            .expect("waiting for a command does not panic")
            .expect("ctr is installed with containerd")
    }
}

/// Returns the command next to the daemon, or that on `PATH`.
fn binary() -> PathBuf {
    let sibling = containerd_binary().with_file_name("ctr");
    if sibling.is_file() {
        sibling
    } else {
        "ctr".into()
    }
}
