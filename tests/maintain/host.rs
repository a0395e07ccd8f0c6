//! A host with a small filesystem for containerd, a configuration and a state directory.

use std::fs;
use std::path::PathBuf;

use reclaim_testkit::{BuiltImage, Containerd, ContainerdBuilder, Layer, image};
use serde_json::Value;
use tempfile::TempDir;

use crate::rig::{CommandOutput, Rig};

/// Settings of a policy that removes everything at once.
const POLICY: &str = "all = true\nmin_age = \"0s\"\nlast_copies = true\n";

/// One host.
pub(crate) struct Host {
    pub(crate) rig: Rig,
    /// Has the configuration, and the state directory `state`.
    pub(crate) directory: TempDir,
}

/// Size and free space of containerd's filesystem.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Space {
    pub(crate) total: u64,
    pub(crate) left: u64,
}

impl Space {
    pub(crate) fn used_percent(self) -> u64 {
        (self.total - self.left) * 100 / self.total
    }

    /// Returns how many bytes are left if this percentage is used.
    pub(crate) fn left_at(self, percent: u64) -> u64 {
        self.total * (100 - percent) / 100
    }
}

impl Host {
    /// Starts a containerd on a filesystem of this size.
    pub(crate) async fn start(bytes: u64) -> Self {
        Self::on(Containerd::quiet().filesystem(bytes)).await
    }

    /// Starts a containerd on an ext4 of this size.
    pub(crate) async fn on_ext4(bytes: u64) -> Self {
        Self::on(Containerd::quiet().ext4(bytes)).await
    }

    /// Starts this containerd.
    pub(crate) async fn on(builder: ContainerdBuilder) -> Self {
        let rig = Rig::on(builder.start().await);
        rig.namespace.collect().await.unwrap();
        Self {
            rig,
            directory: tempfile::tempdir().unwrap(),
        }
    }

    /// Writes a configuration with one policy, `p`.
    pub(crate) fn policy(&self, keys: &str) {
        self.configure(&format!("[[policy]]\nname = \"p\"\n{POLICY}{keys}\n"));
    }

    /// Writes a configuration.
    pub(crate) fn configure(&self, text: &str) {
        fs::write(self.config(), text).unwrap();
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.directory.path().join("config.toml")
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    /// Calls `reclaim` with the configuration file.
    pub(crate) fn reclaim(&self, args: &[&str]) -> CommandOutput {
        let config = self.config();
        let with_config = [&["--config", config.to_str().unwrap()], args].concat();
        self.rig.reclaim(&with_config)
    }

    /// Calls `reclaim` with the configuration file and the state directory.
    pub(crate) fn with_state(&self, args: &[&str]) -> CommandOutput {
        let state = self.state();
        self.reclaim(&[args, &["--state", state.to_str().unwrap()]].concat())
    }

    /// Runs the policies once, and returns the run of the only one.
    pub(crate) fn once(&self, code: i32) -> Value {
        let output = self.with_state(&["maintain", "--once", "--format", "json"]);
        let mut runs = output.exits(code).json();
        assert_eq!(runs["runs"].as_array().unwrap().len(), 1, "{runs:#}");
        runs["runs"][0].take()
    }

    /// Builds and unpacks an image of one layer, which together take about twice as many bytes.
    pub(crate) async fn image(&self, name: &str, seed: u64, bytes: usize) -> BuiltImage {
        let name = format!("docker.io/library/{name}");
        let built = image(&name)
            .layers([Layer::random(seed, bytes)])
            .unpack("overlayfs")
            .build(&self.rig.namespace)
            .await
            .unwrap();
        self.rig.namespace.collect().await.unwrap();
        built
    }

    /// Uses an image, by a container that exists while a command records the use.
    pub(crate) async fn use_image(&self, image: &BuiltImage) {
        let namespace = &self.rig.namespace;
        namespace.nerdctl_container("user", image).await.unwrap();
        self.with_state(&["policy", "explain"]).exits(0);
        namespace.delete_container("user").await.unwrap();
        namespace
            .remove_snapshot("overlayfs", "user")
            .await
            .unwrap();
        namespace.collect().await.unwrap();
    }

    pub(crate) fn space(&self) -> Space {
        let found = rustix::fs::statvfs(self.rig.containerd.root()).unwrap();
        Space {
            total: found.f_blocks * found.f_frsize,
            left: found.f_bavail * found.f_frsize,
        }
    }

    /// Returns the short names of all images.
    pub(crate) async fn names(&self) -> Vec<String> {
        self.rig
            .names()
            .await
            .into_iter()
            .map(|name| short(&name))
            .collect()
    }
}

fn short(name: &str) -> String {
    name.trim_start_matches("docker.io/library/").to_owned()
}

/// Returns the short names of the images that a run removed, by namespace and name.
pub(crate) fn removed(run: &Value) -> Vec<String> {
    run["reports"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|report| report["removed"].as_array().unwrap())
        .map(|image| short(image["name"].as_str().unwrap()))
        .collect()
}

/// Returns the bytes that a run freed.
pub(crate) fn reclaimed(run: &Value) -> u64 {
    run["reports"]
        .as_array()
        .unwrap()
        .iter()
        .map(|report| {
            let of = |key| report["reclaimed"][key].as_u64().unwrap();
            of("content_bytes") + of("snapshot_bytes")
        })
        .sum()
}
