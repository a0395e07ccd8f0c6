//! Options of a private containerd, and its configuration file.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use super::Containerd;
use super::shims::runc_root;
use crate::image::host_platform;

/// The CRI plugin, which is several plugins from 2.0 on, and NRI. Disabled by default: CRI slows the
/// start, and NRI listens on a fixed socket below /var/run.
const CRI_PLUGINS: [&str; 4] = [
    "io.containerd.grpc.v1.cri",
    "io.containerd.cri.v1.images",
    "io.containerd.cri.v1.runtime",
    "io.containerd.nri.v1.nri",
];

/// Plugins that touch the host outside of the private directory, or slow the start. A version
/// ignores names that it does not know.
const DISABLED_PLUGINS: [&str; 8] = [
    "io.containerd.internal.v1.tracing",
    "io.containerd.tracing.processor.v1.otlp",
    // Loads a kernel module to check for support.
    "io.containerd.snapshotter.v1.aufs",
    "io.containerd.snapshotter.v1.btrfs",
    "io.containerd.snapshotter.v1.devmapper",
    "io.containerd.snapshotter.v1.zfs",
    "io.containerd.snapshotter.v1.erofs",
    "io.containerd.snapshotter.v1.blockfile",
];

/// A filesystem for the root, with its size in bytes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Filesystem {
    Memory(u64),
    Ext4(u64),
    Btrfs(u64),
}

/// Builds a private [`Containerd`].
///
/// By default the log level is `trace`, so that collections can be counted on every version, and
/// there is no collection at startup, so that a test sees only its own.
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until it is started"]
pub struct ContainerdBuilder {
    log_level: String,
    collector: BTreeMap<String, String>,
    extra_config: String,
    on_disk: bool,
    filesystem: Option<Filesystem>,
    /// The size of a filesystem for the snapshots of overlayfs alone.
    snapshots: Option<u64>,
    /// The sandbox image, if the CRI plugin is enabled.
    cri: Option<String>,
}

impl Default for ContainerdBuilder {
    fn default() -> Self {
        Self {
            log_level: "trace".to_owned(),
            collector: BTreeMap::from([("startup_delay".to_owned(), "\"0s\"".to_owned())]),
            extra_config: String::new(),
            on_disk: false,
            filesystem: None,
            snapshots: None,
            cri: None,
        }
    }
}

impl ContainerdBuilder {
    /// Sets the log level. Below `trace`, [`Containerd::collections`] may count nothing.
    pub fn log_level(mut self, level: &str) -> Self {
        level.clone_into(&mut self.log_level);
        self
    }

    /// Sets an option of the collector's scheduler; `value` is TOML, such as `"\"2s\""` or `0.1`.
    pub fn collector_option(mut self, key: &str, value: &str) -> Self {
        self.collector.insert(key.to_owned(), value.to_owned());
        self
    }

    /// Appends tables in TOML, configuration version 2, to the configuration file.
    pub fn extra_config(mut self, toml: &str) -> Self {
        self.extra_config.push_str(toml);
        self.extra_config.push('\n');
        self
    }

    /// Enables the CRI plugin, with `sandbox` as the image of pod sandboxes. It uses the namespace
    /// `k8s.io` and the native snapshotter, and has no network.
    pub fn cri(mut self, sandbox: &str) -> Self {
        self.cri = Some(sandbox.to_owned());
        self
    }

    /// Puts the directory on a disk, for large stores or to measure waits for the disk. By default
    /// it is in memory if there is enough.
    pub fn on_disk(mut self) -> Self {
        self.on_disk = true;
        self
    }

    /// Gives the root its own filesystem of so many bytes, in memory.
    pub fn filesystem(mut self, bytes: u64) -> Self {
        self.filesystem = Some(Filesystem::Memory(bytes));
        self
    }

    /// Gives the root its own ext4 filesystem of so many bytes. Unlike one in memory, it needs a
    /// block for each directory and each page of a database, so more operations fail when it is full.
    pub fn ext4(mut self, bytes: u64) -> Self {
        self.filesystem = Some(Filesystem::Ext4(bytes));
        self
    }

    /// Gives the root its own btrfs filesystem of so many bytes, which shows freed space only after a
    /// commit.
    pub fn btrfs(mut self, bytes: u64) -> Self {
        self.filesystem = Some(Filesystem::Btrfs(bytes));
        self
    }

    /// Gives the snapshots of overlayfs their own filesystem of so many bytes, in memory. Needs a
    /// filesystem for the root.
    pub fn snapshots_filesystem(mut self, bytes: u64) -> Self {
        self.snapshots = Some(bytes);
        self
    }

    pub(super) fn snapshots_bytes(&self) -> Option<u64> {
        self.snapshots
    }

    pub(super) fn own_filesystem(&self) -> Option<Filesystem> {
        self.filesystem
    }

    pub(super) fn wants_disk(&self) -> bool {
        self.on_disk
    }

    /// Starts the daemon and waits until it answers.
    pub async fn start(self) -> Containerd {
        Containerd::launch(&self).await
    }

    /// Returns the configuration file for a daemon that lives in `directory`.
    pub(super) fn config(&self, directory: &Path, socket: &Path) -> String {
        let user = rustix::process::geteuid().as_raw();
        let group = rustix::process::getegid().as_raw();
        let level = &self.log_level;
        let mut collector = String::new();
        for (key, value) in &self.collector {
            writeln!(collector, "{key} = {value}").expect("writing to a String cannot fail");
        }
        let extra = &self.extra_config;
        let mut disabled = DISABLED_PLUGINS.to_vec();
        let cri = if let Some(sandbox) = &self.cri {
            cri_config(directory, sandbox)
        } else {
            disabled.extend(CRI_PLUGINS);
            String::new()
        };
        let directory = directory.display();
        let socket = socket.display();
        // With empty addresses containerd listens on its own socket only. Without uid and gid it
        // would give the socket to root, which fails for other users.
        format!(
            r#"version = 2
root = "{directory}/root"
state = "{directory}/state"
disabled_plugins = {disabled:?}

[grpc]
address = "{socket}"
uid = {user}
gid = {group}

[debug]
address = ""
level = "{level}"

[metrics]
address = ""

[plugins."io.containerd.internal.v1.opt"]
path = "{directory}/opt"

[plugins."io.containerd.gc.v1.scheduler"]
{collector}
{cri}
{extra}"#
        )
    }
}

/// Returns the tables of the CRI plugin. The paths that it would read from the system are in the
/// private directory, where they are empty.
fn cri_config(directory: &Path, sandbox: &str) -> String {
    let platform = host_platform();
    let runc_root = runc_root(directory);
    let runc_root = runc_root.display();
    let directory = directory.display();
    // `restrict_oom_score_adj`, because root may lack the right to lower OOM scores. 2.x takes the
    // snapshotter from a file of version 2 only if it names runtimes, and pulls by the transfer
    // service, which has its own `unpack_config`.
    format!(
        r#"[plugins."io.containerd.nri.v1.nri"]
disable = true

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{sandbox}"
stream_server_address = "127.0.0.1"
stream_server_port = "0"
restrict_oom_score_adj = true

[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "native"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
Root = "{runc_root}"

[plugins."io.containerd.grpc.v1.cri".cni]
conf_dir = "{directory}/cni"
bin_dir = "{directory}/cni"

[plugins."io.containerd.cri.v1.images"]
snapshotter = "native"

[[plugins."io.containerd.transfer.v1.local".unpack_config]]
platform = "{platform}"
snapshotter = "native"
"#
    )
}
