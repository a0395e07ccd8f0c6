//! `cargo xtask`: sets up what a fresh machine lacks, then does the work.
//!
//! It knows the workspace only from `cargo metadata`, and works from any folder of it. What it
//! fetches goes below the target directory; what it installs, it installs by `apt-get`, and
//! only what is missing. It never touches a containerd that it did not start.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "speaks to the person who called it"
)]

mod bench;
mod binaries;
mod check;
mod chroot;
mod compose;
mod debian;
mod demo;
mod deploy;
mod dist;
mod exact;
mod failure;
mod fresh;
mod house;
mod machine;
mod mutants;
mod pictures;
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
Sets up what this machine lacks, then does the work

Usage: cargo xtask <TASK>

Tasks:
  demo                     Show what reclaim does, on a containerd of its own
  test [--fast]            Run all checks and tests, as CI does
  containerds [--refresh]  Fetch newer containerds to test against
  dockerd [--refresh]      Fetch a dockerd and a docker command to test against
  compose                  Fetch Compose binaries to compare with
  bench [peers]            Measure the judge; or a whole prune beside what others do
  deploy                   Check what is in deploy/ with the tools that will read it
  dist [--check]           Build the Debian package; and install and purge it in a clean system
  fresh [--fast]           Clone into a clean Debian with git and Rust, and do as the README says
  pictures                 Draw what the demo prints, for the README
  mutants judge|execution  Put faults into the code, and list those that no test finds
  exact STORES             Compare so many random stores with each containerd
  help                     Print this

Options:
  --fast     Leave out the tests that need containerd
  --debug    Package what is built for debugging, which takes less time
  --binary PATH  Package that one, and build nothing
  --check    See it installed, running and purged, in a Debian made for that
  --refresh  Fetch again what is there
  What follows `mutants` is cargo-mutants' own: --jobs 2, --shard 0/4, --iterate";

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match run(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[&str]) -> Result<(), Failure> {
    match words {
        ["demo"] => demo::run(&Workspace::read()?),
        ["test"] => check::run(&Workspace::read()?, Extent::All),
        ["test", "--fast"] => check::run(&Workspace::read()?, Extent::Fast),
        ["containerds"] => debian::containerds(&Workspace::read()?, Refresh::IfNewer),
        ["containerds", "--refresh"] => debian::containerds(&Workspace::read()?, Refresh::Always),
        ["dockerd"] => debian::dockerd(&Workspace::read()?, Refresh::IfNewer),
        ["dockerd", "--refresh"] => debian::dockerd(&Workspace::read()?, Refresh::Always),
        ["compose"] => {
            machine::provide(&[machine::PIP])?;
            compose::fetch_and_tell(&Workspace::read()?)
        }
        ["deploy"] => deploy::run(&Workspace::read()?),
        ["dist", options @ ..] => dist::run(&Workspace::read()?, options),
        ["fresh"] => fresh::run(&Workspace::read()?, Extent::All),
        ["fresh", "--fast"] => fresh::run(&Workspace::read()?, Extent::Fast),
        ["pictures"] => pictures::draw(&Workspace::read()?),
        ["mutants", "judge", options @ ..] => mutants::judge(&Workspace::read()?, options),
        ["mutants", "execution", options @ ..] => mutants::execution(&Workspace::read()?, options),
        ["exact", stores] => exact::run(&Workspace::read()?, stores),
        ["bench"] => bench::judge(&Workspace::read()?),
        ["bench", "peers"] => bench::peers(&Workspace::read()?),
        ["help" | "--help" | "-h"] => {
            println!("{USAGE}");
            Ok(())
        }
        [] => Err(Failure::new("no task given").hint(USAGE)),
        _ => Err(Failure::new(format!("no task `{}`", words.join(" "))).hint(USAGE)),
    }
}
