//! `cargo xtask dist`: the Debian package, in `target/dist`.
//!
//! The packaged binary writes the manual pages and completions. With `--check` the package is
//! installed, run and purged in a clean Debian.

mod check;
mod package;
mod snapshot;
mod stage;

use std::path::PathBuf;

use crate::binaries::{self, BuildScope};
use crate::failure::Failure;
use crate::machine::{self, PROTOC};
use crate::shell;
use crate::steps::Steps;
use crate::workspace::Workspace;

/// The binary to package.
#[derive(Debug, Clone)]
enum Binary {
    Release,
    Debug,
    /// An existing binary.
    Existing(PathBuf),
}

/// Builds the package, and checks it with `--check`.
pub(crate) fn run(workspace: &Workspace, options: &[&str]) -> Result<(), Failure> {
    let (binary, is_checked) = parse(options)?;
    machine::provide(&[PROTOC])?;
    let mut steps = Steps::default();
    let package = steps.step("Debian package", || build(workspace, &binary))?;
    if is_checked {
        check::run(workspace, &mut steps, &package)?;
    }
    steps.print_times();
    println!("\n{}", workspace.short(&package));
    Ok(())
}

fn parse(options: &[&str]) -> Result<(Binary, bool), Failure> {
    let mut binary = Binary::Release;
    let mut is_checked = false;
    let mut options = options.iter();
    while let Some(option) = options.next() {
        match *option {
            "--debug" => binary = Binary::Debug,
            "--check" => is_checked = true,
            "--binary" => {
                let path = options
                    .next()
                    .ok_or_else(|| Failure::new("--binary needs a path"))?;
                binary = Binary::Existing(path.into());
            }
            other => {
                return Err(Failure::new(format!("unknown option `{other}` of `dist`"))
                    .hint("the options are --debug, --binary PATH and --check"));
            }
        }
    }
    Ok((binary, is_checked))
}

/// Builds the binary and the package.
fn build(workspace: &Workspace, binary: &Binary) -> Result<PathBuf, Failure> {
    let reclaim = match binary {
        Binary::Release => release(workspace)?,
        Binary::Debug => binaries::build(workspace, BuildScope::Binaries)?.reclaim,
        Binary::Existing(path) => path.clone(),
    };
    let tree = workspace.empty_directory("dist/tree")?;
    stage::files(workspace, &reclaim, &tree)?;
    package::build(workspace, &tree)
}

fn release(workspace: &Workspace) -> Result<PathBuf, Failure> {
    let mut build = workspace.cargo(&["build", "--release", "--locked"]);
    shell::show_and_run(build.args(["--package", "reclaim-cli"]))?;
    Ok(workspace.target.join("release/reclaim"))
}
