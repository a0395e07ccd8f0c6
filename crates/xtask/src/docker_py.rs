//! The Python library of Docker for comparisons, from the Python Package Index, with its dependencies.
//! It is unpacked below the target directory and never installed.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::failure::Failure;
use crate::shell;
use crate::workspace::Workspace;

const VERSION: &str = "7.2.0";

/// Fetches the library if it is missing, checks that Python can import it, and returns the directory
/// for `PYTHONPATH`.
pub(crate) fn fetch(workspace: &Workspace) -> Result<PathBuf, Failure> {
    let directory = workspace.target.join("docker-py");
    let ready = directory.join(VERSION);
    if !ready.exists() {
        let requirement = format!("docker=={VERSION}");
        println!("Fetching {requirement}");
        let partial = directory.join("partial");
        if partial.exists() {
            fs::remove_dir_all(&partial)
                .map_err(|error| Failure::file("remove", &partial, &error))?;
        }
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "install", "--quiet", "--no-compile"]);
        pip.args(["--disable-pip-version-check", "--root-user-action=ignore"]);
        pip.args(["--only-binary=:all:", "--target"]);
        shell::run(pip.arg(&partial).arg(requirement))?;
        // Renamed last, so that it exists only if it is complete.
        fs::rename(&partial, &ready).map_err(|error| Failure::file("rename", &partial, &error))?;
    }
    let mut python = Command::new("python3");
    python.args(["-c", "import docker"]);
    shell::read(python.env("PYTHONPATH", &ready))?;
    Ok(ready)
}
