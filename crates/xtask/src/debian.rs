//! Newer daemons from Debian's other suites, unpacked below the target directory and never
//! installed.
//!
//! For every suite `target/debian/<suite>` holds an apt of its own (`sources.list`, `lists`,
//! `cache`, an empty `status`) and `root`, where packages are unpacked. The mirror, proxies and
//! keys are the machine's: what its apt trusts and reaches, and nothing else.

mod apt;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::Failure;
use crate::shell;
use crate::workspace::Workspace;
use apt::Apt;
pub(crate) use apt::mirror;

/// A suite of Debian, and why it is looked at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Suite {
    pub(crate) name: &'static str,
}

/// Debian 13, with the last 1.x of containerd.
const TRIXIE: Suite = Suite { name: "trixie" };

/// Debian unstable, with a 2.x.
pub(crate) const SID: Suite = Suite { name: "sid" };

/// The suites whose containerd the tests run against, besides the machine's own.
pub(crate) const SUITES: [Suite; 2] = [TRIXIE, SID];

/// A package, and the program in it that is wanted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Package {
    name: &'static str,
    daemon: &'static str,
    /// Whether the program answers `--version`. The package's version is taken otherwise.
    tells_version: bool,
}

/// containerd. Its package needs nothing newer than the C library of Debian 12.
pub(crate) const CONTAINERD: Package = Package {
    name: "containerd",
    daemon: "usr/bin/containerd",
    tells_version: true,
};

/// Docker's daemon.
pub(crate) const DOCKERD: Package = Package {
    name: "docker.io",
    daemon: "usr/sbin/dockerd",
    tells_version: true,
};

/// The `docker` command.
pub(crate) const DOCKER: Package = Package {
    name: "docker-cli",
    daemon: "usr/bin/docker",
    tells_version: true,
};

/// What checks Prometheus's rules.
pub(crate) const PROMTOOL: Package = Package {
    name: "promtool",
    daemon: "usr/bin/promtool",
    tells_version: true,
};

/// What builds manifests of Kubernetes.
pub(crate) const KUSTOMIZE: Package = Package {
    name: "kustomize",
    daemon: "usr/bin/kustomize",
    tells_version: false,
};

/// When to ask the mirror.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refresh {
    /// Only for what is not there.
    Never,
    /// Whether it has a newer version.
    IfNewer,
    /// For everything again.
    Always,
}

/// A daemon that is there and runs.
#[derive(Debug)]
pub(crate) struct Daemon {
    pub(crate) version: String,
    pub(crate) path: PathBuf,
}

/// `cargo xtask containerds`.
pub(crate) fn containerds(workspace: &Workspace, refresh: Refresh) -> Result<(), Failure> {
    fetch_and_tell(workspace, &SUITES, CONTAINERD, refresh)
}

/// `cargo xtask dockerd`.
pub(crate) fn dockerd(workspace: &Workspace, refresh: Refresh) -> Result<(), Failure> {
    fetch_and_tell(workspace, &[SID], DOCKERD, refresh)?;
    fetch_and_tell(workspace, &[SID], DOCKER, refresh)
}

/// Fetches from every suite, also when one of them fails, and prints what came of each.
fn fetch_and_tell(
    workspace: &Workspace,
    suites: &[Suite],
    package: Package,
    refresh: Refresh,
) -> Result<(), Failure> {
    let mut failed = Vec::new();
    for suite in suites {
        match fetch(workspace, suite, package, refresh) {
            Ok(Daemon { version, path }) => println!("{version:10}  {}", path.display()),
            Err(failure) => {
                eprintln!("{failure}");
                failed.push(suite.name);
            }
        }
    }
    if failed.is_empty() {
        return Ok(());
    }
    let suites = failed.join(" and ");
    Err(Failure::new(format!("no `{}` from {suites}", package.name)))
}

/// Brings one package of one suite, unless it is there, and sees that its daemon runs.
pub(crate) fn fetch(
    workspace: &Workspace,
    suite: &Suite,
    package: Package,
    refresh: Refresh,
) -> Result<Daemon, Failure> {
    let directory = workspace.target.join("debian").join(suite.name);
    let root = directory.join("root");
    let path = root.join(package.daemon);
    // Written last, so that it is there only if all of the package is.
    let stamp = directory.join(format!("{}.version", package.name));
    let unpacked = fs::read_to_string(&stamp).ok();
    if unpacked.is_none() || refresh != Refresh::Never {
        let apt = Apt::set_up(&directory, suite.name)?;
        let newest = apt.newest(package.name)?;
        if unpacked.as_ref() != Some(&newest) || refresh == Refresh::Always {
            if unpacked.is_some() {
                let removed = fs::remove_file(&stamp);
                removed.map_err(|error| file_failure("remove", &stamp, &error))?;
            }
            println!("Fetching {} {newest} from {}", package.name, suite.name);
            apt.unpack(package.name, &newest, &root)?;
            let written = fs::write(&stamp, newest);
            written.map_err(|error| file_failure("write", &stamp, &error))?;
        }
    }
    let version = if package.tells_version {
        version(&path)?
    } else {
        let newest = fs::read_to_string(&stamp);
        let newest = newest.map_err(|error| file_failure("read", &stamp, &error))?;
        upstream_version(&newest).unwrap_or(newest)
    };
    Ok(Daemon { version, path })
}

/// Returns the containerd that is installed.
pub(crate) fn installed_containerd() -> Result<Daemon, Failure> {
    let path = shell::find("containerd").ok_or_else(|| Failure::new("no `containerd` on PATH"))?;
    let version = version(&path)?;
    Ok(Daemon { version, path })
}

/// Asks a daemon for its version, and returns the part that upstream gave it.
fn version(daemon: &Path) -> Result<String, Failure> {
    let words = shell::read(Command::new(daemon).arg("--version"))?;
    upstream_version(&words).ok_or_else(|| {
        let words = words.trim();
        Failure::new(format!("`{}` tells no version: {words}", daemon.display()))
    })
}

fn upstream_version(words: &str) -> Option<String> {
    let mut words = words.split_whitespace();
    let version = words.find(|word| word.starts_with(|it: char| it.is_ascii_digit()))?;
    let version = version.split(['~', '+', ',']).next()?;
    Some(version.to_owned())
}

fn file_failure(verb: &str, path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(format!("{verb} `{}`: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_daemons_tell() {
        for (words, version) in [
            (
                "containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1",
                "1.6.20",
            ),
            (
                "containerd github.com/containerd/containerd/v2 2.1.9+unknown \n",
                "2.1.9",
            ),
            ("Docker version 28.5.2+dfsg4, build 3ef3c07\n", "28.5.2"),
        ] {
            assert_eq!(upstream_version(words).as_deref(), Some(version));
        }
        assert_eq!(upstream_version("no version here"), None);
    }
}
