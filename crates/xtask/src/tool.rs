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
    /// Options for its installation.
    options: &'static [&'static str],
}

/// A debug build takes a third of the time.
const DEBUG: &[&str] = &["--debug"];

/// Checks licences and sources of dependencies by `deny.toml`.
pub(crate) const DENY: Tool = Tool {
    name: "cargo-deny",
    version: "0.20.2",
    options: DEBUG,
};

/// Builds Debian packages.
pub(crate) const CARGO_DEB: Tool = Tool {
    name: "cargo-deb",
    version: "3.8.0",
    options: DEBUG,
};

/// Puts the list of dependencies into a binary, for scanners.
pub(crate) const AUDITABLE: Tool = Tool {
    name: "cargo-auditable",
    version: "0.7.7",
    options: DEBUG,
};

/// Lists dependencies in the format `CycloneDX`.
pub(crate) const CYCLONEDX: Tool = Tool {
    name: "cargo-cyclonedx",
    version: "0.5.9",
    options: DEBUG,
};

/// Collects the licences of dependencies.
pub(crate) const ABOUT: Tool = Tool {
    name: "cargo-about",
    version: "0.9.3",
    // Without optimisation it compares licence texts for minutes.
    options: &["--features", "cli"],
};

/// Builds the book. Its licence, MPL-2.0, is that of a program which nothing here links.
pub(crate) const MDBOOK: Tool = Tool {
    name: "mdbook",
    version: "0.5.4",
    // Without the server, which brings half of its dependencies.
    options: &["--debug", "--no-default-features", "--features", "search"],
};

/// Tests with mutated code.
pub(crate) const MUTANTS: Tool = Tool {
    name: "cargo-mutants",
    version: "27.1.0",
    options: DEBUG,
};

/// Returns the path of a tool. If it is not on `PATH`, it is installed below the target directory.
pub(crate) fn provide(workspace: &Workspace, tool: Tool) -> Result<PathBuf, Failure> {
    let Tool {
        name,
        version,
        options,
    } = tool;
    if let Some(path) = shell::find(name) {
        return Ok(path);
    }
    let root = workspace.target.join("tools");
    let path = root.join("bin").join(name);
    if !path.is_file() {
        println!("{name} is missing: building it takes about two minutes, once");
        let mut install = workspace.cargo(&["install", "--quiet", "--locked"]);
        install.args([name, "--version", version]).args(options);
        install.arg("--root").arg(&root);
        install.arg("--target-dir").arg(root.join("build"));
        shell::show_and_run(&mut install)?;
    }
    Ok(path)
}
