//! `cargo xtask demo`: the example of the kit, on the binary as it is built here.

use std::process::Command;

use crate::binaries::{self, NotCounted};
use crate::failure::Failure;
use crate::machine::{self, CONTAINERD, PROTOC};
use crate::shell;
use crate::workspace::Workspace;

/// Sets up the machine, builds and runs the demo.
pub(crate) fn run(workspace: &Workspace) -> Result<(), Failure> {
    machine::provide(&[PROTOC, CONTAINERD])?;
    shell::run(&mut command(workspace, NotCounted::Nothing)?)
}

/// Builds and runs the demo on a machine that has all it needs, and returns all that it prints.
pub(crate) fn record(workspace: &Workspace, beside: NotCounted) -> Result<String, Failure> {
    shell::record(&mut command(workspace, beside)?)
}

/// Builds the demo, and returns the command that shows it.
fn command(workspace: &Workspace, beside: NotCounted) -> Result<Command, Failure> {
    let built = binaries::build(workspace, beside)?;
    let mut command = Command::new(built.demo);
    command.arg(built.reclaim).current_dir(&workspace.root);
    Ok(command)
}
