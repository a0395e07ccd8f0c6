//! The files of the package, where they will be installed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use super::{MAINTAINER, VERSION};
use crate::failure::Failure;
use crate::shell;
use crate::workspace::Workspace;

/// For shells: the name that `reclaim completions` knows, and where Debian has such files.
const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "usr/share/bash-completion/completions/reclaim"),
    ("zsh", "usr/share/zsh/vendor-completions/_reclaim"),
    ("fish", "usr/share/fish/vendor_completions.d/reclaim.fish"),
];

/// What is copied: from the repository, and to where.
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

/// Fills `tree`, a directory that has nothing in it.
pub(super) fn files(workspace: &Workspace, reclaim: &Path, tree: &Path) -> Result<(), Failure> {
    let installed = tree.join("usr/bin/reclaim");
    parent(&installed)?;
    // Without symbols and debugging information, which are three quarters of it.
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
    fs::create_dir_all(&pages).map_err(|error| Failure::file("make", &pages, &error))?;
    shell::run(Command::new(&installed).arg("man-pages").arg(&pages))?;
    changelog(
        workspace,
        &tree.join("usr/share/doc/reclaim/changelog.Debian"),
    )?;
    // As Debian's policy has it: the best compression, without a name and a time in it.
    let mut compress = Command::new("gzip");
    compress.args(["-9", "-n", "--recursive"]).arg(&pages);
    for name in ["changelog", "changelog.Debian"] {
        compress.arg(tree.join("usr/share/doc/reclaim").join(name));
    }
    shell::run(&mut compress)
}

/// Writes what Debian wants to know of the package itself.
fn changelog(workspace: &Workspace, path: &Path) -> Result<(), Failure> {
    let time = format!("@{}", super::commit_time(workspace));
    let date = shell::read(Command::new("date").args(["--utc", "--rfc-email", "--date", &time]))?;
    let text = format!(
        "reclaim ({VERSION}) unstable; urgency=medium\n\n  \
         * What is new is in changelog.gz.\n\n -- {MAINTAINER}  {date}"
    );
    fs::write(path, text).map_err(|error| Failure::file("write", path, &error))?;
    mode(path, 0o644)
}

fn parent(path: &Path) -> Result<(), Failure> {
    let parent = path.parent().unwrap_or(path);
    fs::create_dir_all(parent).map_err(|error| Failure::file("make", parent, &error))
}

fn mode(path: &Path, mode: u32) -> Result<(), Failure> {
    let set = fs::set_permissions(path, fs::Permissions::from_mode(mode));
    set.map_err(|error| Failure::file("set the mode of", path, &error))
}
