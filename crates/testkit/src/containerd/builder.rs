//! Options of a private containerd, and the configuration file made of them.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use super::Containerd;

/// Plugins that would touch the host outside the private directory, or only slow the start.
/// Names that a version does not know are ignored by it.
const DISABLED_PLUGINS: [&str; 12] = [
    // The Kubernetes side: wants CNI, and from 2.0 on it is three plugins.
    "io.containerd.grpc.v1.cri",
    "io.containerd.cri.v1.images",
    "io.containerd.cri.v1.runtime",
    // Listens on a fixed socket below /var/run.
    "io.containerd.nri.v1.nri",
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
    filesystem_bytes: Option<u64>,
}

impl Default for ContainerdBuilder {
    fn default() -> Self {
        Self {
            log_level: "trace".to_owned(),
            collector: BTreeMap::from([("startup_delay".to_owned(), "\"0s\"".to_owned())]),
            extra_config: String::new(),
            on_disk: false,
            filesystem_bytes: None,
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

    /// Keeps the directory on a disk, for stores that are large or whose waits for the disk
    /// are to be measured. Otherwise it is in memory where there is room.
    pub fn on_disk(mut self) -> Self {
        self.on_disk = true;
        self
    }

    /// Gives the root a filesystem of its own, in memory and of so many bytes.
    pub fn filesystem(mut self, bytes: u64) -> Self {
        self.filesystem_bytes = Some(bytes);
        self
    }

    pub(super) fn filesystem_bytes(&self) -> Option<u64> {
        self.filesystem_bytes
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
        let directory = directory.display();
        let socket = socket.display();
        let user = rustix::process::geteuid().as_raw();
        let group = rustix::process::getegid().as_raw();
        let level = &self.log_level;
        let mut collector = String::new();
        for (key, value) in &self.collector {
            writeln!(collector, "{key} = {value}").expect("a String takes all that is written");
        }
        let extra = &self.extra_config;
        // Empty addresses: containerd listens on nothing but its own socket. That belongs to
        // whoever runs the test; containerd would give it to root, and fail for others.
        format!(
            r#"version = 2
root = "{directory}/root"
state = "{directory}/state"
disabled_plugins = {DISABLED_PLUGINS:?}

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
{extra}"#
        )
    }
}
