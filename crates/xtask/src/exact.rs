//! `cargo xtask exact`: the comparison of what a plan predicts with what containerd frees, on as
//! many random stores as somebody has time for.

use crate::debian::{self, CONTAINERD as PACKAGE, Refresh, SUITES};
use crate::failure::Failure;
use crate::machine::{self, CONTAINERD, PROTOC};
use crate::shell;
use crate::suites::{CONTAINERD_VARIABLE, runner};
use crate::workspace::Workspace;

/// By which the test is told how many stores to build.
const STORES_VARIABLE: &str = "RECLAIM_EXACT_STORES";

/// Runs the comparison with each containerd that can be had.
pub(crate) fn run(workspace: &Workspace, stores: &str) -> Result<(), Failure> {
    if stores.parse::<u32>().is_err() {
        return Err(Failure::new(format!("`{stores}` is no number of stores")));
    }
    machine::provide(&[PROTOC, CONTAINERD])?;
    let mut daemons = vec![debian::installed_containerd()?];
    for suite in &SUITES {
        daemons.push(debian::fetch(workspace, suite, PACKAGE, Refresh::Never)?);
    }
    for daemon in daemons {
        println!("\n== {stores} stores with containerd {}", daemon.version);
        let mut exact = runner(workspace);
        exact.args(["--package", "reclaim-cli", "--test", "exact"]);
        exact.env(STORES_VARIABLE, stores);
        shell::show_and_run(exact.env(CONTAINERD_VARIABLE, &daemon.path))?;
    }
    Ok(())
}
