//! Static binaries, which run on every Linux of a processor. zig is the linker, and the compiler of C,
//! for all of them.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Profile;
use crate::failure::Failure;
use crate::machine::{self, DEBIAN_RUSTC, PROTOC, QEMU, RUST_SOURCE};
use crate::python;
use crate::shell;
use crate::tool::{self, AUDITABLE};
use crate::workspace::Workspace;

/// zig, and the cargo command that uses it.
const ZIG: [&str; 2] = ["cargo-zigbuild==0.24.1", "ziglang==0.15.2"];

/// A processor for which there are releases.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target {
    /// Its name in Rust and Linux.
    pub(super) processor: &'static str,
    /// Its name in Debian, and in container images.
    pub(super) debian: &'static str,
}

/// Servers with x86 and Arm.
pub(super) const TARGETS: [Target; 2] = [
    Target {
        processor: "x86_64",
        debian: "amd64",
    },
    Target {
        processor: "aarch64",
        debian: "arm64",
    },
];

/// A binary of `reclaim`.
#[derive(Debug)]
pub(super) struct Built {
    pub(super) target: Target,
    pub(super) binary: PathBuf,
}

/// A place where binaries and packages are built: the files of the repository, and what is made of them.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) sources: PathBuf,
    pub(super) target: PathBuf,
}

impl Target {
    /// Returns the target of this machine.
    pub(super) fn native() -> Result<Self, Failure> {
        let mut targets = TARGETS.into_iter();
        targets.find(|target| target.is_native()).ok_or_else(|| {
            let processor = env::consts::ARCH;
            Failure::new(format!("there are no releases for `{processor}`"))
        })
    }

    /// Whether its binaries run on this machine without an emulator.
    pub(super) fn is_native(self) -> bool {
        self.processor == env::consts::ARCH
    }

    /// Returns Rust's name of the target, with a C library that can be linked statically.
    pub(super) fn triple(self) -> String {
        format!("{}-unknown-linux-musl", self.processor)
    }

    /// Returns a command that runs a binary of the target, with an emulator if necessary.
    pub(super) fn command(self, binary: &Path) -> Result<Command, Failure> {
        if self.is_native() {
            return Ok(Command::new(binary));
        }
        machine::provide(&[QEMU])?;
        let mut command = Command::new(format!("qemu-{}-static", self.processor));
        command.arg(binary);
        Ok(command)
    }
}

impl Place {
    /// Copies the files of the repository, also those that are not committed. The copy is in `directory`
    /// below the target directory.
    pub(super) fn create(
        workspace: &Workspace,
        directory: &str,
        target: PathBuf,
    ) -> Result<Self, Failure> {
        let sources = workspace.empty_directory(directory)?;
        let script = "git ls-files -z --cached --others --exclude-standard \
                      | tar --create --null --files-from=- | tar --extract --directory \"$0\"";
        let mut copy = Command::new("sh");
        copy.args(["-c", script]).arg(&sources);
        shell::run(copy.current_dir(&workspace.root))?;
        Ok(Self { sources, target })
    }

    /// Builds a binary. The result depends on the sources and tools, but not on directories, users or
    /// the time.
    pub(super) fn build(
        &self,
        workspace: &Workspace,
        target: Target,
        profile: Profile,
    ) -> Result<Built, Failure> {
        machine::provide(&[PROTOC])?;
        let auditable = tool::provide(workspace, AUDITABLE)?;
        let zig = python::provide(workspace, &ZIG)?;
        let triple = target.triple();
        let mut build = shell::cargo();
        build.current_dir(&self.sources);
        build.env("CARGO_TARGET_DIR", &self.target);
        let mut path: Vec<PathBuf> = vec![zig.join("bin")];
        path.extend(auditable.parent().map(Path::to_owned));
        path.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()));
        let path = env::join_paths(path).map_err(|error| {
            Failure::new(format!("invalid path of the target directory: {error}"))
        })?;
        build.env("PATH", path).env("PYTHONPATH", &zig);
        // For `trim-paths` and `build-std`, which are not stable yet.
        build.env("RUSTC_BOOTSTRAP", "1");
        build.args(["auditable", "zigbuild", "--locked", "-Ztrim-paths"]);
        let name = profile.name();
        build.args([
            "--profile",
            name,
            "--package",
            "reclaim-cli",
            "--all-features",
        ]);
        // Symbols are three quarters of the binary.
        for setting in ["trim-paths=\"all\"", "strip=true"] {
            build.args(["--config", &format!("profile.{name}.{setting}")]);
        }
        build.args(["--target", &triple]);
        if has_standard_library(&triple) {
            build.env("RUSTFLAGS", "");
        } else {
            machine::provide(&[DEBIAN_RUSTC, RUST_SOURCE]).map_err(|failure| {
                failure.hint(format!("with rustup, run: rustup target add {triple}"))
            })?;
            build
                .env("RUSTC", DEBIAN_RUSTC.program)
                .arg("-Zbuild-std=std");
            // zig has the startup code of musl, which a target of rustup would contain.
            build.env("RUSTFLAGS", "-Clink-self-contained=no");
        }
        shell::show_and_run(&mut build)?;
        let directory = self.target.join(triple).join(profile.directory());
        let binary = directory.join("reclaim");
        check_dependencies(&binary)?;
        Ok(Built { target, binary })
    }
}

/// Checks that the binary contains the list of its dependencies, which scanners read.
fn check_dependencies(binary: &Path) -> Result<(), Failure> {
    const SECTION: &[u8] = b".dep-v0\0";
    let bytes = fs::read(binary).map_err(|error| Failure::file("read", binary, &error))?;
    if bytes.windows(SECTION.len()).any(|window| window == SECTION) {
        return Ok(());
    }
    let binary = binary.display();
    Err(Failure::new(format!(
        "`{binary}` does not contain the list of its dependencies"
    )))
}

/// Whether rustc has the standard library of the target. rustup installs it on request.
fn has_standard_library(triple: &str) -> bool {
    let mut rustc = Command::new("rustc");
    let found = shell::read(rustc.args(["--print", "target-libdir", "--target", triple]));
    found.is_ok_and(|directory| Path::new(directory.trim()).is_dir())
}
