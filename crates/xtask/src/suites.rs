//! The test suites: all with the installed containerd, then those that start a containerd again with
//! every other available version.

use std::process::Command;

use crate::compose;
use crate::debian::{
    self, BUILDX, CONTAINERD, DOCKER, DOCKER_REGISTRY, DOCKERD, Daemon, Refresh, SID, SUITES,
};
use crate::docker_py;
use crate::failure::Failure;
use crate::grpc;
use crate::shell;
use crate::steps::Steps;
use crate::workspace::Workspace;

/// The variable with the path of the containerd that the test kit starts.
pub(crate) const CONTAINERD_VARIABLE: &str = "RECLAIM_TEST_CONTAINERD";

/// The variables with the paths of dockerd, docker, docker-buildx, docker-py, Compose and
/// docker-registry for the tests.
pub(crate) const DOCKERD_VARIABLE: &str = "RECLAIM_TEST_DOCKERD";
const DOCKER_VARIABLE: &str = "RECLAIM_TEST_DOCKER";
const BUILDX_VARIABLE: &str = "RECLAIM_TEST_BUILDX";
const DOCKER_PY_VARIABLE: &str = "RECLAIM_TEST_DOCKER_PY";
const COMPOSE_VARIABLE: &str = "RECLAIM_TEST_COMPOSE";
const REGISTRY_VARIABLE: &str = "RECLAIM_TEST_REGISTRY";

/// The variables with the directories of gRPC's tools for the tests.
const GRPC_PYTHON_VARIABLE: &str = "RECLAIM_TEST_GRPC_PYTHON";
const GRPC_GO_VARIABLE: &str = "RECLAIM_TEST_GRPC_GO";

/// The extent of the tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// Everything.
    All,
    /// Only tests that start no containerd.
    Fast,
}

/// Runs the tests that start no containerd. Of packages that use the test kit, these are the unit tests
/// and the integration tests that their manifests list.
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

/// Runs all tests with the installed containerd, and those that start one again with every other
/// available version.
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
            Err(failure) => coverage.miss(name, failure)?,
        }
    }
    compare_with_docker(workspace, steps, &mut coverage)?;
    compare_with_compose(workspace, steps, &mut coverage)?;
    ask_a_registry(workspace, steps, &mut coverage)?;
    run_clients(workspace, steps, &mut coverage)?;
    Ok(coverage)
}

/// Runs the tests that compare responses with those of a Docker Engine, and use its command.
fn compare_with_docker(
    workspace: &Workspace,
    steps: &mut Steps,
    coverage: &mut Coverage,
) -> Result<(), Failure> {
    let programs = "dockerd, docker, docker-buildx, docker-py, docker-registry and Compose";
    let fetched = steps.step(&format!("fetch {programs}"), || {
        let fetch = |package| debian::fetch(workspace, &SID, package, Refresh::Never);
        let fetch_all = || {
            let daemons = (fetch(DOCKERD)?, fetch(DOCKER)?, fetch(BUILDX)?);
            let binaries = compose::joined(&compose::fetch(workspace)?)?;
            let libraries = (docker_py::fetch(workspace)?, fetch(DOCKER_REGISTRY)?);
            Ok((daemons, binaries, libraries))
        };
        Ok(fetch_all())
    });
    let ((dockerd, docker, buildx), binaries, (library, registry)) = match fetched? {
        Ok(fetched) => fetched,
        Err(failure) => return coverage.miss(programs, failure),
    };
    // The installed one may be older.
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
            compared.env(BUILDX_VARIABLE, &buildx.path);
            compared.env(DOCKER_PY_VARIABLE, &library);
            compared.env(COMPOSE_VARIABLE, &binaries);
            compared.env(REGISTRY_VARIABLE, &registry.path);
            shell::show_and_run(compared.env(DOCKERD_VARIABLE, &dockerd.path))
        })?;
    }
    coverage.tested.extend([docker, buildx]);
    Ok(())
}

