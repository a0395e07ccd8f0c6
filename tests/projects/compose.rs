//! Compose itself.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Names the Compose binaries to test against, separated by colons.
const VARIABLE: &str = "RECLAIM_TEST_COMPOSE";

/// Returns every Compose there is.
#[expect(
    clippy::disallowed_methods,
    reason = "the runner says where Compose is"
)]
pub(crate) fn binaries() -> Vec<PathBuf> {
    let binaries = env::var(VARIABLE);
    let binaries =
        binaries.unwrap_or_else(|_| panic!("{VARIABLE} is not set; see `cargo xtask compose`"));
    binaries.split(':').map(PathBuf::from).collect()
}

/// Whether this one removes images without a name, too: from 5.6 on.
pub(crate) fn removes_nameless(compose: &Path) -> bool {
    let output = Command::new(compose)
        .args(["version", "--short"])
        .output()
        .unwrap();
    let version = String::from_utf8(output.stdout).unwrap();
    let mut numbers = version.trim().trim_start_matches('v').split('.');
    let mut number = || -> u32 { numbers.next().unwrap().parse().unwrap() };
    (number(), number()) >= (5, 6)
}

/// Takes a project down. Returns what it said.
pub(crate) fn down(compose: &Path, engine: &str, file: &Path, args: &[&str]) -> String {
    let output = Command::new(compose)
        .env_clear()
        .env("HOME", "/nonexistent")
        .env("DOCKER_HOST", engine)
        .arg("--file")
        .arg(file)
        .arg("down")
        .args(args)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{}: {said}", compose.display());
    said
}
