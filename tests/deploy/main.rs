//! What is given out with the binary: configurations that it accepts, and metrics that it has.
//! What needs the tools of others is checked by `cargo xtask deploy`.

#![expect(
    clippy::unwrap_used,
    reason = "a test ends where something is not as it says"
)]

mod configurations;
mod metrics;

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
