//! Checks manifests and chart: kustomize and Helm render them, and they are compared with the schemas
//! of Kubernetes and with each other. `kubernetes.py` does this, because Helm is a library of Python.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::debian::{self, Daemon, KUSTOMIZE, Refresh, SID};
use crate::failure::Failure;
use crate::python;
use crate::shell;
use crate::workspace::Workspace;

/// Packages of the Python Package Index: Helm, the schemas of Kubernetes with their validator, and the
/// evaluator of CEL, the language of admission policies.
const PACKAGES: [&str; 3] = [
    "helm-python-sdk==0.2.2",
    "kubernetes-validate==1.37.0",
    "cel-expr-python==0.1.3",
];

/// The tools of the checks.
pub(super) struct Tools {
    pub(super) kustomize: Daemon,
    /// The directory of [`PACKAGES`].
    python: PathBuf,
}

/// Fetches missing tools.
pub(super) fn provide(workspace: &Workspace) -> Result<Tools, Failure> {
    let kustomize = debian::fetch(workspace, &SID, KUSTOMIZE, Refresh::Never)?;
    let python = python::provide(workspace, &PACKAGES)?;
    Ok(Tools { kustomize, python })
}

/// Renders and checks everything, including that `reclaim` accepts the configurations.
pub(super) fn check(workspace: &Workspace, tools: &Tools, reclaim: &Path) -> Result<(), Failure> {
    let directory = workspace.empty_directory("deploy/kubernetes")?;
    let script = directory.join("kubernetes.py");
    std::fs::write(&script, include_str!("kubernetes.py"))
        .map_err(|error| Failure::file("write", &script, &error))?;
    let mut python = Command::new("python3");
    python.env("PYTHONPATH", &tools.python).arg(script);
    python.arg(&workspace.root);
    python
        .arg(&tools.kustomize.path)
        .arg(reclaim)
        .arg(&directory);
    shell::run(&mut python)
}
