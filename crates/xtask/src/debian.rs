//! Newer daemons from other suites of Debian, unpacked below the target directory and never
//! installed.
//!
//! `target/debian/<suite>` has a separate apt for each suite (`sources.list`, `lists`, `cache`, an
//! empty `status`) and `root`, where packages are unpacked. The mirror, proxies and keys are those of
//! the machine's apt.

mod apt;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::Failure;
use crate::shell;
use crate::workspace::Workspace;
use apt::Apt;
pub(crate) use apt::mirror;

/// A suite of Debian.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Suite {
    pub(crate) name: &'static str,
}

/// Debian 13, with the last 1.x of containerd.
pub(crate) const TRIXIE: Suite = Suite { name: "trixie" };

/// Debian unstable, with a 2.x.
pub(crate) const SID: Suite = Suite { name: "sid" };

/// The suites whose containerd the tests run with, in addition to the machine's.
pub(crate) const SUITES: [Suite; 2] = [TRIXIE, SID];

/// A package, and one of its programs or files.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Package {
    name: &'static str,
    program: &'static str,
    /// Whether the program supports `--version`. Otherwise the version of the package is used.
    has_version_option: bool,
}

/// containerd. The package runs with the C library of Debian 12.
pub(crate) const CONTAINERD: Package = Package {
    name: "containerd",
    program: "usr/bin/containerd",
    has_version_option: true,
};

/// Docker's daemon.
pub(crate) const DOCKERD: Package = Package {
    name: "docker.io",
    program: "usr/sbin/dockerd",
    has_version_option: true,
};

/// The `docker` command.
pub(crate) const DOCKER: Package = Package {
    name: "docker-cli",
    program: "usr/bin/docker",
    has_version_option: true,
};

/// The command of `BuildKit`, which builds with the one in [`DOCKERD`].
pub(crate) const BUILDX: Package = Package {
    name: "docker-buildx",
    program: "usr/libexec/docker/cli-plugins/docker-buildx",
    has_version_option: false,
};

/// The reference registry of images.
pub(crate) const DOCKER_REGISTRY: Package = Package {
    name: "docker-registry",
    program: "usr/bin/docker-registry",
    has_version_option: true,
};

/// The checker of Prometheus's rules.
pub(crate) const PROMTOOL: Package = Package {
    name: "promtool",
    program: "usr/bin/promtool",
    has_version_option: true,
};

/// The renderer of Kubernetes manifests.
pub(crate) const KUSTOMIZE: Package = Package {
    name: "kustomize",
    program: "usr/bin/kustomize",
    has_version_option: false,
};

/// Root certificates, as separate files.
pub(crate) const CA_CERTIFICATES: Package = Package {
    name: "ca-certificates",
    program: "usr/share/ca-certificates/mozilla/ISRG_Root_X1.crt",
    has_version_option: false,
};

/// The database of time zones.
pub(crate) const TZDATA: Package = Package {
    name: "tzdata",
    program: "usr/share/zoneinfo/tzdata.zi",
    has_version_option: false,
};

/// When to download from the mirror.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refresh {
    /// Only what is missing.
    Never,
    /// What is missing or has a newer version.
    IfNewer,
    /// Everything, again.
    Always,
}

/// A program that was fetched or is installed.
#[derive(Debug)]
pub(crate) struct Daemon {
    pub(crate) version: String,
    pub(crate) path: PathBuf,
}

/// `cargo xtask containerds`.
pub(crate) fn containerds(workspace: &Workspace, refresh: Refresh) -> Result<(), Failure> {
    fetch_and_print(workspace, &SUITES, CONTAINERD, refresh)
}

/// `cargo xtask dockerd`.
pub(crate) fn dockerd(workspace: &Workspace, refresh: Refresh) -> Result<(), Failure> {
    fetch_and_print(workspace, &[SID], DOCKERD, refresh)?;
    fetch_and_print(workspace, &[SID], DOCKER, refresh)?;
    fetch_and_print(workspace, &[SID], BUILDX, refresh)?;
    fetch_and_print(workspace, &[SID], DOCKER_REGISTRY, refresh)
}

