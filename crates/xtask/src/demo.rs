//! `cargo xtask demo`: the example of the kit, on the binary as it is built here.
//!
//! Both are built for debugging: that takes half the time, and of a dozen images nobody notices.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::failure::Failure;
use crate::machine::{self, CONTAINERD, PROTOC};
use crate::shell;
use crate::workspace::Workspace;

/// Sets up the machine, builds and runs the demo.
pub(crate) fn run(workspace: &Workspace) -> Result<(), Failure> {
    machine::provide(&[PROTOC, CONTAINERD])?;
    shell::run(&mut command(workspace)?)
}

/// Builds and runs the demo, and returns all that it prints.
pub(crate) fn record(workspace: &Workspace) -> Result<String, Failure> {
    machine::provide(&[PROTOC, CONTAINERD])?;
    shell::record(&mut command(workspace)?)
}

/// Builds the demo, and returns the command that shows it.
fn command(workspace: &Workspace) -> Result<Command, Failure> {
    let [reclaim, demo] = build(workspace)?;
    let mut command = Command::new(demo);
    command.arg(reclaim).current_dir(&workspace.root);
    Ok(command)
}

/// Builds the binary for debugging, and returns where it is.
pub(crate) fn binary(workspace: &Workspace) -> Result<PathBuf, Failure> {
    let mut build = workspace.cargo(&["build", "--locked"]);
    build
        .args(["--package", "reclaim-cli", "--bin", "reclaim"])
        .arg("--message-format=json-render-diagnostics")
        .stderr(Stdio::inherit());
    let messages = shell::read(&mut build)?;
    let found = executable(&messages, "reclaim");
    found.ok_or_else(|| Failure::new("cargo did not say where it put what it built"))
}

/// Builds the binary and the demo with one call, so that what both need is built once.
fn build(workspace: &Workspace) -> Result<[PathBuf; 2], Failure> {
    let mut build = workspace.cargo(&["build", "--locked"]);
    build
        .args(["--package", "reclaim-cli", "--bin", "reclaim"])
        .args(["--package", "reclaim-testkit", "--example", "demo"])
        .arg("--message-format=json-render-diagnostics")
        // Cargo's words for people go there, in both forms.
        .stderr(Stdio::inherit());
    let messages = shell::read(&mut build)?;
    let executable = |name: &str| executable(&messages, name);
    match (executable("reclaim"), executable("demo")) {
        (Some(reclaim), Some(demo)) => Ok([reclaim, demo]),
        _ => Err(Failure::new("cargo did not say where it put what it built")),
    }
}

/// Finds in cargo's messages, one a line, where the executable `name` is.
fn executable(messages: &str, name: &str) -> Option<PathBuf> {
    let mut messages = messages.lines().filter_map(|line| {
        let message: Value = serde_json::from_str(line).ok()?;
        let is_named = message["target"]["name"] == name;
        message["executable"]
            .as_str()
            .filter(|_| is_named)
            .map(PathBuf::from)
    });
    messages.next_back()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_executable_among_libraries() {
        let messages = r#"{"target":{"name":"demo"},"executable":null}
{"target":{"name":"demo"},"executable":"/t/debug/examples/demo"}
{"reason":"build-finished","success":true}
"#;
        assert_eq!(
            executable(messages, "demo"),
            Some("/t/debug/examples/demo".into())
        );
        assert_eq!(executable(messages, "reclaim"), None);
    }
}
