//! Builds the binary and the demo with the debug profile, which takes half the time and is fast enough.

use std::path::PathBuf;
use std::process::Stdio;

use serde_json::Value;

use crate::failure::Failure;
use crate::shell;
use crate::workspace::Workspace;

/// The packages that are built with them. cargo unifies the features of dependencies over all of these,
/// so another scope builds the dependencies again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BuildScope {
    /// Only the binary and the demo: the fastest if nothing has been built.
    Binaries,
    /// The same with all features, as in the packages.
    AllFeatures,
    /// The whole workspace with its tests: the fastest after the tests have run.
    AllTests,
}

/// The paths of the binary and the demo.
#[derive(Debug)]
pub(crate) struct Binaries {
    pub(crate) reclaim: PathBuf,
    pub(crate) demo: PathBuf,
}

/// Builds both at once, so that shared dependencies are built once.
pub(crate) fn build(workspace: &Workspace, scope: BuildScope) -> Result<Binaries, Failure> {
    let mut build = match scope {
        BuildScope::Binaries | BuildScope::AllFeatures => {
            let mut build = workspace.cargo(&["build", "--package", "reclaim-cli"]);
            build.args(["--bin", "reclaim", "--package", "reclaim-testkit"]);
            if scope == BuildScope::AllFeatures {
                build.arg("--all-features");
            }
            build
        }
        BuildScope::AllTests => workspace.cargo(&["build", "--workspace", "--tests"]),
    };
    build
        .args(["--example", "demo", "--locked"])
        .arg("--message-format=json-render-diagnostics")
        // cargo prints its messages for people there.
        .stderr(Stdio::inherit());
    let messages = shell::read(&mut build)?;
    let executable = |name: &str| executable(&messages, name);
    match (executable("reclaim"), executable("demo")) {
        (Some(reclaim), Some(demo)) => Ok(Binaries { reclaim, demo }),
        _ => Err(Failure::new(
            "cargo did not report the paths of the binaries",
        )),
    }
}

/// Returns the path of the executable `name` from cargo's messages, one per line. Its unit tests have
/// the same name and do not count.
fn executable(messages: &str, name: &str) -> Option<PathBuf> {
    let mut messages = messages.lines().filter_map(|line| {
        let message: Value = serde_json::from_str(line).ok()?;
        let is_wanted = message["target"]["name"] == name && message["profile"]["test"] != true;
        message["executable"]
            .as_str()
            .filter(|_| is_wanted)
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
