//! `cargo xtask dist`: the Debian package, in `target/dist`.
//!
//! Manual pages and completions are written by the binary that is in the package. With `--check`
//! the package is installed, run and purged in a Debian that has nothing else.

mod check;
mod package;
mod snapshot;
mod stage;

use std::path::PathBuf;
use std::process::Command;

use crate::binaries::{self, NotCounted};
use crate::failure::Failure;
use crate::machine::{self, PROTOC};
use crate::shell;
use crate::steps::Steps;
use crate::workspace::Workspace;

/// That of the project, and the first package of it.
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "-1");

/// Who made the package. The project has no address.
const MAINTAINER: &str = "The developers of Reclaim <reclaim@localhost>";

/// Which binary is packed.
#[derive(Debug, Clone)]
enum Binary {
    Release,
    Debug,
    /// One that is there already: built elsewhere, for instance.
    There(PathBuf),
}

/// Builds the package, and checks it if asked to.
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
                let path = options.next();
                let path =
                    path.ok_or_else(|| Failure::new("--binary is not followed by a path"))?;
                binary = Binary::There(path.into());
            }
            other => {
                return Err(Failure::new(format!("no option `{other}` of `dist`"))
                    .hint("accepted are --debug, --binary PATH and --check"));
            }
        }
    }
    Ok((binary, is_checked))
}

/// Builds the binary and packs it with what belongs to it.
fn build(workspace: &Workspace, binary: &Binary) -> Result<PathBuf, Failure> {
    let reclaim = match binary {
        Binary::Release => release(workspace)?,
        Binary::Debug => binaries::build(workspace, NotCounted::Nothing)?.reclaim,
        Binary::There(path) => path.clone(),
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

/// When the commit was made, in seconds; zero outside of a repository.
fn commit_time(workspace: &Workspace) -> String {
    let mut log = Command::new("git");
    log.args(["log", "-1", "--format=%ct"])
        .current_dir(&workspace.root);
    let time = shell::read(&mut log).unwrap_or_default();
    let time = time.trim();
    if time.is_empty() { "0" } else { time }.to_owned()
}
