//! `cargo xtask bench`: benchmarks. `docs/benchmarks.md` explains the results.

use crate::debian::{self, DOCKERD, Refresh, SID};
use crate::failure::Failure;
use crate::machine::{self, BUSYBOX, CONTAINERD, PROTOC};
use crate::shell;
use crate::suites::DOCKERD_VARIABLE;
use crate::workspace::Workspace;

/// Measures the time and memory of planning.
pub(crate) fn planning(workspace: &Workspace) -> Result<(), Failure> {
    machine::provide(&[PROTOC])?;
    let mut bench = workspace.cargo(&["bench", "--locked", "--package", "reclaim-plan"]);
    shell::show_and_run(&mut bench)
}

/// Measures a whole prune on a real containerd, and the removal of the same images by other tools.
pub(crate) fn peers(workspace: &Workspace) -> Result<(), Failure> {
    machine::provide(&[PROTOC, CONTAINERD])?;
    with_dockerd(workspace, "peers")
}

/// Measures how long creators of containers take from resolving an image to leaving a trace.
pub(crate) fn creators(workspace: &Workspace) -> Result<(), Failure> {
    machine::provide(&[PROTOC, CONTAINERD, BUSYBOX])?;
    with_dockerd(workspace, "creators")
}

fn with_dockerd(workspace: &Workspace, name: &str) -> Result<(), Failure> {
    let mut bench = workspace.cargo(&["bench", "--locked", "--package", "reclaim-cli"]);
    bench.args(["--bench", name]);
    match debian::fetch(workspace, &SID, DOCKERD, Refresh::Never) {
        Ok(dockerd) => drop(bench.env(DOCKERD_VARIABLE, dockerd.path)),
        Err(failure) => eprintln!("running without a Docker Engine: {failure}"),
    }
    shell::show_and_run(&mut bench)
}

/// Measures the memory of a daemon at rest.
pub(crate) fn rest(workspace: &Workspace) -> Result<(), Failure> {
    machine::provide(&[PROTOC])?;
    let mut bench = workspace.cargo(&["bench", "--locked", "--package", "reclaim-cli"]);
    shell::show_and_run(bench.args(["--bench", "rest"]))
}

/// Measures what each step of a slim frees of 30 images, and what it costs to have it again.
pub(crate) fn slim(workspace: &Workspace) -> Result<(), Failure> {
    machine::provide(&[PROTOC, CONTAINERD])?;
    let mut bench = workspace.cargo(&["bench", "--locked", "--package", "reclaim-cli"]);
    shell::show_and_run(bench.args(["--bench", "slim"]))
}
