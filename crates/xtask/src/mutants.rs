//! `cargo xtask mutants`: faults put into the code one by one, each of which a test must find.
//! What nothing can tell from the right code is listed, with reasons, in `.cargo/mutants.toml`.

use std::process::Command;

use crate::failure::Failure;
use crate::machine::{self, BUSYBOX, CONTAINERD, PROTOC};
use crate::shell;
use crate::tool::{self, MUTANTS};
use crate::workspace::Workspace;

/// What decides: pure, and found out by tests that need no containerd.
const JUDGE: [&str; 3] = ["reclaim-model", "reclaim-oci", "reclaim-plan"];

/// What removes. Whether it does so rightly shows on a real containerd.
const EXECUTION: [&str; 21] = [
    "engine/src/confirm.rs",
    "engine/src/execute.rs",
    "engine/src/guard.rs",
    "engine/src/hold.rs",
    "engine/src/host_guard.rs",
    "engine/src/journal.rs",
    "engine/src/lease_labels.rs",
    "engine/src/measure.rs",
    "engine/src/outcomes.rs",
    "engine/src/preview.rs",
    "engine/src/prune.rs",
    "engine/src/remove.rs",
    "engine/src/retry.rs",
    "engine/src/second_look.rs",
    "engine/src/undo.rs",
    "engine/src/unpin.rs",
    "store/src/alarm.rs",
    "store/src/execute.rs",
    "store/src/hold.rs",
    "store/src/measure.rs",
    "store/src/unpin.rs",
];

/// Tries the mutants of the crates that judge.
pub(crate) fn judge(workspace: &Workspace, options: &[&str]) -> Result<(), Failure> {
    let mut mutants = provide(workspace)?;
    for package in JUDGE {
        mutants.args(["--package", package]);
    }
    // Fewer cases find nearly as much in a sixth of the time.
    mutants.env("PROPTEST_CASES", "40");
    shell::show_and_run(mutants.args(["--timeout", "60"]).args(options))
}

/// Tries the mutants of what removes, through the whole command.
pub(crate) fn execution(workspace: &Workspace, options: &[&str]) -> Result<(), Failure> {
    machine::provide(&[CONTAINERD, BUSYBOX])?;
    let mut mutants = provide(workspace)?;
    for file in EXECUTION {
        mutants.args(["--file", &format!("crates/{file}")]);
    }
    mutants.args(["--package", "reclaim-engine", "--package", "reclaim-store"]);
    mutants.args(["--test-package", "reclaim-engine,reclaim-store,reclaim-cli"]);
    // Without mutants it would not look beyond the packages of these files; `cargo xtask test` has.
    mutants.args(["--baseline", "skip", "--timeout", "300"]);
    mutants.args(options);
    mutants.args(["--", "--lib", "--test", "e2e"]);
    shell::show_and_run(&mut mutants)
}

fn provide(workspace: &Workspace) -> Result<Command, Failure> {
    machine::provide(&[PROTOC])?;
    let mut mutants = Command::new(tool::provide(workspace, MUTANTS)?);
    mutants.arg("mutants").current_dir(&workspace.root);
    if shell::find("cargo-nextest").is_some() {
        mutants.args(["--test-tool", "nextest"]);
    }
    mutants.arg("--output").arg(&workspace.target);
    // Most of the time goes into linking.
    mutants.env("CARGO_PROFILE_TEST_DEBUG", "0");
    mutants.env("CARGO_PROFILE_DEV_DEBUG", "0");
    Ok(mutants)
}
