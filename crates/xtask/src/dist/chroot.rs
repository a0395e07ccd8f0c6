//! A Debian of its own, made anew for every check from one that debootstrap has made once.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::debian;
use crate::failure::Failure;
use crate::machine::{self, DEBOOTSTRAP};
use crate::shell;
use crate::workspace::Workspace;

/// A system below a directory, with `/proc` and an empty `/run`. Unmounted when it is dropped.
#[derive(Debug)]
pub(super) struct Chroot {
    root: PathBuf,
}

impl Chroot {
    /// Makes a clean one of this machine's release, whose C library is that of what is built here.
    pub(super) fn make(workspace: &Workspace) -> Result<Self, Failure> {
        machine::provide(&[DEBOOTSTRAP])?;
        let suite = release()?;
        let base = workspace
            .target
            .join("dist")
            .join(format!("debian-{suite}"));
        if !base.exists() {
            bootstrap(workspace, &suite, &base)?;
        }
        let root = super::directory(workspace, "chroot")?;
        shell::run(Command::new("cp").arg("-a").arg(base.join(".")).arg(&root))?;
        let proc = root.join("proc");
        shell::run(
            Command::new("mount")
                .args(["-t", "proc", "proc"])
                .arg(&proc),
        )?;
        Ok(Self { root })
    }

    /// Returns the directory that is `/` in there.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Returns a command that runs in there, with nothing of this machine's environment.
    pub(super) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("chroot");
        command.arg(&self.root).arg(program).env_clear();
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.env("DEBIAN_FRONTEND", "noninteractive");
        command
    }

    /// Runs a command in there.
    pub(super) fn run(&self, program: &str, arguments: &[&str]) -> Result<String, Failure> {
        let mut command = self.command(program);
        shell::read(command.args(arguments))
    }
}

impl Drop for Chroot {
    fn drop(&mut self) {
        let unmounted = shell::run(Command::new("umount").arg(self.root.join("proc")));
        if let Err(failure) = unmounted {
            eprintln!("{failure}");
        }
    }
}

fn bootstrap(workspace: &Workspace, suite: &str, base: &Path) -> Result<(), Failure> {
    println!("Making a Debian {suite}, once");
    let mirror = debian::mirror()?;
    let unfinished = super::directory(workspace, "debian-unfinished")?;
    let mut bootstrap = Command::new("debootstrap");
    bootstrap
        .args(["--variant=minbase", suite])
        .arg(&unfinished)
        .arg(mirror);
    // Hundreds of lines; of what fails, its last words are in the file that it writes.
    shell::read(&mut bootstrap).map_err(|failure| {
        let log = unfinished.join("debootstrap/debootstrap.log");
        failure.hint(format!("see {}", log.display()))
    })?;
    let moved = fs::rename(&unfinished, base);
    moved.map_err(|error| Failure::file("move", &unfinished, &error))
}

/// Returns the name of the Debian that this machine is.
fn release() -> Result<String, Failure> {
    let path = Path::new("/etc/os-release");
    let text = fs::read_to_string(path).map_err(|error| Failure::file("read", path, &error))?;
    let name = text
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    let name = name.map(|it| it.trim_matches('"').to_owned());
    name.ok_or_else(|| Failure::new("`/etc/os-release` names no release of Debian"))
}
