//! `cargo xtask deploy`: what is in `deploy/`, checked with the tools of those who will read it.
//!
//! systemd checks units, Prometheus its rules and the dashboard's queries, kustomize and Helm build
//! what the schemas of Kubernetes then check. The tools are fetched below the target directory.

mod kubernetes;
mod prometheus;
mod systemd;

use crate::binaries::{self, NotCounted};
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
    check(workspace, NotCounted::Nothing, &mut steps, &mut coverage)?;
    steps.print_times();
    coverage.print(workspace);
    Ok(())
}

/// Checks everything for which there is a tool. What cannot be had is in `coverage`.
pub(crate) fn check(
    workspace: &Workspace,
    beside: NotCounted,
    steps: &mut Steps,
    coverage: &mut Coverage,
) -> Result<(), Failure> {
    steps.step("deploy: systemd's units", || match systemd::provide() {
        Ok(()) => systemd::check(workspace),
        Err(failure) => coverage.miss("systemd's units", failure),
    })?;
    steps.step(
        "deploy: alerts and dashboard",
        || match prometheus::provide(workspace) {
            Ok(promtool) => {
                prometheus::check(workspace, &promtool.path)?;
                coverage.hit(promtool);
                Ok(())
            }
            Err(failure) => coverage.miss("alerts and dashboard", failure),
        },
    )?;
    steps.step("deploy: Kubernetes", || {
        let reclaim = binaries::build(workspace, beside)?.reclaim;
        match kubernetes::provide(workspace) {
            Ok(tools) => {
                kubernetes::check(workspace, &tools, &reclaim)?;
                coverage.hit(tools.kustomize);
                Ok(())
            }
            Err(failure) => coverage.miss("manifests and chart for Kubernetes", failure),
        }
    })
}
