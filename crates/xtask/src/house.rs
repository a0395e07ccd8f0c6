//! House rules that rustc and clippy cannot check.

use std::fs;

use crate::failure::Failure;
use crate::shell;
use crate::workspace::Workspace;

/// The packages of the workspace that each package may depend on, as in the table of
/// `ARCHITECTURE.md`. Tests may also use [`DEV_ONLY`].
const ALLOWED_DEPENDENCIES: [(&str, &[&str]); 18] = [
    ("reclaim-model", &[]),
    ("reclaim-oci", &["reclaim-model"]),
    ("reclaim-compose", &["reclaim-model"]),
    ("reclaim-plan", &["reclaim-model"]),
    ("reclaim-page", &["reclaim-model"]),
    ("reclaim-store", &["reclaim-model", "reclaim-oci"]),
    (
        "reclaim-engine",
        &["reclaim-model", "reclaim-plan", "reclaim-store"],
    ),
    (
        "reclaim-maintenance",
        &[
            "reclaim-engine",
            "reclaim-model",
            "reclaim-plan",
            "reclaim-registry",
            "reclaim-store",
        ],
    ),
    ("reclaim-registry", &["reclaim-model"]),
    ("reclaim-fleet", &["reclaim-model"]),
    (
        "reclaim-api",
        &[
            "reclaim-engine",
            "reclaim-maintenance",
            "reclaim-model",
            "reclaim-page",
        ],
    ),
    (
        "reclaim-daemon",
        &[
            "reclaim-api",
            "reclaim-compose",
            "reclaim-engine",
            "reclaim-fleet",
            "reclaim-maintenance",
            "reclaim-model",
            "reclaim-oci",
            "reclaim-plan",
            "reclaim-store",
        ],
    ),
    (
        "reclaim-cli",
        &[
            "reclaim-api",
            "reclaim-compose",
            "reclaim-daemon",
            "reclaim-engine",
            "reclaim-maintenance",
            "reclaim-model",
            "reclaim-telemetry",
        ],
    ),
    ("reclaim-telemetry", &[]),
    ("reclaim-fake", &["reclaim-model"]),
    ("reclaim-testkit", &["reclaim-model"]),
    (
        "reclaim-fuzz",
        &[
            "reclaim-api",
            "reclaim-model",
            "reclaim-oci",
            "reclaim-plan",
        ],
    ),
    ("reclaim-xtask", &[]),
];

/// Packages that only tests, examples and benches may depend on.
const DEV_ONLY: [&str; 2] = ["reclaim-fake", "reclaim-testkit"];

/// Packages without I/O, so that their decisions can be tested alone.
const PURE: [&str; 2] = ["reclaim-model", "reclaim-plan"];

/// Packages that a pure package must not depend on, directly or indirectly.
const IMPURE: [&str; 3] = ["tokio", "tonic", "tracing"];

/// Packages that only the features of `reclaim-cli` bring.
const OF_FEATURES: [&str; 2] = ["kube", "opentelemetry"];

/// Packages that may start other programs.
const TOOLS: [&str; 2] = ["reclaim-testkit", "reclaim-xtask"];

/// The one source in other packages that starts a program: the command that a user gives to
/// `reclaim inhibit`. The daemon starts none.
const STARTS_A_COMMAND: &str = "crates/cli/src/commands/inhibit.rs";

/// Names in a source that starts programs: types of the standard library and tokio, or system calls.
const STARTERS: [&str; 4] = ["process::Command", "CommandExt", "execve", "posix_spawn"];

/// Checks the dependencies between packages of the workspace.
pub(crate) fn directions(workspace: &Workspace) -> Result<(), Failure> {
    for package in &workspace.packages {
        let name = package.name.as_str();
        let row = ALLOWED_DEPENDENCIES
            .iter()
            .find(|(package, _)| *package == name);
        let Some((_, allowed)) = row else {
            return Err(Failure::new(format!("`{name}` is not in the table of packages"))
                .hint("add it to ALLOWED_DEPENDENCIES in crates/xtask/src/house.rs and to ARCHITECTURE.md"));
        };
        let by_tests = package
            .dev_dependencies
            .iter()
            .filter(|name| !DEV_ONLY.contains(&name.as_str()));
        for other in package.dependencies.iter().chain(by_tests) {
            if !allowed.contains(&other.as_str()) {
                return Err(
                    Failure::new(format!("`{name}` must not depend on `{other}`"))
                        .hint("see the table of packages in ARCHITECTURE.md"),
                );
            }
        }
    }
    Ok(())
}

