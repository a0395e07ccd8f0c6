//! Builds a Debian package from a tree of files.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::Failure;
use crate::shell;
use crate::workspace::Workspace;

/// The version of the package: that of the project, with the first Debian revision.
pub(super) const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "-1");

/// The maintainer of the package. The project has no address.
pub(super) const MAINTAINER: &str = "The developers of Reclaim <reclaim@localhost>";

/// The maintainer scripts, in `deploy/debian`.
const SCRIPTS: [&str; 3] = ["postinst", "prerm", "postrm"];

/// The files whose changes by the administrator dpkg keeps.
const CONFFILES: &str = "/etc/reclaim/config.toml\n";

/// Builds the package from a complete tree. Returns its path.
pub(super) fn build(workspace: &Workspace, tree: &Path) -> Result<PathBuf, Failure> {
    if shell::find("dpkg-deb").is_none() {
        return Err(Failure::new("`dpkg-deb` is not on PATH")
            .hint("building a Debian package needs Debian"));
    }
    let output = shell::read(Command::new("dpkg").arg("--print-architecture"))?;
    let architecture = output.trim();
    let sums = sums(tree)?;
    let control = control(tree, architecture)?;
    let directory = tree.join("DEBIAN");
    fs::create_dir(&directory).map_err(|error| Failure::file("create", &directory, &error))?;
    for (name, text) in [
        ("control", control.as_str()),
        ("conffiles", CONFFILES),
        ("md5sums", sums.as_str()),
    ] {
        let path = directory.join(name);
        fs::write(&path, text).map_err(|error| Failure::file("write", &path, &error))?;
    }
    for name in SCRIPTS {
        let from = workspace.root.join("deploy/debian").join(name);
        let to = directory.join(name);
        fs::copy(&from, &to).map_err(|error| Failure::file("copy", &from, &error))?;
        fs::set_permissions(&to, fs::Permissions::from_mode(0o755))
            .map_err(|error| Failure::file("set the mode of", &to, &error))?;
    }
    let name = format!("reclaim_{VERSION}_{architecture}.deb");
    let package = workspace.target.join("dist").join(name);
    let mut build = Command::new("dpkg-deb");
    // The same commit gives the same package.
    build.env("SOURCE_DATE_EPOCH", commit_time(workspace));
    build.args(["--root-owner-group", "-Zxz", "--build"]);
    shell::run(build.arg(tree).arg(&package))?;
    Ok(package)
}

fn control(tree: &Path, architecture: &str) -> Result<String, Failure> {
    let usage = shell::read(Command::new("du").args(["-sk"]).arg(tree))?;
    let size = usage.split_whitespace().next().unwrap_or("0");
    let libc = newest_glibc(&tree.join("usr/bin/reclaim"))?;
    Ok(format!(
        "\
Package: reclaim
Version: {VERSION}
Architecture: {architecture}
Maintainer: {MAINTAINER}
Installed-Size: {size}
Depends: init-system-helpers (>= 1.54), libc6 (>= {libc}), libgcc-s1
Recommends: tzdata
Suggests: containerd | docker.io
Section: admin
Priority: optional
Description: garbage collector for containerd's images
 Reclaim removes unused container images from a containerd host: those of
 Docker, Kubernetes, nerdctl and ctr. Before a prune it lists every blob and
 snapshot that will be removed. It collects once per prune, and can undo one.
 .
 By default the daemon removes nothing. Add policies to
 /etc/reclaim/config.toml.
"
    ))
}

/// Returns the newest version of the C library whose symbols the binary needs.
fn newest_glibc(binary: &Path) -> Result<String, Failure> {
    let symbols = shell::read(Command::new("objdump").arg("-T").arg(binary))?;
    newest_version(&symbols).ok_or_else(|| {
        Failure::new(format!(
            "`{}` has no symbols of the C library",
            binary.display()
        ))
    })
}

fn newest_version(symbols: &str) -> Option<String> {
    let versions = symbols.split("GLIBC_").skip(1).filter_map(|rest| {
        let end = rest.find(|character: char| !character.is_ascii_digit() && character != '.')?;
        let numbers = rest[..end].split('.').map(str::parse::<u32>);
        numbers.collect::<Result<Vec<u32>, _>>().ok()
    });
    let newest = versions.max()?;
    let numbers: Vec<String> = newest.iter().map(u32::to_string).collect();
    Some(numbers.join("."))
}

/// Returns the checksums for `dpkg --verify`.
fn sums(tree: &Path) -> Result<String, Failure> {
    let script = "find usr -type f -print0 | LC_ALL=C sort -z | xargs -0 md5sum";
    shell::read(Command::new("sh").args(["-c", script]).current_dir(tree))
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
    use super::*;

    #[test]
    fn finds_the_newest_version_by_number() {
        let symbols = "\
0000000000000000      DF *UND*  0000000000000000 (GLIBC_2.9)  pipe2
0000000000000000      DF *UND*  0000000000000000 (GLIBC_2.34) pthread_create
0000000000000000      DF *UND*  0000000000000000 (GLIBC_2.2.5) read
";
        assert_eq!(newest_version(symbols).as_deref(), Some("2.34"));
        assert_eq!(newest_version("none\n"), None);
    }
}
