//! What makes a tree of files a Debian package.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{MAINTAINER, VERSION};
use crate::failure::Failure;
use crate::shell;
use crate::workspace::Workspace;

/// Maintainer scripts, in `deploy/debian`.
const SCRIPTS: [&str; 3] = ["postinst", "prerm", "postrm"];

/// Files that dpkg keeps as the administrator has changed them.
const CONFFILES: &str = "/etc/reclaim/config.toml\n";

/// Builds the package from a tree that is complete. Returns where it is.
pub(super) fn build(workspace: &Workspace, tree: &Path) -> Result<PathBuf, Failure> {
    if shell::find("dpkg-deb").is_none() {
        return Err(Failure::new("no `dpkg-deb` on PATH")
            .hint("Debian's packages can be built on Debian only"));
    }
    let architecture = shell::read(Command::new("dpkg").arg("--print-architecture"))?;
    let architecture = architecture.trim();
    let sums = sums(tree)?;
    let control = control(tree, architecture)?;
    let directory = tree.join("DEBIAN");
    fs::create_dir(&directory).map_err(|error| Failure::file("make", &directory, &error))?;
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
        let mode = fs::set_permissions(&to, fs::Permissions::from_mode(0o755));
        mode.map_err(|error| Failure::file("set the mode of", &to, &error))?;
    }
    let package = workspace.target.join("dist");
    let package = package.join(format!("reclaim_{VERSION}_{architecture}.deb"));
    let mut build = Command::new("dpkg-deb");
    // From the same commit the same package.
    build.env("SOURCE_DATE_EPOCH", super::commit_time(workspace));
    build.args(["--root-owner-group", "-Zxz", "--build"]);
    shell::run(build.arg(tree).arg(&package))?;
    Ok(package)
}

fn control(tree: &Path, architecture: &str) -> Result<String, Failure> {
    let size = shell::read(Command::new("du").args(["-sk"]).arg(tree))?;
    let size = size.split_whitespace().next().unwrap_or("0").to_owned();
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
Description: garbage collector for the images of containerd
 Reclaim removes container images that nobody uses from a host with
 containerd: Docker's, Kubernetes's, nerdctl's and ctr's. It shows every blob
 and snapshot that will go before it goes, collects once per prune, and can
 take a prune back.
 .
 As it is installed, the daemon removes nothing: policies are written into
 /etc/reclaim/config.toml.
"
    ))
}

/// Returns the newest version of the C library that the binary asks for a symbol of.
fn newest_glibc(binary: &Path) -> Result<String, Failure> {
    let symbols = shell::read(Command::new("objdump").arg("-T").arg(binary))?;
    newest_version(&symbols)
        .ok_or_else(|| Failure::new(format!("`{}` needs no C library", binary.display())))
}

fn newest_version(symbols: &str) -> Option<String> {
    let versions = symbols.split("GLIBC_").skip(1).filter_map(|rest| {
        let end = rest.find(|it: char| !it.is_ascii_digit() && it != '.')?;
        let numbers = rest[..end].split('.').map(str::parse::<u32>);
        numbers.collect::<Result<Vec<u32>, _>>().ok()
    });
    let newest = versions.max()?;
    let numbers: Vec<String> = newest.iter().map(u32::to_string).collect();
    Some(numbers.join("."))
}

/// The list by which `dpkg --verify` sees what was changed.
fn sums(tree: &Path) -> Result<String, Failure> {
    let script = "find usr -type f -print0 | LC_ALL=C sort -z | xargs -0 md5sum";
    shell::read(Command::new("sh").args(["-c", script]).current_dir(tree))
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