/// Checks that every package uses the lints of the workspace.
pub(crate) fn lints(workspace: &Workspace) -> Result<(), Failure> {
    for package in &workspace.packages {
        let path = package.manifest.as_path();
        let manifest = fs::read_to_string(path)
            .map_err(|error| Failure::new(format!("read `{}`: {error}", path.display())))?;
        if !uses_workspace_lints(&manifest) {
            let path = workspace.short(path);
            return Err(
                Failure::new(format!("`{path}` does not use the lints of the workspace"))
                    .hint("add the lines `[lints]` and `workspace = true`"),
            );
        }
    }
    Ok(())
}

fn uses_workspace_lints(manifest: &str) -> bool {
    let mut lines = manifest.lines().map(str::trim);
    lines.any(|line| line == "[lints]")
        && lines
            .take_while(|line| !line.starts_with('['))
            .any(|line| line == "workspace = true")
}

/// Checks that only tools and `reclaim inhibit` start other programs, so that no name, path or label
/// is ever an argument of one.
pub(crate) fn processes(workspace: &Workspace) -> Result<(), Failure> {
    let mut starters = Vec::new();
    for package in &workspace.packages {
        if TOOLS.contains(&package.name.as_str()) {
            continue;
        }
        let sources = package.manifest.with_file_name("src");
        let mut directories = vec![sources];
        while let Some(directory) = directories.pop() {
            let failed = |error| Failure::new(format!("read `{}`: {error}", directory.display()));
            for entry in fs::read_dir(&directory).map_err(failed)? {
                let path = entry.map_err(failed)?.path();
                if path.is_dir() {
                    directories.push(path);
                    continue;
                }
                let text = fs::read_to_string(&path).map_err(failed)?;
                if starts_programs(&text) {
                    starters.push(workspace.short(&path).to_string());
                }
            }
        }
    }
    match &starters[..] {
        [path] if path == STARTS_A_COMMAND => Ok(()),
        [] => Err(
            Failure::new(format!("`{STARTS_A_COMMAND}` starts no program"))
                .hint("see STARTS_A_COMMAND in crates/xtask/src/house.rs"),
        ),
        paths => Err(
            Failure::new(format!("start programs: {}", paths.join(", ")))
                .hint("only tests, xtask, the test kit and `inhibit` may; see docs/security.md"),
        ),
    }
}

/// Whether a source starts programs, outside of its tests.
fn starts_programs(source: &str) -> bool {
    let code = source.split("#[cfg(test)]").next().unwrap_or_default();
    let is_import = |line: &str| line.contains("process::{") && line.contains("Command");
    STARTERS.iter().any(|name| code.contains(name)) || code.lines().any(is_import)
}

/// Checks that the pure packages do not depend on a runtime, a transport or a logger.
pub(crate) fn purity(workspace: &Workspace) -> Result<(), Failure> {
    PURE.iter()
        .try_for_each(|name| without(workspace, name, &IMPURE))
}

/// Checks that a build with the default features has none of the packages that others bring.
pub(crate) fn leanness(workspace: &Workspace) -> Result<(), Failure> {
    without(workspace, "reclaim-cli", &OF_FEATURES)
}

/// Checks that a package with its default features does not depend on any of `others`.
fn without(workspace: &Workspace, name: &str, others: &[&str]) -> Result<(), Failure> {
    let mut tree = workspace.cargo(&["tree", "--locked", "--package", name]);
    tree.args(["--edges", "normal", "--target", "all"]);
    tree.args(["--prefix", "none", "--format", "{p}"]);
    let output = shell::read(&mut tree)?;
    for package in output.lines().filter_map(|line| line.split(' ').next()) {
        if others.contains(&package) {
            return Err(Failure::new(format!("`{name}` depends on `{package}`"))
                .hint(format!("run: cargo tree -p {name} -e normal -i {package}")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recognises_sources_that_start_programs() {
        assert!(starts_programs("use std::process::Command;\n"));
        assert!(starts_programs("tokio::process::Command::new(name)"));
        assert!(!starts_programs("use std::process::ExitCode;\n"));
        assert!(!starts_programs(
            "fn a() {}\n#[cfg(test)]\nmod tests { use std::process::Command; }"
        ));
    }

    #[test]
    fn recognises_manifests_that_use_the_lints() {
        assert!(uses_workspace_lints("[lints]\nworkspace = true\n"));
        assert!(!uses_workspace_lints(
            "[lints]\n\n[dependencies]\nworkspace = true\n"
        ));
        assert!(!uses_workspace_lints("[package]\nname = \"a\"\n"));
    }
}
