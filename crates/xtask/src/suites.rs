//! The test suites: all with the containerd of this machine, then those that start one again
//! with every other version that can be had.

use std::process::Command;

use crate::compose;
use crate::debian::{self, CONTAINERD, DOCKER, DOCKERD, Daemon, Refresh, SID, SUITES};
use crate::failure::Failure;
use crate::shell;
use crate::steps::Steps;
use crate::workspace::Workspace;

/// The variable by which the kit is told which containerd to start.
pub(crate) const CONTAINERD_VARIABLE: &str = "RECLAIM_TEST_CONTAINERD";

/// The variables by which tests are told which dockerd, docker command and Compose to run.
pub(crate) const DOCKERD_VARIABLE: &str = "RECLAIM_TEST_DOCKERD";
const DOCKER_VARIABLE: &str = "RECLAIM_TEST_DOCKER";
const COMPOSE_VARIABLE: &str = "RECLAIM_TEST_COMPOSE";

/// How much is tested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// Everything.
    All,
    /// What starts no containerd.
    Fast,
}

/// Runs what starts no containerd: of packages that use the kit, the unit tests and those that
/// say so.
pub(crate) fn run_fast(workspace: &Workspace, steps: &mut Steps) -> Result<(), Failure> {
    let users = workspace.containerd_users();
    steps.step("tests without containerd", || {
        let mut others = runner(workspace);
        others.args(["--workspace", "--tests"]);
        add_all(&mut others, "--exclude", &users);
        shell::show_and_run(&mut others)?;
        let mut units = runner(workspace);
        units.args(["--lib", "--bins"]);
        add_all(&mut units, "--package", &users);
        add_all(&mut units, "--test", &workspace.tests_without_containerd());
        shell::show_and_run(&mut units)
    })
}

/// Runs everything with the containerd of this machine, and what starts one again with every
/// other that can be had.
pub(crate) fn run_all(workspace: &Workspace, steps: &mut Steps) -> Result<Coverage, Failure> {
    let mut coverage = Coverage::default();
    let installed = debian::installed_containerd()?;
    steps.step(&title(&installed), || {
        let mut all = runner(workspace);
        all.args(["--workspace", "--tests"]);
        shell::show_and_run(all.env(CONTAINERD_VARIABLE, &installed.path))
    })?;
    coverage.tested.push(installed);
    for suite in &SUITES {
        let name = suite.name;
        let fetched = steps.step(&format!("fetch the containerd of {name}"), || {
            Ok(debian::fetch(workspace, suite, CONTAINERD, Refresh::Never))
        });
        match fetched? {
            Ok(daemon) => {
                steps.step(&title(&daemon), || {
                    let mut users = runner(workspace);
                    add_all(&mut users, "--package", &workspace.containerd_users());
                    add_all(&mut users, "--test", &workspace.containerd_tests());
                    shell::show_and_run(users.env(CONTAINERD_VARIABLE, &daemon.path))
                })?;
                coverage.tested.push(daemon);
            }
            // Not ours to mend: the mirror may be out of reach. It is told again at the end.
            Err(failure) => {
                eprintln!("{failure}");
                coverage.missed.push((name, failure));
            }
        }
    }
    compare_with_docker(workspace, steps, &mut coverage)?;
    compare_with_compose(workspace, steps, &mut coverage)?;
    Ok(coverage)
}

/// Runs what compares our answers with those of a Docker Engine, and shows them to its command.
fn compare_with_docker(
    workspace: &Workspace,
    steps: &mut Steps,
    coverage: &mut Coverage,
) -> Result<(), Failure> {
    let fetched = steps.step("fetch dockerd and docker", || {
        let dockerd = debian::fetch(workspace, &SID, DOCKERD, Refresh::Never);
        Ok(dockerd.and_then(|dockerd| {
            let docker = debian::fetch(workspace, &SID, DOCKER, Refresh::Never)?;
            Ok((dockerd, docker))
        }))
    });
    let (dockerd, docker) = match fetched? {
        Ok(fetched) => fetched,
        Err(failure) => {
            eprintln!("{failure}");
            coverage.missed.push(("dockerd and docker", failure));
            return Ok(());
        }
    };
    // The one of this machine too, which may be older.
    let commands = [Some(docker.path.clone()), shell::find("docker")];
    for command in commands.into_iter().flatten() {
        let title = format!(
            "tests with dockerd {} and {}",
            dockerd.version,
            command.display()
        );
        steps.step(&title, || {
            let mut compared = runner(workspace);
            compared.args(["--package", "reclaim-cli", "--test", "docker"]);
            compared.env(DOCKER_VARIABLE, &command);
            shell::show_and_run(compared.env(DOCKERD_VARIABLE, &dockerd.path))
        })?;
    }
    coverage.tested.push(docker);
    Ok(())
}

