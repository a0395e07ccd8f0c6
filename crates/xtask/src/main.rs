//! `cargo xtask`: installs missing programs, then runs a task.
//!
//! It works from any directory of the workspace. Downloads go below the target directory; missing
//! programs are installed by `apt-get`. It never connects to a containerd that it did not start.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command prints to the terminal"
)]

mod bench;
mod binaries;
mod book;
mod check;
mod chroot;
mod compose;
mod cost;
mod debian;
mod demo;
mod deploy;
mod dist;
mod docker_py;
mod exact;
mod failure;
mod fresh;
mod grpc;
mod house;
mod machine;
mod mutants;
mod publish;
mod python;
mod shell;
mod steps;
mod suites;
mod tool;
mod workspace;

use std::env;
use std::process::ExitCode;

use debian::Refresh;
use failure::Failure;
use suites::Extent;
use workspace::Workspace;

const USAGE: &str = "\
Install missing programs, then run a task

Usage: cargo xtask <TASK>

Tasks:
  demo                     Show what reclaim does, on a private containerd
  test [--fast]            Run all checks and tests, as CI does
  containerds [--refresh]  Fetch newer containerds to test against
  dockerd [--refresh]      Fetch a dockerd, a docker command and a registry to test against
  compose                  Fetch Compose binaries to test against
  docker-py                Fetch Docker's Python library to test against
  grpc                     Fetch generators of gRPC for Python and Go to test against
  bench [WHAT]             Measure planning, or peers: a whole prune and those of others; slim: what
                           each step of a slim frees of 30 images; creators: how long clients take
                           from resolving an image to leaving a trace; rest: the memory of a daemon
                           at rest; build: what a release build takes
  book                     Build the documentation as a book, and check its links
  deploy                   Check the files of deploy/ with the tools that use them
  package                  Check the crates that can be published, by what their archives contain
  dist [--check]           Build binaries and Debian packages, and the files of the image
  fresh [--fast]           Run the commands of the README in a clean Debian
  pictures                 Draw the pictures of the README from the demo
  mutants plan|execution   Change the code, and list the changes that no test finds
  exact STORES             Compare plans with containerd on so many random stores
  help                     Print this help

Options:
  --fast         Leave out the tests that need containerd
  --debug        Package debug builds, which take less time
  --binary PATH  Package an existing binary
  --check        Install, run and purge the package in a clean Debian, and build it again
  --refresh      Fetch again
  Further options of `mutants` go to cargo-mutants: --jobs 2, --shard 0/4, --iterate";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[&str]) -> Result<(), Failure> {
    match arguments {
        ["demo"] => demo::run(&Workspace::read()?),
        ["test"] => check::run(&Workspace::read()?, Extent::All),
        ["test", "--fast"] => check::run(&Workspace::read()?, Extent::Fast),
        ["containerds"] => debian::containerds(&Workspace::read()?, Refresh::IfNewer),
        ["containerds", "--refresh"] => debian::containerds(&Workspace::read()?, Refresh::Always),
        ["dockerd"] => debian::dockerd(&Workspace::read()?, Refresh::IfNewer),
        ["dockerd", "--refresh"] => debian::dockerd(&Workspace::read()?, Refresh::Always),
        ["compose"] => {
            machine::provide(&[machine::PIP])?;
            compose::fetch_and_print(&Workspace::read()?)
        }
        ["docker-py"] => {
            machine::provide(&[machine::PIP])?;
            println!("{}", docker_py::fetch(&Workspace::read()?)?.display());
            Ok(())
        }
        ["book"] => book::run(&Workspace::read()?),
        ["grpc"] => {
            let tools = grpc::fetch(&Workspace::read()?)?;
            println!("{}\n{}", tools.python.display(), tools.go.display());
            Ok(())
        }
        ["deploy"] => deploy::run(&Workspace::read()?),
        ["package"] => publish::check(&Workspace::read()?),
        ["dist", options @ ..] => dist::run(&Workspace::read()?, options),
        ["fresh"] => fresh::run(&Workspace::read()?, Extent::All),
        ["fresh", "--fast"] => fresh::run(&Workspace::read()?, Extent::Fast),
        ["pictures"] => demo::draw_pictures(&Workspace::read()?),
        ["mutants", "plan", options @ ..] => mutants::planning(&Workspace::read()?, options),
        ["mutants", "execution", options @ ..] => mutants::execution(&Workspace::read()?, options),
        ["exact", stores] => exact::run(&Workspace::read()?, stores),
        ["bench"] => bench::planning(&Workspace::read()?),
        ["bench", "peers"] => bench::peers(&Workspace::read()?),
        ["bench", "creators"] => bench::creators(&Workspace::read()?),
        ["bench", "rest"] => bench::rest(&Workspace::read()?),
        ["bench", "slim"] => bench::slim(&Workspace::read()?),
        ["bench", "build"] => cost::measure(&Workspace::read()?),
        ["help" | "--help" | "-h"] => {
            println!("{USAGE}");
            Ok(())
        }
        [] => Err(Failure::new("missing task").hint(USAGE)),
        _ => Err(Failure::new(format!("unknown task `{}`", arguments.join(" "))).hint(USAGE)),
    }
}