/// Runs the tests that compare with Compose: how it reads files, and what it removes on a dockerd.
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
        Err(failure) => return coverage.miss("Compose and dockerd", failure),
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

/// Runs the tests of policies that ask a registry.
fn ask_a_registry(
    workspace: &Workspace,
    steps: &mut Steps,
    coverage: &mut Coverage,
) -> Result<(), Failure> {
    let fetched = steps.step("fetch docker-registry", || {
        Ok(debian::fetch(
            workspace,
            &SID,
            DOCKER_REGISTRY,
            Refresh::Never,
        ))
    });
    let registry = match fetched? {
        Ok(registry) => registry,
        Err(failure) => return coverage.miss("docker-registry", failure),
    };
    let title = format!("tests with docker-registry {}", registry.version);
    steps.step(&title, || {
        let mut asking = runner(workspace);
        asking.args(["--package", "reclaim-cli", "--test", "registry"]);
        shell::show_and_run(asking.env(REGISTRY_VARIABLE, &registry.path))
    })?;
    coverage.tested.push(registry);
    Ok(())
}

/// Runs clients of the gRPC API in other languages.
fn run_clients(
    workspace: &Workspace,
    steps: &mut Steps,
    coverage: &mut Coverage,
) -> Result<(), Failure> {
    let fetched = steps.step("fetch gRPC for Python and Go", || {
        Ok(grpc::fetch(workspace))
    });
    let tools = match fetched? {
        Ok(tools) => tools,
        Err(failure) => return coverage.miss("gRPC clients in Python and Go", failure),
    };
    steps.step("clients in Python and Go", || {
        let mut clients = runner(workspace);
        clients.args(["--package", "reclaim-cli", "--test", "clients"]);
        clients.env(GRPC_PYTHON_VARIABLE, &tools.python);
        shell::show_and_run(clients.env(GRPC_GO_VARIABLE, &tools.go))
    })
}

fn title(containerd: &Daemon) -> String {
    format!("tests with containerd {}", containerd.version)
}

/// Returns the available test runner, without a selection of tests. nextest runs the tests of all
/// binaries in parallel and names slow ones; `cargo test` runs the same tests.
pub(crate) fn runner(workspace: &Workspace) -> Command {
    let mut command = if shell::find("cargo-nextest").is_some() {
        workspace.cargo(&["nextest", "run", "--status-level", "slow"])
    } else {
        workspace.cargo(&["test", "--quiet"])
    };
    // Report all failures of a suite, not only the first.
    command.args(["--locked", "--no-fail-fast"]);
    command
}

fn add_all(command: &mut Command, option: &str, values: &[&str]) {
    for value in values {
        command.args([option, value]);
    }
}

/// The programs that the tests ran with, and those that were not available.
#[derive(Debug, Default)]
pub(crate) struct Coverage {
    tested: Vec<Daemon>,
    missed: Vec<(&'static str, Failure)>,
}

impl Coverage {
    /// Records a program that the tests ran with.
    pub(crate) fn add(&mut self, daemon: Daemon) {
        self.tested.push(daemon);
    }

    /// Records a subject that could not be tested, and prints why. This is not a failure, because a
    /// mirror may be unreachable; [`Self::print`] reports it again.
    #[expect(clippy::unnecessary_wraps, reason = "the result of a step")]
    pub(crate) fn miss(&mut self, subject: &'static str, failure: Failure) -> Result<(), Failure> {
        eprintln!("{failure}");
        self.missed.push((subject, failure));
        Ok(())
    }

    /// Prints both lists.
    pub(crate) fn print(&self, workspace: &Workspace) {
        println!("\n== coverage");
        for Daemon { version, path } in &self.tested {
            println!("tested      {version:10}  {}", workspace.short(path));
        }
        for (subject, failure) in &self.missed {
            println!("NOT TESTED  {subject}: {}", failure.message());
        }
    }
}
