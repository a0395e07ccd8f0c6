//! `cargo xtask mutants`: faults put into the code one by one, each of which a test must find.
//! What nothing can tell from the right code is listed, with reasons, in `.cargo/mutants.toml`.

use std::fs;
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
    "store/src/event_watcher.rs",
    "store/src/execute.rs",
    "store/src/hold.rs",
    "store/src/labels.rs",
    "store/src/measure.rs",
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

/// Tries the mutants of what removes: all by tests of units and of the engine alone, which takes
/// seconds each, and through the whole command those which these let through.
pub(crate) fn execution(workspace: &Workspace, options: &[&str]) -> Result<(), Failure> {
    machine::provide(&[CONTAINERD, BUSYBOX])?;
    // What an earlier run missed says nothing of this one, should that not begin.
    let missed = workspace.target.join("mutants.out").join("missed.txt");
    if missed.exists() {
        fs::remove_file(&missed).map_err(|error| Failure::file("remove", &missed, &error))?;
    }
    let packages = ["--test-package", "reclaim-engine,reclaim-store"];
    let mut units = of_execution(workspace, &packages, options)?;
    units.args(["--timeout", "60", "--", "--lib", "--test", "embedded"]);
    let Err(survivors) = shell::show_and_run(&mut units) else {
        return Ok(());
    };
    let names = fs::read_to_string(&missed).unwrap_or_default();
    if names.is_empty() {
        // None survived: something else went wrong, or took too long.
        return Err(survivors);
    }
    let others = for_survivors(options);
    // By name, and not those that were caught: names alone let mutants of fields through.
    let selection = ["--test-package", "reclaim-cli", "--iterate"];
    let mut whole = of_execution(workspace, &selection, &others)?;
    for name in names.lines() {
        whole.arg("--re");
        whole.arg(format!("^{}$", regex_lite::escape(name)));
    }
    whole.args(["--timeout", "900", "--"]);
    for suite in ["e2e", "faults", "maintain", "serve"] {
        whole.args(["--test", suite]);
    }
    shell::show_and_run(&mut whole)
}

/// Drops from options what chooses mutants: those that survive are chosen already.
fn for_survivors<'o>(options: &[&'o str]) -> Vec<&'o str> {
    let mut others = Vec::new();
    let mut options = options.iter();
    while let Some(option) = options.next() {
        match *option {
            "--iterate" => {}
            "--shard" | "--sharding" => drop(options.next()),
            option if option.starts_with("--shard") => {}
            option => others.push(option),
        }
    }
    others
}

fn of_execution(
    workspace: &Workspace,
    packages: &[&str],
    options: &[&str],
) -> Result<Command, Failure> {
    let mut mutants = provide(workspace)?;
    for file in EXECUTION {
        mutants.args(["--file", &format!("crates/{file}")]);
    }
    mutants.args(["--package", "reclaim-engine", "--package", "reclaim-store"]);
    // Without mutants it would not look beyond the packages of these files; `cargo xtask test` has.
    mutants.args(["--baseline", "skip"]);
    mutants.args(packages).args(options);
    Ok(mutants)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn survivors_are_not_chosen_again() {
        let options = [
            "--jobs",
            "2",
            "--shard",
            "0/4",
            "--sharding=slice",
            "--iterate",
        ];
        assert_eq!(for_survivors(&options), ["--jobs", "2"]);
        assert!(for_survivors(&["--shard"]).is_empty());
    }
}
