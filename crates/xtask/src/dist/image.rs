//! The files of the container image, for `deploy/container/Containerfile`: the static binary, and what
//! it reads. There is no base image, so there is no shell and no package manager.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::dependencies::{LIST, NOTICES};
use super::package::Stage;
use crate::debian::{self, CA_CERTIFICATES, Refresh, SID, TZDATA};
use crate::failure::Failure;
use crate::machine::{self, BUILDAH};
use crate::shell;
use crate::workspace::Workspace;

/// The certificates at the path where TLS libraries look for them.
const CERTIFICATES: &str = "etc/ssl/certs/ca-certificates.crt";

/// The directory of the build context, below the target directory.
const CONTEXT: &str = "dist/image";

/// The only files outside of the documentation and the time zones.
const FILES: [&str; 2] = [CERTIFICATES, "usr/bin/reclaim"];

/// Creates the build context: for each target a directory that becomes `/`.
pub(super) fn prepare(workspace: &Workspace, stages: &[Stage]) -> Result<(), Failure> {
    let context = workspace.empty_directory(CONTEXT)?;
    let fetch = |package| debian::fetch(workspace, &SID, package, Refresh::IfNewer);
    // For traces over TLS and registries, and for the time zones of `cron`.
    let certificates = fetch(CA_CERTIFICATES)?.path;
    let zones = fetch(TZDATA)?.path;
    // Concatenated in the order of names, as Debian does on installation.
    let script = "mkdir -p \"$2/etc/ssl/certs\" \"$2/usr/bin\" \"$2/usr/share/doc/reclaim\" && \
                  cat \"$(dirname \"$0\")\"/*.crt > \"$2/$3\" && \
                  cp -a \"$(dirname \"$1\")\" \"$2/usr/share/\"";
    for stage in stages {
        let root = context.join(stage.target.debian);
        let mut assemble = Command::new("sh");
        assemble.env("LC_ALL", "C").args(["-euc", script]);
        assemble.arg(&certificates).arg(&zones).arg(&root);
        shell::run(assemble.arg(CERTIFICATES))?;
        let documents = root.join("usr/share/doc/reclaim");
        for (from, to) in [
            (stage.binary.clone(), root.join("usr/bin/reclaim")),
            (stage.package.join(LIST), documents.join(LIST)),
            (stage.package.join(NOTICES), documents.join(NOTICES)),
        ] {
            fs::copy(&from, &to).map_err(|error| Failure::file("copy", &from, &error))?;
        }
    }
    Ok(())
}

/// Builds the image for each target without pulling anything, and checks that it has no other files and that
/// its binary starts.
pub(super) fn check(workspace: &Workspace, stages: &[Stage]) -> Result<(), Failure> {
    machine::provide(&[BUILDAH])?;
    let storage = workspace.empty_directory("dist/buildah")?;
    for stage in stages {
        let image = build(workspace, &storage, stage.target.debian)?;
        let files = shell::read(
            Command::new("find")
                .args([".", "!", "-type", "d"])
                .current_dir(&image),
        )?;
        let other = files
            .lines()
            .map(|line| line.trim_start_matches("./"))
            .filter(|path| !path.starts_with("usr/share/"))
            .find(|path| !FILES.contains(path));
        if let Some(path) = other {
            return Err(Failure::new(format!("the container image has `/{path}`")));
        }
        if stage.target.is_native() {
            // With nothing around it: no C library, no loader.
            let mut version = Command::new("chroot");
            version.arg(&image).args(["/usr/bin/reclaim", "--version"]);
            println!("{}", shell::read(&mut version)?.trim());
        }
    }
    // It contains mounts, which only buildah removes.
    shell::run(buildah(&storage).args(["umount", "--all"]))?;
    shell::remove_tree(&storage)
}

/// Builds the image for one architecture, and mounts it. Returns the path of the mount.
fn build(
    workspace: &Workspace,
    storage: &Path,
    architecture: &str,
) -> Result<std::path::PathBuf, Failure> {
    let tag = format!("localhost/reclaim:{architecture}");
    let mut build = buildah(storage);
    build.args(["build", "--quiet", "--pull=never", "--isolation=chroot"]);
    build.arg(format!("--platform=linux/{architecture}"));
    build.args(["--tag", &tag, "--file"]);
    build.arg(workspace.root.join("deploy/container/Containerfile"));
    shell::show_and_run(build.arg(workspace.target.join(CONTEXT)))?;
    let from = shell::read(buildah(storage).args(["from", "--pull=never", &tag]))?;
    let mount = shell::read(buildah(storage).args(["mount", from.trim()]))?;
    Ok(mount.trim().into())
}

/// Returns a command of buildah that keeps everything below `storage`.
fn buildah(storage: &Path) -> Command {
    let mut command = Command::new("buildah");
    command.args(["--storage-driver=vfs", "--root"]);
    command
        .arg(storage.join("root"))
        .arg("--runroot")
        .arg(storage.join("run"));
    command
}
