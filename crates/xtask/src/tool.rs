//! Tools of crates.io that the checks need.

use std::path::PathBuf;

use crate::failure::Failure;
use crate::shell;
use crate::workspace::Workspace;

/// A program that cargo can build.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tool {
    name: &'static str,
    /// The version to build where there is none.
    version: &'static str,
}

/// Licences and sources of all that we build from, by `deny.toml`.
pub(crate) const DENY: Tool = Tool {
    name: "cargo-deny",
    version: "0.20.2",
};

/// Puts faults into code.
pub(crate) const MUTANTS: Tool = Tool {
    name: "cargo-mutants",
    version: "27.1.0",
};

/// Returns where the tool is on this machine, or else builds one below the target directory.
pub(crate) fn provide(workspace: &Workspace, tool: Tool) -> Result<PathBuf, Failure> {
    let Tool { name, version } = tool;
    if let Some(path) = shell::find(name) {
        return Ok(path);
    }
    let root = workspace.target.join("tools");
    let path = root.join("bin").join(name);
    if !path.is_file() {
        println!("{name} is missing: building it takes about two minutes, once");
        // Built for debugging: that takes a third of the time, and they run as well.
        let mut install = workspace.cargo(&["install", "--quiet", "--locked", "--debug"]);
        install.args([name, "--version", version]);
        install.arg("--root").arg(&root);
        install.arg("--target-dir").arg(root.join("build"));
        shell::show_and_run(&mut install)?;
    }
    Ok(path)
}
