//! `cargo xtask bench`: figures, never verdicts. What they mean is in `docs/benchmarks.md`.

use crate::debian::{self, DOCKERD, Refresh, SID};
use crate::failure::Failure;
use crate::machine::{self, CONTAINERD, PROTOC};
use crate::shell;
use crate::suites::DOCKERD_VARIABLE;
use crate::workspace::Workspace;

/// How long the judge thinks, and in how much memory.
pub(crate) fn judge(workspace: &Workspace) -> Result<(), Failure> {
    machine::provide(&[PROTOC])?;
    let mut bench = workspace.cargo(&["bench", "--locked", "--package", "reclaim-plan"]);
    shell::show_and_run(&mut bench)
}

/// A whole prune on a real containerd, and the same images removed as others do.
pub(crate) fn peers(workspace: &Workspace) -> Result<(), Failure> {
    machine::provide(&[PROTOC, CONTAINERD])?;
    let mut bench = workspace.cargo(&["bench", "--locked", "--package", "reclaim-cli"]);
    bench.args(["--bench", "peers"]);
    match debian::fetch(workspace, &SID, DOCKERD, Refresh::Never) {
        Ok(dockerd) => drop(bench.env(DOCKERD_VARIABLE, dockerd.path)),
        Err(failure) => eprintln!("without a Docker Engine: {failure}"),
    }
    shell::show_and_run(&mut bench)
}
