//! The test suites: once with the distribution's containerd, then those that start one again
//! with every other version that can be had.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::debian::{self, Refresh, SUITES};
use crate::failure::Failure;
use crate::shell;
use crate::steps::Steps;
use crate::workspace::Workspace;

/// The variable by which the kit is told which containerd to start.
const CONTAINERD_VARIABLE: &str = "RECLAIM_TEST_CONTAINERD";

/// How much is tested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// Everything.
    All,
    /// What starts no containerd.
    Fast,
}

/// Runs what starts no containerd: of packages that use the kit, only the unit tests.
pub(crate) fn run_fast(workspace: &Workspace, steps: &mut Steps) -> Result<(), Failure> {
    let users = workspace.containerd_users();
    steps.step("tests without containerd", || {
        let mut others = runner(workspace);
        others.arg("--workspace");
        for user in &users {
            others.args(["--exclude", user]);
        }
        shell::show_and_run(&mut others)?;
        let mut units = runner(workspace);
        units.args(["--lib", "--bins"]);
        add_packages(&mut units, &users);
        shell::show_and_run(&mut units)
    })
}

/// Runs everything with every containerd that can be had.
pub(crate) fn run_all(workspace: &Workspace, steps: &mut Steps) -> Result<Coverage, Failure> {
    let mut coverage = Coverage::default();
    let installed = shell::find("containerd");
    let installed = installed.ok_or_else(|| Failure::new("no containerd on PATH"))?;
    let version = debian::version(&installed)?;
    steps.step(&format!("tests, containerd {version}"), || {
        shell::show_and_run(runner(workspace).arg("--workspace").env_remove(CONTAINERD_VARIABLE))
    })?;
    coverage.covered.push((version, installed));

    let mut fetched = Vec::new();
    steps.step("fetch other containerds", || {
        for suite in &SUITES {
            fetched.push((suite, debian::fetch(workspace, suite, debian::CONTAINERD, Refresh::Never)));
        }
        Ok(())
    })?;
    for (suite, fetched) in fetched {
        match fetched {
            Ok(fetched) => {
                let name = format!("tests, containerd {}", fetched.version);
                steps.step(&name, || run_users(workspace, &fetched.path))?;
                coverage.covered.push((fetched.version, fetched.path));
            }
            Err(failure) => coverage.missed.push((suite.name, failure)),
        }
    }
    Ok(coverage)
}

/// Runs the packages that start a containerd with another one.
fn run_users(workspace: &Workspace, containerd: &Path) -> Result<(), Failure> {
    let mut command = runner(workspace);
    command.env(CONTAINERD_VARIABLE, containerd);
    add_packages(&mut command, &workspace.containerd_users());
    shell::show_and_run(&mut command)
}

/// Returns the test runner that there is, without a selection: nextest knows the time of every
/// test and runs all binaries side by side, but `cargo test` knows the same tests.
fn runner(workspace: &Workspace) -> Command {
    let mut command = if shell::find("cargo-nextest").is_some() {
        workspace.cargo(&["nextest", "run", "--status-level", "slow"])
    } else {
        workspace.cargo(&["test", "--quiet", "--all-targets"])
    };
    command.arg("--locked");
    command
}

fn add_packages(command: &mut Command, packages: &[&str]) {
    for package in packages {
        command.args(["--package", package]);
    }
}

/// Which containerds the tests have seen.
#[derive(Debug, Default)]
pub(crate) struct Coverage {
    covered: Vec<(String, PathBuf)>,
    missed: Vec<(&'static str, Failure)>,
}

impl Coverage {
    /// Prints it, loudly where something is missing.
    pub(crate) fn print(&self, workspace: &Workspace) {
        println!("\n== containerds");
        for (version, path) in &self.covered {
            println!("tested      {version:10}  {}", workspace.short(path));
        }
        for (suite, failure) in &self.missed {
            println!("NOT TESTED  that of {suite}: {}", failure.what());
        }
    }
}
