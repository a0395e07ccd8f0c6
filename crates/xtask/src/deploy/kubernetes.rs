//! Manifests and chart: built by kustomize and by Helm, checked against the schemas of Kubernetes
//! and against each other. The work is done by `kubernetes.py`, because Helm is a library there.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::debian::{self, Daemon, KUSTOMIZE, Refresh, SID};
use crate::failure::Failure;
use crate::shell;
use crate::workspace::Workspace;

/// Packages of the Python Package Index: Helm's own code, and the schemas with what reads them.
const PACKAGES: [&str; 2] = ["helm-python-sdk==0.2.2", "kubernetes-validate==1.37.0"];

/// What checks.
pub(super) struct Tools {
    pub(super) kustomize: Daemon,
    /// Where Python finds [`PACKAGES`].
    python: PathBuf,
}

/// Fetches what is not there.
pub(super) fn provide(workspace: &Workspace) -> Result<Tools, Failure> {
    let kustomize = debian::fetch(workspace, &SID, KUSTOMIZE, Refresh::Never)?;
    let name = PACKAGES.join("+").replace("==", "-");
    let python = workspace.target.join("tools").join(name);
    if !python.exists() {
        println!("Fetching {}", PACKAGES.join(" and "));
        // Moved there last, so that it is there only if all of it is.
        let unfinished = python.with_extension("unfinished");
        let mut pip = Command::new("python3");
        pip.args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ]);
        pip.args(["--root-user-action=ignore", "--upgrade", "--target"]);
        shell::run(pip.arg(&unfinished).args(PACKAGES))?;
        let moved = std::fs::rename(&unfinished, &python);
        moved.map_err(|error| Failure::file("move", &unfinished, &error))?;
    }
    Ok(Tools { kustomize, python })
}

/// Builds and checks everything, also that `reclaim` accepts the configuration in it.
pub(super) fn check(workspace: &Workspace, tools: &Tools, reclaim: &Path) -> Result<(), Failure> {
    let directory = workspace.empty_directory("deploy/kubernetes")?;
    let script = directory.join("kubernetes.py");
    let written = std::fs::write(&script, include_str!("kubernetes.py"));
    written.map_err(|error| Failure::file("write", &script, &error))?;
    let mut python = Command::new("python3");
    python.env("PYTHONPATH", &tools.python).arg(script);
    python.arg(workspace.root.join("deploy"));
    python
        .arg(&tools.kustomize.path)
        .arg(reclaim)
        .arg(&directory);
    shell::run(&mut python)
}
