//! The files of the package, in a tree.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use super::package::{MAINTAINER, VERSION, commit_time};
use crate::failure::Failure;
use crate::shell;
use crate::workspace::Workspace;

/// Shells, by their names for `reclaim completions`, and the paths of their completions in Debian.
const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "usr/share/bash-completion/completions/reclaim"),
    ("zsh", "usr/share/zsh/vendor-completions/_reclaim"),
    ("fish", "usr/share/fish/vendor_completions.d/reclaim.fish"),
];

/// Files of the repository, and their paths in the package.
const COPIES: [(&str, &str); 12] = [
    (
        "deploy/systemd/reclaim.service",
        "usr/lib/systemd/system/reclaim.service",
    ),
    (
        "deploy/systemd/reclaim.socket",
        "usr/lib/systemd/system/reclaim.socket",
    ),
    (
        "deploy/systemd/reclaim-maintain.service",
        "usr/lib/systemd/system/reclaim-maintain.service",
    ),
    (
        "deploy/systemd/reclaim-maintain.timer",
        "usr/lib/systemd/system/reclaim-maintain.timer",
    ),
    ("deploy/debian/config.toml", "etc/reclaim/config.toml"),
    ("deploy/debian/copyright", "usr/share/doc/reclaim/copyright"),
    (
        "deploy/grafana/reclaim.json",
        "usr/share/doc/reclaim/grafana/reclaim.json",
    ),
    (
        "deploy/prometheus/reclaim.rules.yaml",
        "usr/share/doc/reclaim/prometheus/reclaim.rules.yaml",
    ),
    (
        "docs/configuration.md",
        "usr/share/doc/reclaim/configuration.md",
    ),
    ("docs/operations.md", "usr/share/doc/reclaim/operations.md"),
    ("README.md", "usr/share/doc/reclaim/README.md"),
    ("CHANGELOG.md", "usr/share/doc/reclaim/changelog"),
];

/// Writes the files into `tree`, an empty directory.
pub(super) fn files(workspace: &Workspace, reclaim: &Path, tree: &Path) -> Result<(), Failure> {
    let installed = tree.join("usr/bin/reclaim");
    parent(&installed)?;
    // Symbols and debugging information are three quarters of the binary.
    shell::run(Command::new("strip").arg("-o").arg(&installed).arg(reclaim))?;
    mode(&installed, 0o755)?;
    for (from, to) in COPIES {
        let (from, to) = (workspace.root.join(from), tree.join(to));
        parent(&to)?;
        fs::copy(&from, &to).map_err(|error| Failure::file("copy", &from, &error))?;
        mode(&to, 0o644)?;
    }
    for (shell_name, path) in COMPLETIONS {
        let path = tree.join(path);
        parent(&path)?;
        let script = shell::read(Command::new(&installed).args(["completions", shell_name]))?;
        fs::write(&path, script).map_err(|error| Failure::file("write", &path, &error))?;
        mode(&path, 0o644)?;
    }
    let pages = tree.join("usr/share/man/man1");
    fs::create_dir_all(&pages).map_err(|error| Failure::file("create", &pages, &error))?;
    shell::run(Command::new(&installed).arg("man-pages").arg(&pages))?;
    changelog(
        workspace,
        &tree.join("usr/share/doc/reclaim/changelog.Debian"),
    )?;
    // Debian's policy: the best compression, without names and times.
    let mut compress = Command::new("gzip");
    compress.args(["-9", "-n", "--recursive"]).arg(&pages);
    for name in ["changelog", "changelog.Debian"] {
        compress.arg(tree.join("usr/share/doc/reclaim").join(name));
    }
    shell::run(&mut compress)
}

/// Writes the changelog of the Debian package.
fn changelog(workspace: &Workspace, path: &Path) -> Result<(), Failure> {
    let time = format!("@{}", commit_time(workspace));
    let date = shell::read(Command::new("date").args(["--utc", "--rfc-email", "--date", &time]))?;
    let text = format!(
        "reclaim ({VERSION}) unstable; urgency=medium\n\n  \
         * See changelog.gz for the changes.\n\n -- {MAINTAINER}  {date}"
    );
    fs::write(path, text).map_err(|error| Failure::file("write", path, &error))?;
    mode(path, 0o644)
}

fn parent(path: &Path) -> Result<(), Failure> {
    let parent = path.parent().unwrap_or(path);
    fs::create_dir_all(parent).map_err(|error| Failure::file("create", parent, &error))
}

fn mode(path: &Path, mode: u32) -> Result<(), Failure> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .map_err(|error| Failure::file("set the mode of", path, &error))
}
