//! Tools from the Python Package Index, below the target directory.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::failure::Failure;
use crate::machine::{self, PIP};
use crate::shell;
use crate::workspace::Workspace;

/// Installs packages, each with its version, unless they are installed. Returns their directory: the
/// value for `PYTHONPATH`.
pub(crate) fn provide(workspace: &Workspace, packages: &[&str]) -> Result<PathBuf, Failure> {
    let name = packages.join("+").replace("==", "-");
    let directory = workspace.target.join("tools").join(name);
    if !directory.exists() {
        machine::provide(&[PIP])?;
        println!("Fetching {}", packages.join(" and "));
        // Renamed last, so that it exists only if it is complete.
        let unfinished = directory.with_extension("unfinished");
        let mut pip = Command::new("python3");
        pip.args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ]);
        pip.args(["--root-user-action=ignore", "--upgrade", "--target"]);
        shell::run(pip.arg(&unfinished).args(packages))?;
        fs::rename(&unfinished, &directory)
            .map_err(|error| Failure::file("rename", &unfinished, &error))?;
    }
    Ok(directory)
}
