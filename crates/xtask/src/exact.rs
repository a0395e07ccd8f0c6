//! `cargo xtask exact`: compares what a plan predicts with what containerd frees, on random stores.

use crate::debian::{self, CONTAINERD as PACKAGE, Refresh, SUITES};
use crate::failure::Failure;
use crate::machine::{self, CONTAINERD, PROTOC};
use crate::shell;
use crate::suites::{CONTAINERD_VARIABLE, runner};
use crate::workspace::Workspace;

/// The variable with the number of stores for the test.
const STORES_VARIABLE: &str = "RECLAIM_EXACT_STORES";

/// Runs the comparison with each available containerd.
pub(crate) fn run(workspace: &Workspace, stores: &str) -> Result<(), Failure> {
    if stores.parse::<u32>().is_err() {
        return Err(Failure::new(format!(
            "`{stores}` is not a number of stores"
        )));
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
