//! What Reclaim reads on a node of Kubernetes: the images that containerd needs for pods, from its own
//! configuration, and the kubelet's pull records.
//!
//! Parsing is pure. The files are read in bounded time, and never written. Unreadable files are
//! reported, and treated as unknown.

mod pod_images;
mod pull_records;
mod sandbox;
mod sandbox_files;

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

pub use pod_images::ContainerdConfig;
pub(crate) use pull_records::{PullRecords, RestrictedImages};
pub use sandbox_files::{
    SandboxImages, read_all_registry_hosts, read_registry_hosts, read_sandbox_images,
};

/// The maximum size of a file, in bytes: far more than a configuration has.
const MAX_FILE: u64 = 1 << 20;

/// The containerd namespace that holds the kubelet's images.
pub const KUBELET_NAMESPACE: &str = "k8s.io";

/// Returns the text of a node's configuration file, up to 1 MiB.
///
/// # Errors
///
/// If it cannot be read, is not a regular file, is not UTF-8 or is longer.
pub fn read_text(path: &Path) -> io::Result<String> {
    let not = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    // Checked before it is opened, because opening a pipe would wait for a writer.
    if !path.metadata()?.is_file() {
        return Err(not("it is not a file"));
    }
    let mut text = String::new();
    File::open(path)?
        .take(MAX_FILE + 1)
        .read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE {
        return Err(not("it is longer than 1 MiB"));
    }
    Ok(text)
}
