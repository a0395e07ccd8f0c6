//! A clean Debian, copied for every use from one that debootstrap creates once.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::debian;
use crate::failure::Failure;
use crate::machine::{self, DEBOOTSTRAP};
use crate::shell;
use crate::workspace::Workspace;

/// A shell script that mounts the filesystems that programs expect, and executes a program. The
/// arguments are the root, the program and its arguments. It runs in its own mount namespace, so that
/// no mount outlives it. Container runtimes need `/` to be a mount.
const ENTER: &str = "mount --bind \"$0\" \"$0\" && mount -t proc proc \"$0/proc\" && mount --rbind /sys \"$0/sys\" && \
                     mount --rbind /dev \"$0/dev\" && exec chroot \"$0\" \"$@\"";

/// A system in a directory.
#[derive(Debug)]
pub(crate) struct Chroot {
    root: PathBuf,
}

impl Chroot {
    /// Creates a clean system in a directory below `target/`. It is of this machine's release, so that
    /// it has the C library of what is built here.
    pub(crate) fn create(workspace: &Workspace, directory: &str) -> Result<Self, Failure> {
        machine::provide(&[DEBOOTSTRAP])?;
        let suite = release()?;
        let name = format!("dist/debian-{suite}");
        let base = workspace.target.join(name);
        if !base.exists() {
            bootstrap(workspace, &suite, &base)?;
        }
        let root = workspace.empty_directory(directory)?;
        shell::run(Command::new("cp").arg("-a").arg(base.join(".")).arg(&root))?;
        Ok(Self { root })
    }

    /// Returns the root directory of the system.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Returns a command that runs in the system, without this machine's environment.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", ENTER]);
        command.arg(&self.root).arg(program).env_clear();
        command.env("PATH", "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command.env("DEBIAN_FRONTEND", "noninteractive");
        command
    }

    /// Runs a command in the system, and returns its output.
    pub(crate) fn run(&self, program: &str, arguments: &[&str]) -> Result<String, Failure> {
        let mut command = self.command(program);
        shell::read(command.args(arguments))
    }
}

fn bootstrap(workspace: &Workspace, suite: &str, base: &Path) -> Result<(), Failure> {
    println!("Creating a Debian {suite}, once");
    let mirror = debian::mirror()?;
    let unfinished = workspace.empty_directory("dist/debian-unfinished")?;
    let mut bootstrap = Command::new("debootstrap");
    bootstrap
        .args(["--variant=minbase", suite])
        .arg(&unfinished)
        .arg(mirror);
    // It prints hundreds of lines, and writes errors to its log.
    shell::read(&mut bootstrap).map_err(|failure| {
        let log = unfinished.join("debootstrap/debootstrap.log");
        failure.hint(format!("see {}", log.display()))
    })?;
    fs::rename(&unfinished, base).map_err(|error| Failure::file("rename", &unfinished, &error))
}

/// Returns the name of the Debian release of this machine.
fn release() -> Result<String, Failure> {
    let path = Path::new("/etc/os-release");
    let text = fs::read_to_string(path).map_err(|error| Failure::file("read", path, &error))?;
    text.lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .map(|name| name.trim_matches('"').to_owned())
        .ok_or_else(|| Failure::new("`/etc/os-release` does not name a release of Debian"))
}
