//! What the binary is made of, for operators: a list in the format `CycloneDX`, and the notices of the
//! licences.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::package::commit_time;
use super::target::{Place, Target};
use crate::failure::Failure;
use crate::shell;
use crate::tool::{self, ABOUT, CYCLONEDX};
use crate::workspace::Workspace;

/// The name of the list.
pub(super) const LIST: &str = "reclaim.cdx.json";

/// The name of the notices.
pub(super) const NOTICES: &str = "third-party-notices.txt";

/// Writes the list of the packages that are linked for a target.
pub(super) fn list(
    workspace: &Workspace,
    place: &Place,
    target: Target,
    directory: &Path,
) -> Result<(), Failure> {
    let mut list = Command::new(tool::provide(workspace, CYCLONEDX)?);
    list.env("SOURCE_DATE_EPOCH", commit_time(workspace));
    list.current_dir(&place.sources);
    list.args(["cyclonedx", "--quiet", "--format", "json"]);
    list.args(["--spec-version", "1.5", "--no-build-deps", "--all-features"]);
    list.args(["--target", &target.triple()]);
    shell::run(list.args(["--override-filename", "reclaim.cdx"]))?;
    let made = place.sources.join("crates/cli").join(LIST);
    let text = fs::read_to_string(&made).map_err(|error| Failure::file("read", &made, &error))?;
    // The packages of the workspace have its path as their origin.
    let text = text.replace(&place.sources.display().to_string(), "/reclaim");
    let path = directory.join(LIST);
    fs::write(&path, text).map_err(|error| Failure::file("write", &path, &error))
}

/// Writes the licences of all packages that are linked, with their copyright notices.
pub(super) fn notices(
    workspace: &Workspace,
    place: &Place,
    directory: &Path,
) -> Result<(), Failure> {
    let mut about = Command::new(tool::provide(workspace, ABOUT)?);
    about.current_dir(&place.sources);
    about.args(["generate", "--locked", "--fail", "--all-features"]);
    about.args(["--manifest-path", "crates/cli/Cargo.toml"]);
    about.arg("--output-file").arg(directory.join(NOTICES));
    shell::run(about.arg("deploy/third-party-notices.hbs"))
}
