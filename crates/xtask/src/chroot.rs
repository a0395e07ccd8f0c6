//! A Debian of its own, made anew for every use from one that debootstrap has made once.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::debian;
use crate::failure::Failure;
use crate::machine::{self, DEBOOTSTRAP};
use crate::shell;
use crate::workspace::Workspace;

/// Mounts what programs expect, and becomes the program. The arguments are the root, the program
/// and its arguments. It runs in a mount namespace that ends with it, whatever it ends by, so that
/// nothing is left to be unmounted. What begins containers in there wants `/` to be a mount.
const ENTER: &str = "mount --bind \"$0\" \"$0\" && mount -t proc proc \"$0/proc\" && mount --rbind /sys \"$0/sys\" && \
                     mount --rbind /dev \"$0/dev\" && exec chroot \"$0\" \"$@\"";

/// A system below a directory.
#[derive(Debug)]
pub(crate) struct Chroot {
    root: PathBuf,
}

impl Chroot {
    /// Makes a clean one of this machine's release, whose C library is that of what is built here.
    /// It is below `target/` in a directory of that name.
    pub(crate) fn make(workspace: &Workspace, directory: &str) -> Result<Self, Failure> {
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

    /// Returns the directory that is `/` in there.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Returns a command that runs in there, with nothing of this machine's environment.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", ENTER]);
        command.arg(&self.root).arg(program).env_clear();
        command.env("PATH", "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command.env("DEBIAN_FRONTEND", "noninteractive");
        command
    }

    /// Runs a command in there.
    pub(crate) fn run(&self, program: &str, arguments: &[&str]) -> Result<String, Failure> {
        let mut command = self.command(program);
        shell::read(command.args(arguments))
    }
}

fn bootstrap(workspace: &Workspace, suite: &str, base: &Path) -> Result<(), Failure> {
    println!("Making a Debian {suite}, once");
    let mirror = debian::mirror()?;
    let unfinished = workspace.empty_directory("dist/debian-unfinished")?;
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
