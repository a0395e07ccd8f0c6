//! Builds a package again in another directory, and compares the two.

use std::fs;
use std::path::{Path, PathBuf};

use super::Profile;
use super::package::Stage;
use super::target::{Place, Target};
use crate::failure::Failure;
use crate::shell;
use crate::workspace::Workspace;

/// Copies the sources, builds the package for this machine from them, and compares it byte by byte
/// with the one in `packages`.
pub(super) fn check(
    workspace: &Workspace,
    profile: Profile,
    packages: &[PathBuf],
) -> Result<(), Failure> {
    let elsewhere = workspace.empty_directory("dist/elsewhere")?;
    let place = Place::create(workspace, "dist/elsewhere/copy", elsewhere.join("build"))?;
    let built = place.build(workspace, Target::native()?, profile)?;
    let stage = Stage::create(workspace, &place, &built)?;
    let again = stage.build(workspace, &place, &elsewhere)?;
    let name = again.file_name();
    let mut packages = packages.iter();
    let first = packages
        .find(|package| package.file_name() == name)
        .ok_or_else(|| Failure::new("this machine's package was not built"))?;
    let read = |path: &Path| fs::read(path).map_err(|error| Failure::file("read", path, &error));
    if read(first)? == read(&again)? {
        println!("the same, byte by byte: {}", workspace.short(first));
        return shell::remove_tree(&elsewhere);
    }
    let (first, again) = (workspace.short(first), workspace.short(&again));
    Err(Failure::new(format!("`{first}` and `{again}` differ"))
        .hint("diffoscope shows the differences"))
}
