//! Tools from crates.io.

use std::path::PathBuf;

use crate::failure::Failure;
use crate::shell;
use crate::workspace::Workspace;

/// A program that cargo can install.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tool {
    name: &'static str,
    /// The version to install if none is on `PATH`.
    version: &'static str,
}

/// Checks licences and sources of dependencies by `deny.toml`.
pub(crate) const DENY: Tool = Tool {
    name: "cargo-deny",
    version: "0.20.2",
};

/// Tests with mutated code.
pub(crate) const MUTANTS: Tool = Tool {
    name: "cargo-mutants",
    version: "27.1.0",
};

/// Returns the path of a tool. If it is not on `PATH`, it is installed below the target directory.
pub(crate) fn provide(workspace: &Workspace, tool: Tool) -> Result<PathBuf, Failure> {
    let Tool { name, version } = tool;
    if let Some(path) = shell::find(name) {
        return Ok(path);
    }
    let root = workspace.target.join("tools");
    let path = root.join("bin").join(name);
    if !path.is_file() {
        println!("{name} is missing: building it takes about two minutes, once");
        // A debug build takes a third of the time.
        let mut install = workspace.cargo(&["install", "--quiet", "--locked", "--debug"]);
        install.args([name, "--version", version]);
        install.arg("--root").arg(&root);
        install.arg("--target-dir").arg(root.join("build"));
        shell::show_and_run(&mut install)?;
    }
    Ok(path)
}
