//! Options of a private containerd, and the configuration file made of them.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use super::Containerd;
use super::shims::runc_root;
use crate::image::host_platform;

/// The Kubernetes side, which is three plugins from 2.0 on, and what it needs. Unless it is asked
/// for it only slows the start; NRI would listen on a fixed socket below /var/run.
const CRI_PLUGINS: [&str; 4] = [
    "io.containerd.grpc.v1.cri",
    "io.containerd.cri.v1.images",
    "io.containerd.cri.v1.runtime",
    "io.containerd.nri.v1.nri",
];

/// Plugins that would touch the host outside the private directory, or only slow the start.
/// Names that a version does not know are ignored by it.
const DISABLED_PLUGINS: [&str; 8] = [
    "io.containerd.internal.v1.tracing",
    "io.containerd.tracing.processor.v1.otlp",
    // Loads a kernel module to find out whether it could work.
    "io.containerd.snapshotter.v1.aufs",
    "io.containerd.snapshotter.v1.btrfs",
    "io.containerd.snapshotter.v1.devmapper",
    "io.containerd.snapshotter.v1.zfs",
    "io.containerd.snapshotter.v1.erofs",
    "io.containerd.snapshotter.v1.blockfile",
];

/// A filesystem of so many bytes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Filesystem {
    Memory(u64),
    Ext4(u64),
}

/// Builds a private [`Containerd`].
///
/// Defaults: log level `trace`, so that collections can be counted on every version, and no
/// collection at startup, so that a test sees only those it caused.
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until it is started"]
pub struct ContainerdBuilder {
    log_level: String,
    collector: BTreeMap<String, String>,
    extra_config: String,
    on_disk: bool,
    filesystem: Option<Filesystem>,
    /// The sandbox image, if the CRI plugin is wanted.
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

    /// Enables the CRI plugin, with `sandbox` as the image of pod sandboxes. It works on namespace
    /// `k8s.io`, unpacks with the native snapshotter, and knows no network.
    pub fn cri(mut self, sandbox: &str) -> Self {
        self.cri = Some(sandbox.to_owned());
        self
    }

    /// Keeps the directory on a disk, for stores that are large or whose waits for the disk
    /// are to be measured. Otherwise it is in memory where there is room.
    pub fn on_disk(mut self) -> Self {
        self.on_disk = true;
        self
    }

    /// Gives the root a filesystem of its own, in memory and of so many bytes.
    pub fn filesystem(mut self, bytes: u64) -> Self {
        self.filesystem = Some(Filesystem::Memory(bytes));
        self
    }

    /// Gives the root an ext4 of so many bytes. Unlike memory, it needs a block for each
    /// directory and each page of a database: full, it refuses more.
    pub fn ext4(mut self, bytes: u64) -> Self {
        self.filesystem = Some(Filesystem::Ext4(bytes));
        self
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
            writeln!(collector, "{key} = {value}").expect("a String takes all that is written");
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
        // Empty addresses: containerd listens on nothing but its own socket. That belongs to
        // whoever runs the test; containerd would give it to root, and fail for others.
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

/// Returns the tables of the CRI plugin. All that it would look for in the system is in the
/// private directory, where it finds nothing.
fn cri_config(directory: &Path, sandbox: &str) -> String {
    let platform = host_platform();
    let runc_root = runc_root(directory);
    let runc_root = runc_root.display();
    let directory = directory.display();
    // Pods run also where root may not make a process less likely to be killed than containerd.
    // 2.x takes the snapshotter over from a file of version 2 only beside runtimes, and pulls by
    // the transfer service, which unpacks as that is told.
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
