//! Calls of Compose.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Environment variable with the paths of the Compose binaries, separated by colons.
const VARIABLE: &str = "RECLAIM_TEST_COMPOSE";

/// Returns the paths of all Compose binaries.
#[expect(
    clippy::disallowed_methods,
    reason = "the environment names the Compose binaries"
)]
pub(crate) fn binaries() -> Vec<PathBuf> {
    env::var(VARIABLE)
        .unwrap_or_else(|_| panic!("{VARIABLE} is not set; see `cargo xtask compose`"))
        .split(':')
        .map(PathBuf::from)
        .collect()
}

/// Whether this Compose also removes images without a name, as from 5.6 on.
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

/// Calls `compose down`. Returns its standard error.
pub(crate) fn down(compose: &Path, engine: &str, file: &Path, args: &[&str]) -> String {
    down_with(&[], compose, engine, file, args)
}

/// As [`down`], with environment variables.
pub(crate) fn down_with(
    environment: &[(&str, &str)],
    compose: &Path,
    engine: &str,
    file: &Path,
    args: &[&str],
) -> String {
    let output = Command::new(compose)
        .env_clear()
        .envs(environment.iter().copied())
        .env("HOME", "/nonexistent")
        .env("DOCKER_HOST", engine)
        .arg("--file")
        .arg(file)
        .arg("down")
        .args(args)
        .output()
        .unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{}: {stderr}", compose.display());
    stderr
}
