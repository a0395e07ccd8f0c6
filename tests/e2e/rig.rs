//! A containerd and the binary beside it.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};

use reclaim_testkit::{Containerd, NamespaceClient};
use serde_json::Value;

/// What one call of the binary came to.
#[derive(Debug)]
pub(crate) struct Called {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Called {
    /// Parses standard output as the one JSON object that it must be.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }

    /// Demands an exit status.
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

    /// As [`Self::start`], with a containerd that collects only when it is asked to: garbage
    /// stays, and an expired lease can still be filled.
    pub(crate) async fn quiet() -> Self {
        let rig = Self::on(Containerd::quiet().start().await);
        // The scheduler makes a first collection whenever it has begun.
        rig.namespace.collect().await.unwrap();
        rig
    }

    /// Works on a containerd that was started in a particular way.
    pub(crate) fn on(containerd: Containerd) -> Self {
        let namespace = containerd.namespace("default");
        Self {
            containerd,
            namespace,
        }
    }

    /// Calls `reclaim` on this containerd.
    pub(crate) fn reclaim(&self, args: &[&str]) -> Called {
        self.reclaim_with("", args)
    }

    /// Calls `reclaim` with something typed on its standard input.
    pub(crate) fn reclaim_with(&self, typed: &str, args: &[&str]) -> Called {
        call(self.containerd.address(), typed, args)
    }

    /// Names of the images that are there.
    pub(crate) async fn names(&self) -> BTreeSet<String> {
        self.namespace.images().await.unwrap().into_keys().collect()
    }
}

/// Calls `reclaim` on whatever is at `address`.
pub(crate) fn call(address: &str, typed: &str, args: &[&str]) -> Called {
    let mut child = Command::new(env!("CARGO_BIN_EXE_reclaim"))
        .env_clear()
        .args(args)
        .env("CONTAINERD_ADDRESS", address)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // The command may end without reading.
    drop(stdin.write_all(typed.as_bytes()));
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    Called {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// The `name`s of a list of objects, in order.
pub(crate) fn names(list: &Value) -> Vec<&str> {
    let entries = list.as_array().unwrap().iter();
    entries.map(|it| it["name"].as_str().unwrap()).collect()
}

/// The entry of a list of objects that has this `name`.
#[track_caller]
pub(crate) fn entry<'a>(list: &'a Value, name: &str) -> &'a Value {
    let mut entries = list.as_array().unwrap().iter();
    let found = entries.find(|it| it["name"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {list:#}"))
}
