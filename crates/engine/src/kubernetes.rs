//! What a node's own configuration says that concerns its images: which of them containerd needs
//! for pods, and when the kubelet collects beside us.
//!
//! The texts are read by pure functions; the files around them are read here and in
//! [`sandbox_files`], in bounded time, and never written. What cannot be read is told, and then
//! nothing is concluded from it.

mod kubelet;
mod overlaps;
mod pod_images;
mod sandbox;
mod sandbox_files;

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use reclaim_model::chain;

use crate::policy::Policy;

pub use kubelet::{Available, KubeletError, KubeletThresholds, read_kubelet};
pub use overlaps::kubelet_overlaps;
pub use pod_images::ContainerdConfig;
pub use sandbox::{ContainerdFile, ContainerdFileError, DEFAULT_SANDBOX_IMAGES, NeededImages};
pub use sandbox_files::{SandboxImages, read_sandbox_images};

/// The longest file that is read, in bytes: many times what a configuration has.
const MAX_FILE: u64 = 1 << 20;

/// Where the kubelet has its images.
const KUBELET_NAMESPACE: &str = "k8s.io";

/// Says where a policy and the kubelet whose configuration is at `path` get into each other's way,
/// or why that is not known. Nothing, where no kubelet is.
pub fn kubelet_warnings(policy: &Policy, path: &Path) -> Vec<String> {
    match read_kubelet(path) {
        Ok(Some(kubelet)) => kubelet_overlaps(policy, &kubelet),
        Ok(None) => Vec::new(),
        Err(error) => vec![chain(&error)],
    }
}

/// Reads a file, unless it is none, or longer than any configuration.
fn read_text(path: &Path) -> io::Result<String> {
    let not = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    // Before it is opened: opening a pipe would wait for somebody to write.
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
