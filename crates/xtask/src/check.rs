//! `cargo xtask test`: all checks of CI, fast ones first, up to the first failure.

use std::process::Command;

use crate::binaries::BuildScope;
use crate::book;
use crate::demo;
use crate::deploy;
use crate::failure::Failure;
use crate::house;
use crate::machine::{self, BTRFS, BUSYBOX, CHROMIUM, CONTAINERD, GDU, NCDU, PIP, PROTOC, TMUX};
use crate::publish;
use crate::shell;
use crate::steps::Steps;
use crate::suites::{self, Coverage, Extent};
use crate::tool::{self, DENY};
use crate::workspace::Workspace;

/// Sets up the machine and runs all steps.
pub(crate) fn run(workspace: &Workspace, extent: Extent) -> Result<(), Failure> {
    machine::provide(match extent {
        Extent::All => &[
            PROTOC, CONTAINERD, BUSYBOX, BTRFS, PIP, CHROMIUM, NCDU, GDU, TMUX,
        ],
        Extent::Fast => &[PROTOC],
    })?;
    let mut steps = Steps::default();
    check(workspace, &mut steps)?;
    let mut coverage = match extent {
        Extent::All => test_all(workspace, &mut steps)?,
        Extent::Fast => {
            suites::run_fast(workspace, &mut steps)?;
            Coverage::default()
        }
    };
    build_book(workspace, &mut steps, extent)?;
    finish(workspace, &mut steps, &mut coverage)?;
    steps.print_times();
    coverage.print(workspace);
    println!(
        "\nEverything passed{}.",
        match extent {
            Extent::All => "",
            Extent::Fast => ", without the tests that need containerd (--fast)",
        }
    );
    Ok(())
}

/// Checks the code without running it.
fn check(workspace: &Workspace, steps: &mut Steps) -> Result<(), Failure> {
    steps.step("format", || {
        let mut format = workspace.cargo(&["fmt", "--all", "--check"]);
        shell::show_and_run(&mut format).map_err(|failure| failure.hint("cargo fmt --all"))
    })?;
    steps.step("house rules", || {
        house::lints(workspace)?;
        house::directions(workspace)?;
        house::processes(workspace)?;
        house::purity(workspace)?;
        house::leanness(workspace)
    })?;
    steps.step("links of the documentation", || {
        book::check_links(workspace)
    })?;
    steps.step("clippy", || {
        // `--all-targets` does not include tests that only run by name.
        let of_cli = [
            "reclaim-cli",
            "--test",
            "clients",
            "--test",
            "docker",
            "--test",
            "projects",
        ];
        let of_compose = ["reclaim-compose", "--test", "compose_itself"];
        let of_kit = ["reclaim-testkit", "--test", "book"];
        let all = ["--workspace", "--all-targets"];
        let of = |named: &[&'static str]| [&["--package"], named].concat();
        for targets in [all.to_vec(), of(&of_cli), of(&of_compose), of(&of_kit)] {
            let mut clippy = workspace.cargo(&["clippy", "--locked"]);
            clippy.args(targets).args(["--", "-D", "warnings"]);
            shell::show_and_run(&mut clippy)?;
        }
        Ok(())
    })?;
    steps.step("a build without features", || without_features(workspace))?;
    steps.step("documentation", || {
        let mut doc = workspace.cargo(&["doc", "--workspace", "--no-deps", "--locked"]);
        doc.arg("--document-private-items");
        shell::show_and_run(doc.env("RUSTDOCFLAGS", "-D warnings"))
    })?;
    steps.step("crates to publish", || publish::check(workspace))
}

/// The packages with code for builds without a feature. Tests of the whole workspace have all features,
/// because the tests of `reclaim-cli` bring them.
const FEATURED: [&str; 2] = ["reclaim-daemon", "reclaim-telemetry"];

/// Checks the binary that `cargo build` makes, and runs the tests of what it has instead of a feature.
fn without_features(workspace: &Workspace) -> Result<(), Failure> {
    let mut featured = Vec::new();
    for package in FEATURED {
        featured.extend(["--package", package]);
    }
    let binary = ["--package", "reclaim-cli", "--bins"];
    for targets in [&binary[..], &[&featured[..], &["--all-targets"]].concat()] {
        let mut clippy = workspace.cargo(&["clippy", "--locked"]);
        clippy.args(targets).args(["--", "-D", "warnings"]);
        shell::show_and_run(&mut clippy)?;
    }
    shell::show_and_run(suites::runner(workspace).args(featured))
}

/// Runs the tests, and other checks that need containerd.
fn test_all(workspace: &Workspace, steps: &mut Steps) -> Result<Coverage, Failure> {
    let mut coverage = suites::run_all(workspace, steps)?;
    deploy::check(workspace, BuildScope::AllTests, steps, &mut coverage)?;
    steps.step("demo and pictures", || {
        let output = demo::record(workspace, BuildScope::AllTests)?;
        print!("{output}");
        demo::check_pictures(workspace, &output)
    })?;
    Ok(coverage)
}

/// Builds the book of the documentation, and searches in it if there is a browser.
fn build_book(workspace: &Workspace, steps: &mut Steps, extent: Extent) -> Result<(), Failure> {
    let book = steps.step("the book", || book::build(workspace))?;
    match extent {
        Extent::All => steps.step("search in the book", || book::search(workspace, &book)),
        Extent::Fast => Ok(()),
    }
}

/// Runs the checks of both extents that take long on a new machine.
fn finish(
    workspace: &Workspace,
    steps: &mut Steps,
    coverage: &mut Coverage,
) -> Result<(), Failure> {
    steps.step("examples in the documentation", || {
        let mut test = workspace.cargo(&["test", "--workspace", "--doc", "--locked", "--quiet"]);
        shell::show_and_run(&mut test)
    })?;
    if workspace.packages.iter().any(|package| package.has_benches) {
        steps.step("benches build", || {
            // With the test profile, whose dependencies are already built.
            let mut benches = workspace.cargo(&["test", "--workspace", "--bench", "*"]);
            shell::show_and_run(benches.args(["--no-run", "--locked"]))
        })?;
    }
    let deny = steps.step("fetch cargo-deny", || tool::provide(workspace, DENY))?;
    let deny = |arguments: &[&str]| {
        let mut command = Command::new(&deny);
        command.current_dir(&workspace.root);
        command.args(arguments);
        command
    };
    steps.step("licences and sources", || {
        let check = ["--locked", "check", "--hide-inclusion-graph"];
        let checks = ["bans", "licenses", "sources"];
        shell::show_and_run(&mut deny(&[&check[..], &checks[..]].concat()))
    })?;
    // Separate, because it needs a database that may be out of reach. One that is there must have no
    // entry for a dependency.
    steps.step("advisories", || {
        let fetched = shell::read(&mut deny(&["fetch", "db"]));
        if let Err(failure) = fetched {
            return coverage.miss("security advisories", failure);
        }
        shell::show_and_run(&mut deny(&["--locked", "--offline", "check", "advisories"]))
    })
}
