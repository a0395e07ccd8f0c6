//! The house rules that no lint of rustc or clippy can see.

use std::fs;

use crate::failure::Failure;
use crate::shell;
use crate::workspace::Workspace;

/// Which package may be built from which others of the workspace: the table in
/// `ARCHITECTURE.md`. What only tests use may be the kit, too.
const MAY_KNOW: [(&str, &[&str]); 15] = [
    ("reclaim-model", &[]),
    ("reclaim-oci", &["reclaim-model"]),
    ("reclaim-compose", &["reclaim-model"]),
    ("reclaim-plan", &["reclaim-model"]),
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
            "reclaim-store",
        ],
    ),
    ("reclaim-fleet", &["reclaim-model"]),
    (
        "reclaim-api",
        &["reclaim-engine", "reclaim-maintenance", "reclaim-model"],
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
            "reclaim-oci",
            "reclaim-plan",
        ],
    ),
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

/// What tests, examples and benches may be built from besides.
const DEV_ONLY: [&str; 2] = ["reclaim-fake", "reclaim-testkit"];

/// Packages that do no input and no output, so that what they decide can be tested alone.
const PURE: [&str; 2] = ["reclaim-model", "reclaim-plan"];

/// What must not be anywhere below a pure package.
const IMPURE: [&str; 3] = ["tokio", "tonic", "tracing"];

/// Packages that are made to start other programs.
const TOOLS: [&str; 2] = ["reclaim-testkit", "reclaim-xtask"];

/// What a source names that starts programs: the standard library's and tokio's, or the calls
/// below them.
const STARTERS: [&str; 4] = ["process::Command", "CommandExt", "execve", "posix_spawn"];

/// Checks that no package is built from one that it may not know.
pub(crate) fn directions(workspace: &Workspace) -> Result<(), Failure> {
    for package in &workspace.packages {
        let name = package.name.as_str();
        let row = MAY_KNOW.iter().find(|(package, _)| *package == name);
        let Some((_, allowed)) = row else {
            return Err(Failure::new(format!("`{name}` is in no row of the table"))
                .hint("add it to MAY_KNOW in crates/xtask/src/house.rs and to ARCHITECTURE.md"));
        };
        let known = package.dependencies.iter();
        let by_tests = package.dev_dependencies.iter();
        let by_tests = by_tests.filter(|it| !DEV_ONLY.contains(&it.as_str()));
        for other in known.chain(by_tests) {
            if !allowed.contains(&other.as_str()) {
                return Err(
                    Failure::new(format!("`{name}` must not depend on `{other}`"))
                        .hint("the table of packages in ARCHITECTURE.md says who may know whom"),
                );
            }
        }
    }
    Ok(())
}

/// Checks that every package takes the lints of the workspace.
pub(crate) fn lints(workspace: &Workspace) -> Result<(), Failure> {
    for package in &workspace.packages {
        let path = package.manifest.as_path();
        let manifest = fs::read_to_string(path)
            .map_err(|error| Failure::new(format!("read `{}`: {error}", path.display())))?;
        if !takes_workspace_lints(&manifest) {
            let path = workspace.short(path);
            return Err(
                Failure::new(format!("`{path}` does not take the workspace's lints"))
                    .hint("add the lines `[lints]` and `workspace = true`"),
            );
        }
    }
    Ok(())
}

fn takes_workspace_lints(manifest: &str) -> bool {
    let mut lines = manifest.lines().map(str::trim);
    lines.any(|line| line == "[lints]")
        && lines
            .take_while(|line| !line.starts_with('['))
            .any(|line| line == "workspace = true")
}

/// Checks that nothing but the tools starts other programs: what is never started cannot be fed a
/// name, a path or a label.
pub(crate) fn processes(workspace: &Workspace) -> Result<(), Failure> {
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
                    let path = workspace.short(&path);
                    return Err(Failure::new(format!("`{path}` starts a program"))
                        .hint("only tests, xtask and the kit may; see docs/security.md"));
                }
            }
        }
    }
    Ok(())
}

/// Whether a source names what starts programs, anywhere before its tests.
fn starts_programs(source: &str) -> bool {
    let code = source.split("#[cfg(test)]").next().unwrap_or_default();
    STARTERS.iter().any(|it| code.contains(it))
}

/// Checks that the pure packages are built without a runtime, a transport and a logger.
pub(crate) fn purity(workspace: &Workspace) -> Result<(), Failure> {
    for name in PURE {
        let mut tree = workspace.cargo(&["tree", "--locked", "--package", name]);
        tree.args(["--edges", "normal", "--target", "all"]);
        tree.args(["--prefix", "none", "--format", "{p}"]);
        let tree = shell::read(&mut tree)?;
        let packages = tree.lines().filter_map(|line| line.split(' ').next());
        for package in packages {
            if IMPURE.contains(&package) {
                return Err(Failure::new(format!("`{name}` is built from `{package}`"))
                    .hint(format!("see: cargo tree -p {name} -e normal -i {package}")));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sees_whether_a_source_starts_programs() {
        assert!(starts_programs("use std::process::Command;\n"));
        assert!(starts_programs("tokio::process::Command::new(name)"));
        assert!(!starts_programs("use std::process::ExitCode;\n"));
        assert!(!starts_programs(
            "fn a() {}\n#[cfg(test)]\nmod tests { use std::process::Command; }"
        ));
    }

    #[test]
    fn sees_whether_a_manifest_takes_the_lints() {
        assert!(takes_workspace_lints("[lints]\nworkspace = true\n"));
        assert!(!takes_workspace_lints(
            "[lints]\n\n[dependencies]\nworkspace = true\n"
        ));
        assert!(!takes_workspace_lints("[package]\nname = \"a\"\n"));
    }
}
