//! Builds a Debian package with cargo-deb, by `package.metadata.deb` in the manifest of `reclaim-cli`.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::dependencies;
use super::target::{Built, Place, Target};
use crate::failure::Failure;
use crate::machine::{self, DPKG_DEV};
use crate::shell;
use crate::tool::{self, CARGO_DEB};
use crate::workspace::Workspace;

/// The files that are made for a package.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) target: Target,
    pub(super) binary: PathBuf,
    /// The directory of the others.
    pub(super) package: PathBuf,
    /// The target directory for cargo-deb.
    directory: PathBuf,
}

/// The version of the package: that of the project, with the first Debian revision.
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "-1");

impl Stage {
    /// Copies the binary, and lets it write its manual pages and completions. Adds what `dependencies`
    /// says about it.
    pub(super) fn create(
        workspace: &Workspace,
        place: &Place,
        built: &Built,
    ) -> Result<Self, Failure> {
        let Built { target, binary } = built;
        let directory = place.target.join("dist/stage");
        // The path where cargo-deb looks for the files of `target/release`.
        let release = directory.join(target.triple()).join("release");
        shell::remove_tree(&release)?;
        let stage = Self {
            target: *target,
            binary: release.join("reclaim"),
            package: release.join("package"),
            directory,
        };
        let pages = stage.package.join("man");
        fs::create_dir_all(&pages).map_err(|error| Failure::file("create", &pages, &error))?;
        fs::copy(binary, &stage.binary).map_err(|error| Failure::file("copy", binary, &error))?;
        let run = |arguments: &[&OsStr]| {
            let mut command = target.command(&stage.binary)?;
            shell::read(command.args(arguments))
        };
        run(&["man-pages".as_ref(), pages.as_os_str()])?;
        // Debian's policy: the best compression, without names and times.
        let mut compress = Command::new("gzip");
        shell::run(compress.args(["-9", "-n", "--recursive"]).arg(&pages))?;
        for name in ["bash", "zsh", "fish"] {
            let script = run(&["completions".as_ref(), name.as_ref()])?;
            let path = stage.package.join(format!("reclaim.{name}"));
            fs::write(&path, script).map_err(|error| Failure::file("write", &path, &error))?;
        }
        dependencies::list(workspace, place, *target, &stage.package)?;
        dependencies::notices(workspace, place, &stage.package)?;
        Ok(stage)
    }

    /// Builds the package. Returns its path in `directory`.
    pub(super) fn build(
        &self,
        workspace: &Workspace,
        place: &Place,
        directory: &Path,
    ) -> Result<PathBuf, Failure> {
        machine::provide(&[DPKG_DEV])?;
        let name = format!("reclaim_{VERSION}_{}.deb", self.target.debian);
        let package = directory.join(name);
        let mut build = Command::new(tool::provide(workspace, CARGO_DEB)?);
        build.current_dir(&place.sources);
        build.env("CARGO_TARGET_DIR", &self.directory);
        // The same commit gives the same package.
        build.env("SOURCE_DATE_EPOCH", commit_time(workspace));
        build.args(["--no-build", "--no-strip", "--locked"]);
        build.args(["--package", "reclaim-cli"]);
        build.args(["--target", &self.target.triple(), "--output"]);
        shell::show_and_run(build.arg(&package))?;
        Ok(package)
    }
}

/// Returns the time of the commit in Unix seconds; zero outside of a repository.
pub(super) fn commit_time(workspace: &Workspace) -> String {
    let mut log = Command::new("git");
    log.args(["log", "-1", "--format=%ct"])
        .current_dir(&workspace.root);
    let output = shell::read(&mut log).unwrap_or_default();
    let time = output.trim();
    if time.is_empty() { "0" } else { time }.to_owned()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_changelog_has_this_version() {
        let changelog = include_str!("../../../../deploy/debian/changelog");
        let newest = concat!("reclaim (", env!("CARGO_PKG_VERSION"), "-1) ");
        assert!(changelog.starts_with(newest), "{changelog}");
    }
}
