//! Files that are shipped with the binary: their configurations are valid, and their metrics exist.
//! `cargo xtask deploy` checks what needs other tools.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod configurations;
mod metrics;
mod mounts;

use std::path::{Path, PathBuf};

/// Returns the path of a file of the repository.
fn path(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    root.join(name)
}

/// Reads a file of the repository.
fn read(name: &str) -> String {
    std::fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}
