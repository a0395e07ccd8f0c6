//! Licences and sources of all that we build from: `cargo deny`, by `deny.toml`.

use std::path::PathBuf;

use crate::failure::Failure;
use crate::shell;
use crate::workspace::Workspace;

/// The version to build where there is none. Built for debugging, because that takes a third of
/// the time and the check takes a second either way.
const VERSION: &str = "0.20.2";

/// Returns the `cargo-deny` of this machine, or else builds one below the target directory.
pub(crate) fn provide(workspace: &Workspace) -> Result<PathBuf, Failure> {
    if let Some(path) = shell::find("cargo-deny") {
        return Ok(path);
    }
    let root = workspace.target.join("tools");
    let path = root.join("bin/cargo-deny");
    if !path.is_file() {
        println!("cargo-deny is missing: building it takes about two minutes, once");
        let mut install = workspace.cargo(&["install", "--quiet", "--locked", "--debug"]);
        install.args(["cargo-deny", "--version", VERSION]);
        install.arg("--root").arg(&root);
        install.arg("--target-dir").arg(root.join("build"));
        shell::show_and_run(&mut install)?;
    }
    Ok(path)
}
