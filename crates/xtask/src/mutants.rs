//! `cargo xtask mutants`: changes the code in one place at a time; a test must fail for each change.
//! Changes without an effect are listed, with reasons, in `.cargo/mutants.toml`.

use std::fs;
use std::process::Command;

use crate::failure::Failure;
use crate::machine::{self, BUSYBOX, CONTAINERD, PROTOC};
use crate::shell;
use crate::tool::{self, MUTANTS};
use crate::workspace::Workspace;

/// The packages that make plans. They are pure, so their tests need no containerd.
const PLANNING: [&str; 3] = ["reclaim-model", "reclaim-oci", "reclaim-plan"];

/// The files that carry out plans, whose tests need a real containerd.
const EXECUTION: [&str; 23] = [
    "engine/src/confirm.rs",
    "engine/src/execute.rs",
    "engine/src/guard.rs",
    "engine/src/hold.rs",
    "engine/src/host_guard.rs",
    "engine/src/journal.rs",
    "engine/src/lease.rs",
    "engine/src/measure.rs",
    "engine/src/outcomes.rs",
    "engine/src/preview.rs",
    "engine/src/prune.rs",
    "engine/src/remove.rs",
    "engine/src/retry.rs",
    "engine/src/run.rs",
    "engine/src/second_look.rs",
    "engine/src/undo.rs",
    "engine/src/unfinished.rs",
    "engine/src/unpin.rs",
    "store/src/event_watcher.rs",
    "store/src/execute.rs",
    "store/src/hold.rs",
    "store/src/labels.rs",
    "store/src/measure.rs",
];

/// Tests the mutants of the packages that make plans.
pub(crate) fn planning(workspace: &Workspace, options: &[&str]) -> Result<(), Failure> {
    let mut mutants = provide(workspace)?;
    for package in PLANNING {
        mutants.args(["--package", package]);
    }
    // Fewer cases find nearly as many mutants in a sixth of the time.
    mutants.env("PROPTEST_CASES", "40");
    shell::show_and_run(mutants.args(["--timeout", "60"]).args(options))
}

/// Tests the mutants of the files that carry out plans: first with unit tests and tests of the engine,
/// which take seconds each, and then the survivors with the tests of the whole command.
pub(crate) fn execution(workspace: &Workspace, options: &[&str]) -> Result<(), Failure> {
    machine::provide(&[CONTAINERD, BUSYBOX])?;
    // A list of an earlier run would mislead if this run does not start.
    let missed = workspace.target.join("mutants.out").join("missed.txt");
    if missed.exists() {
        fs::remove_file(&missed).map_err(|error| Failure::file("remove", &missed, &error))?;
    }
    let packages = ["--test-package", "reclaim-engine,reclaim-store"];
    let mut units = execution_command(workspace, &packages, options)?;
    units.args(["--timeout", "60", "--", "--lib", "--test", "embedded"]);
    let Err(survivors) = shell::show_and_run(&mut units) else {
        return Ok(());
    };
    let names = fs::read_to_string(&missed).unwrap_or_default();
    if names.is_empty() {
        // No mutant survived, so something else failed or timed out.
        return Err(survivors);
    }
    let others = without_selection(options);
    // `--iterate` in addition to names, because names also match mutants of fields.
    let selection = ["--test-package", "reclaim-cli", "--iterate"];
    let mut whole = execution_command(workspace, &selection, &others)?;
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

/// Removes the options that select mutants, because the survivors are already selected.
fn without_selection<'o>(options: &[&'o str]) -> Vec<&'o str> {
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

fn execution_command(
    workspace: &Workspace,
    packages: &[&str],
    options: &[&str],
) -> Result<Command, Failure> {
    let mut mutants = provide(workspace)?;
    for file in EXECUTION {
        mutants.args(["--file", &format!("crates/{file}")]);
    }
    mutants.args(["--package", "reclaim-engine", "--package", "reclaim-store"]);
    // The baseline would test only the packages of these files; `cargo xtask test` tests all.
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
    // A mutant changes one line, so most of a build is what the last one built.
    mutants.env("CARGO_INCREMENTAL", "1");
    let unoptimized = "profile.dev.package.reclaim-model.opt-level=0";
    mutants.args(["--cargo-arg=--config", "--cargo-arg", unoptimized]);
    // Without debug information, because most of the time is spent on linking.
    mutants.env("CARGO_PROFILE_TEST_DEBUG", "0");
    mutants.env("CARGO_PROFILE_DEV_DEBUG", "0");
    Ok(mutants)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removes_options_that_select_mutants() {
        let options = [
            "--jobs",
            "2",
            "--shard",
            "0/4",
            "--sharding=slice",
            "--iterate",
        ];
        assert_eq!(without_selection(&options), ["--jobs", "2"]);
        assert!(without_selection(&["--shard"]).is_empty());
    }
}
