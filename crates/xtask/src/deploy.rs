//! `cargo xtask deploy`: checks the files of `deploy/` with the tools that use them.
//!
//! systemd checks units, and a stand-in for it notes the orders of the package's script. promtool checks
//! the rules and the queries of the dashboard. kustomize and Helm render manifests, which the schemas of
//! Kubernetes check. Missing tools are fetched below the target
//! directory.

mod kubernetes;
mod prometheus;
mod scripts;
mod systemd;

use crate::binaries::{self, BuildScope};
use crate::failure::Failure;
use crate::machine::{self, PIP, PROTOC};
use crate::steps::Steps;
use crate::suites::Coverage;
use crate::workspace::Workspace;

/// Sets up the machine, builds the binary and checks everything.
pub(crate) fn run(workspace: &Workspace) -> Result<(), Failure> {
    machine::provide(&[PROTOC, PIP])?;
    let mut steps = Steps::default();
    let mut coverage = Coverage::default();
    check(
        workspace,
        BuildScope::AllFeatures,
        &mut steps,
        &mut coverage,
    )?;
    steps.print_times();
    coverage.print(workspace);
    Ok(())
}

/// Runs the checks whose tools are available. `coverage` records the others.
pub(crate) fn check(
    workspace: &Workspace,
    scope: BuildScope,
    steps: &mut Steps,
    coverage: &mut Coverage,
) -> Result<(), Failure> {
    steps.step("deploy: systemd units", || match systemd::provide() {
        Ok(()) => systemd::check(workspace),
        Err(failure) => coverage.miss("systemd units", failure),
    })?;
    steps.step("deploy: package scripts", || scripts::check(workspace))?;
    steps.step(
        "deploy: alerts and dashboard",
        || match prometheus::provide(workspace) {
            Ok(promtool) => {
                prometheus::check(workspace, &promtool.path)?;
                coverage.add(promtool);
                Ok(())
            }
            Err(failure) => coverage.miss("alerts and dashboard", failure),
        },
    )?;
    steps.step("deploy: Kubernetes", || {
        let reclaim = binaries::build(workspace, scope)?.reclaim;
        match kubernetes::provide(workspace) {
            Ok(tools) => {
                kubernetes::check(workspace, &tools, &reclaim)?;
                coverage.add(tools.kustomize);
                Ok(())
            }
            Err(failure) => coverage.miss("manifests and chart for Kubernetes", failure),
        }
    })
}