/// Runs what compares us with Compose: its reading of files, and what it removes on a dockerd.
fn compare_with_compose(
    workspace: &Workspace,
    steps: &mut Steps,
    coverage: &mut Coverage,
) -> Result<(), Failure> {
    let fetched = steps.step("fetch Compose and dockerd", || {
        let fetched = compose::fetch(workspace).and_then(|binaries| {
            let dockerd = debian::fetch(workspace, &SID, DOCKERD, Refresh::Never)?;
            Ok((compose::joined(&binaries)?, dockerd))
        });
        Ok(fetched)
    });
    let (binaries, dockerd) = match fetched? {
        Ok(fetched) => fetched,
        Err(failure) => {
            eprintln!("{failure}");
            coverage.missed.push(("Compose and dockerd", failure));
            return Ok(());
        }
    };
    let title = format!("tests with Compose and dockerd {}", dockerd.version);
    steps.step(&title, || {
        for (package, test) in [
            ("reclaim-compose", "compose_itself"),
            ("reclaim-cli", "projects"),
        ] {
            let mut compared = runner(workspace);
            compared.args(["--package", package, "--test", test]);
            compared.env(COMPOSE_VARIABLE, &binaries);
            shell::show_and_run(compared.env(DOCKERD_VARIABLE, &dockerd.path))?;
        }
        Ok(())
    })?;
    coverage.tested.push(dockerd);
    Ok(())
}

fn title(containerd: &Daemon) -> String {
    format!("tests with containerd {}", containerd.version)
}

/// Returns the test runner that there is, without a selection. nextest runs tests of all
/// binaries side by side and names the slow ones; `cargo test` knows the same tests.
pub(crate) fn runner(workspace: &Workspace) -> Command {
    let mut command = if shell::find("cargo-nextest").is_some() {
        workspace.cargo(&["nextest", "run", "--status-level", "slow"])
    } else {
        workspace.cargo(&["test", "--quiet"])
    };
    // All failures of a suite are worth more than the first.
    command.args(["--locked", "--no-fail-fast"]);
    command
}

fn add_all(command: &mut Command, option: &str, values: &[&str]) {
    for value in values {
        command.args([option, value]);
    }
}

/// Which daemons the tests have seen.
#[derive(Debug, Default)]
pub(crate) struct Coverage {
    tested: Vec<Daemon>,
    missed: Vec<(&'static str, Failure)>,
}

impl Coverage {
    /// Remembers a program that was tested, or tested with.
    pub(crate) fn hit(&mut self, daemon: Daemon) {
        self.tested.push(daemon);
    }

    /// Remembers what could not be tested, which is not ours to mend: a mirror may be out of
    /// reach. It is told again at the end.
    #[expect(clippy::unnecessary_wraps, reason = "as the other way out of a step")]
    pub(crate) fn miss(&mut self, what: &'static str, failure: Failure) -> Result<(), Failure> {
        eprintln!("{failure}");
        self.missed.push((what, failure));
        Ok(())
    }

    /// Prints it, loudly where something is missing.
    pub(crate) fn print(&self, workspace: &Workspace) {
        println!("\n== daemons");
        for Daemon { version, path } in &self.tested {
            println!("tested      {version:10}  {}", workspace.short(path));
        }
        for (suite, failure) in &self.missed {
            println!("NOT TESTED  {suite}: {}", failure.what());
        }
    }
}
