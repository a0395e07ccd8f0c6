//! The Python library of Docker for comparisons, from the Python Package Index, with its dependencies,
//! its tests, and pytest. All is unpacked below the target directory and never installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::Failure;
use crate::shell;
use crate::workspace::Workspace;

const VERSION: &str = "7.2.0";

/// The last version whose source has its tests.
const TESTS_VERSION: &str = "7.0.0";

const PYTEST: &str = "pytest==7.4.2";

/// Fetches the library if it is missing, checks that Python can import it, and returns the directory
/// for `PYTHONPATH`.
pub(crate) fn fetch(workspace: &Workspace) -> Result<PathBuf, Failure> {
    let directory = workspace.target.join("docker-py");
    let ready = directory.join(format!("{VERSION}-with-tests"));
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
        shell::run(pip.arg(&partial).args([&requirement, PYTEST]))?;
        fetch_tests(&partial)?;
        // Renamed last, so that it exists only if it is complete.
        fs::rename(&partial, &ready).map_err(|error| Failure::file("rename", &partial, &error))?;
    }
    let mut python = Command::new("python3");
    python.args(["-c", "import docker, pytest"]);
    shell::read(python.env("PYTHONPATH", &ready))?;
    Ok(ready)
}

/// Unpacks the tests to a directory of their own, without the library of their version.
fn fetch_tests(directory: &Path) -> Result<(), Failure> {
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "download", "--quiet", "--no-deps"]);
    pip.args([
        "--disable-pip-version-check",
        "--no-binary=docker",
        "--dest",
    ]);
    let requirement = format!("docker=={TESTS_VERSION}");
    shell::run(pip.arg(directory).arg(requirement))?;
    let name = format!("docker-{TESTS_VERSION}");
    let mut tar = Command::new("tar");
    tar.arg("-xzf")
        .arg(directory.join(format!("{name}.tar.gz")))
        .arg("-C")
        .arg(directory)
        .arg(format!("{name}/tests"));
    shell::run(&mut tar)
}
