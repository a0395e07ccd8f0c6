//! The binary and the demo, built for debugging: that takes half the time, and of a dozen images
//! nobody notices.

use std::path::PathBuf;
use std::process::Stdio;

use serde_json::Value;

use crate::failure::Failure;
use crate::shell;
use crate::workspace::Workspace;

/// What they are built beside. Features of what is below are those that all together ask for, so
/// beside other packages everything below is built another time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotCounted {
    /// Nothing: what takes the least where nothing has been built.
    Nothing,
    /// All tests, for which everything has been built where they have run.
    AllTests,
}

/// Where they are.
#[derive(Debug)]
pub(crate) struct Binaries {
    pub(crate) reclaim: PathBuf,
    pub(crate) demo: PathBuf,
}

/// Builds both with one call, so that what both need is built once.
pub(crate) fn build(workspace: &Workspace, beside: NotCounted) -> Result<Binaries, Failure> {
    let mut build = match beside {
        NotCounted::Nothing => {
            let mut build = workspace.cargo(&["build", "--package", "reclaim-cli"]);
            build.args(["--bin", "reclaim", "--package", "reclaim-testkit"]);
            build
        }
        NotCounted::AllTests => workspace.cargo(&["build", "--workspace", "--tests"]),
    };
    build
        .args(["--example", "demo", "--locked"])
        .arg("--message-format=json-render-diagnostics")
        // Cargo's words for people go there, in both forms.
        .stderr(Stdio::inherit());
    let messages = shell::read(&mut build)?;
    let executable = |name: &str| executable(&messages, name);
    match (executable("reclaim"), executable("demo")) {
        (Some(reclaim), Some(demo)) => Ok(Binaries { reclaim, demo }),
        _ => Err(Failure::new("cargo did not say where it put what it built")),
    }
}

/// Finds in cargo's messages, one a line, where the executable `name` is. Its unit tests have the
/// same name, and are not meant.
fn executable(messages: &str, name: &str) -> Option<PathBuf> {
    let mut messages = messages.lines().filter_map(|line| {
        let message: Value = serde_json::from_str(line).ok()?;
        let is_meant = message["target"]["name"] == name && message["profile"]["test"] != true;
        message["executable"]
            .as_str()
            .filter(|_| is_meant)
            .map(PathBuf::from)
    });
    messages.next_back()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_executable_among_libraries_and_tests() {
        let messages = r#"{"target":{"name":"demo"},"executable":null}
{"target":{"name":"demo"},"executable":"/t/debug/examples/demo","profile":{"test":false}}
{"target":{"name":"demo"},"executable":"/t/debug/deps/demo-1","profile":{"test":true}}
{"reason":"build-finished","success":true}
"#;
        assert_eq!(
            executable(messages, "demo"),
            Some("/t/debug/examples/demo".into())
        );
        assert_eq!(executable(messages, "reclaim"), None);
    }
}