/// Fetches a package from each suite, even after a failure, and prints the results.
fn fetch_and_print(
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
    Err(Failure::new(format!(
        "cannot fetch `{}` from {suites}",
        package.name
    )))
}

/// Fetches a package of a suite by `refresh`, and checks that its program runs.
pub(crate) fn fetch(
    workspace: &Workspace,
    suite: &Suite,
    package: Package,
    refresh: Refresh,
) -> Result<Daemon, Failure> {
    let directory = workspace.target.join("debian").join(suite.name);
    let root = directory.join("root");
    let path = root.join(package.program);
    // Written last, so that it exists only if the package is complete.
    let stamp = directory.join(format!("{}.version", package.name));
    let unpacked = fs::read_to_string(&stamp).ok();
    if unpacked.is_none() || refresh != Refresh::Never {
        let apt = Apt::set_up(&directory, suite.name)?;
        let newest = apt.newest(package.name)?;
        if unpacked.as_ref() != Some(&newest) || refresh == Refresh::Always {
            if unpacked.is_some() {
                fs::remove_file(&stamp).map_err(|error| Failure::file("remove", &stamp, &error))?;
            }
            println!("Fetching {} {newest} from {}", package.name, suite.name);
            apt.unpack(package.name, &newest, &root)?;
            fs::write(&stamp, newest).map_err(|error| Failure::file("write", &stamp, &error))?;
        }
    }
    let version = if package.has_version_option {
        version(&path)?
    } else {
        let packaged =
            fs::read_to_string(&stamp).map_err(|error| Failure::file("read", &stamp, &error))?;
        upstream_version(&packaged).unwrap_or(packaged)
    };
    Ok(Daemon { version, path })
}

/// Fetches those packages of a suite that are missing. Returns the directory into which all packages of
/// the suite are unpacked.
pub(crate) fn fetch_missing(
    workspace: &Workspace,
    suite: &Suite,
    packages: &[&str],
) -> Result<PathBuf, Failure> {
    let directory = workspace.target.join("debian").join(suite.name);
    let root = directory.join("root");
    // Written last, so that it exists only if the package is complete.
    let stamp = |package: &str| directory.join(format!("{package}.version"));
    let is_missing = |package: &&&str| !stamp(package).exists();
    let missing: Vec<&&str> = packages.iter().filter(is_missing).collect();
    if missing.is_empty() {
        return Ok(root);
    }
    let apt = Apt::set_up(&directory, suite.name)?;
    for package in missing {
        let newest = apt.newest(package)?;
        println!("Fetching {package} {newest} from {}", suite.name);
        apt.unpack(package, &newest, &root)?;
        let stamp = stamp(package);
        fs::write(&stamp, newest).map_err(|error| Failure::file("write", &stamp, &error))?;
    }
    Ok(root)
}

/// Returns the installed containerd.
pub(crate) fn installed_containerd() -> Result<Daemon, Failure> {
    let path =
        shell::find("containerd").ok_or_else(|| Failure::new("`containerd` is not on PATH"))?;
    let version = version(&path)?;
    Ok(Daemon { version, path })
}

/// Returns the upstream part of the version that a program prints.
fn version(program: &Path) -> Result<String, Failure> {
    let output = shell::read(Command::new(program).arg("--version"))?;
    upstream_version(&output).ok_or_else(|| {
        let output = output.trim();
        Failure::new(format!(
            "no version in the output of `{}`: {output}",
            program.display()
        ))
    })
}

fn upstream_version(output: &str) -> Option<String> {
    output
        .split_whitespace()
        .find(|word| word.starts_with(|first: char| first.is_ascii_digit()))?
        .split(['~', '+', ','])
        .next()
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_upstream_version() {
        for (output, version) in [
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
            assert_eq!(upstream_version(output).as_deref(), Some(version));
        }
        assert_eq!(upstream_version("no version here"), None);
    }
}
