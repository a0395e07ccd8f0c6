//! A private containerd, and calls of the binary on it.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use reclaim_testkit::{Containerd, NamespaceClient};
use serde_json::Value;

/// Exit status and output of one call of the binary.
#[derive(Debug)]
pub(crate) struct CommandOutput {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl CommandOutput {
    /// Parses standard output, which must be one JSON object.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }

    /// Asserts the exit status.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:#?}");
        self
    }
}

/// A private containerd with one namespace.
pub(crate) struct Rig {
    pub(crate) containerd: Containerd,
    pub(crate) namespace: NamespaceClient,
}

impl Rig {
    pub(crate) async fn start() -> Self {
        Self::on(Containerd::start().await)
    }

    /// Starts a containerd that collects only on request: garbage stays, and an expired lease can
    /// still be filled.
    pub(crate) async fn quiet() -> Self {
        let rig = Self::on(Containerd::quiet().start().await);
        // containerd's scheduler collects once after it starts, whatever is configured.
        rig.namespace.collect().await.unwrap();
        rig
    }

    /// Wraps a containerd that is already running.
    pub(crate) fn on(containerd: Containerd) -> Self {
        let namespace = containerd.namespace("default");
        Self {
            containerd,
            namespace,
        }
    }

    /// Calls `reclaim` on this containerd.
    pub(crate) fn reclaim(&self, args: &[&str]) -> CommandOutput {
        self.reclaim_with("", args)
    }

    /// Calls `reclaim` in a directory, with a variable.
    pub(crate) fn reclaim_in(
        &self,
        directory: &Path,
        (name, value): (&str, &str),
        args: &[&str],
    ) -> CommandOutput {
        let mut command = Command::new(env!("CARGO_BIN_EXE_reclaim"));
        command.env_clear().env(name, value).current_dir(directory);
        run(&mut command, self.containerd.address(), "", args)
    }

    /// Calls `reclaim` with `typed` on its standard input.
    pub(crate) fn reclaim_with(&self, typed: &str, args: &[&str]) -> CommandOutput {
        call(self.containerd.address(), typed, args)
    }

    /// Returns the names of all images.
    pub(crate) async fn names(&self) -> BTreeSet<String> {
        self.namespace.images().await.unwrap().into_keys().collect()
    }
}

/// Calls `reclaim` with `address` as containerd's, and `typed` on its standard input.
pub(crate) fn call(address: &str, typed: &str, args: &[&str]) -> CommandOutput {
    run(
        Command::new(env!("CARGO_BIN_EXE_reclaim")).env_clear(),
        address,
        typed,
        args,
    )
}

/// Calls `command`, which runs `reclaim` with the further arguments.
pub(crate) fn run(
    command: &mut Command,
    address: &str,
    typed: &str,
    args: &[&str],
) -> CommandOutput {
    if !args.contains(&"--config") {
        // Records nothing on the machine of the test.
        command.env("RECLAIM_AUDIT_DIR", "/dev/null");
    }
    let mut child = command
        .args(args)
        .env("CONTAINERD_ADDRESS", address)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // The write fails if the command ends without reading.
    drop(stdin.write_all(typed.as_bytes()));
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    CommandOutput {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Returns the `name` of each object in a list.
pub(crate) fn names(list: &Value) -> Vec<&str> {
    list.as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["name"].as_str().unwrap())
        .collect()
}

/// Returns the object in a list that has this `name`.
#[track_caller]
pub(crate) fn entry<'a>(list: &'a Value, name: &str) -> &'a Value {
    list.as_array()
        .unwrap()
        .iter()
        .find(|entry| entry["name"] == name)
        .unwrap_or_else(|| panic!("no {name} in {list:#}"))
}
