//! `cargo xtask bench build`: what a build of `reclaim` costs.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Instant;

use serde_json::Value;

use crate::failure::Failure;
use crate::machine::{self, PROTOC};
use crate::shell;
use crate::workspace::Workspace;

/// The package with the binary.
const PACKAGE: &str = "reclaim-cli";

/// The target directory, below that of the workspace. It is removed afterwards.
const DIRECTORY: &str = "bench-build";

/// The unit of times in `/proc`, for all processors of Linux: hundredths of a second.
const TICKS: f64 = 100.0;

/// Counts packages, with and without all features, and measures a release build without them.
pub(crate) fn measure(workspace: &Workspace) -> Result<(), Failure> {
    machine::provide(&[PROTOC])?;
    let mut counts = Vec::new();
    for (title, features) in [("default", &[][..]), ("all", &["--all-features"][..])] {
        let linked = packages(workspace, "normal", features)?;
        let compiled = packages(workspace, "normal,build", features)?;
        counts.push(format!("| {title} | {linked} | {compiled} |"));
    }
    let built = build(workspace)?;
    println!("\n| Features | Packages linked | Packages compiled |\n|---|---|---|");
    println!("{}", counts.join("\n"));
    println!("\n| Crates compiled | Seconds | CPU seconds | Bytes |\n|---|---|---|---|");
    println!(
        "| {} | {:.0} | {:.0} | {} |",
        built.crates, built.seconds, built.cpu_seconds, built.bytes
    );
    Ok(())
}

/// Returns the number of packages, of ours and of others, along dependencies of these kinds.
fn packages(workspace: &Workspace, kinds: &str, features: &[&str]) -> Result<usize, Failure> {
    let mut tree = workspace.cargo(&["tree", "--locked", "--package", PACKAGE]);
    tree.args(["--edges", kinds, "--no-dedupe", "--prefix", "none"]);
    tree.args(["--format", "{p}"]).args(features);
    let output = shell::read(&mut tree)?;
    Ok(output.lines().collect::<BTreeSet<&str>>().len())
}

/// What a build took and made.
struct Build {
    /// Libraries, macros, build scripts and the binary.
    crates: usize,
    seconds: f64,
    cpu_seconds: f64,
    bytes: u64,
}

fn build(workspace: &Workspace) -> Result<Build, Failure> {
    let target = workspace.empty_directory(DIRECTORY)?;
    let mut build = workspace.cargo(&["build", "--release", "--locked", "--package", PACKAGE]);
    build.env("CARGO_TARGET_DIR", &target);
    build.arg("--message-format=json-render-diagnostics");
    build.stderr(Stdio::inherit());
    let (start, cpu) = (now(), cpu_of_children()?);
    let messages = shell::read(&mut build)?;
    let seconds = start.elapsed().as_secs_f64();
    let cpu_seconds = cpu_of_children()? - cpu;
    let binary = target.join("release/reclaim");
    let metadata = fs::metadata(&binary);
    let bytes = metadata.map_err(|error| Failure::file("read", &binary, &error))?;
    shell::remove_tree(&target)?;
    Ok(Build {
        crates: compiled(&messages),
        seconds,
        cpu_seconds,
        bytes: bytes.len(),
    })
}

/// Returns how many crates were compiled, by cargo's messages, one per line.
fn compiled(messages: &str) -> usize {
    let is_compiled = |line: &&str| {
        let message: Option<Value> = serde_json::from_str(line).ok();
        message.is_some_and(|message| {
            message["reason"] == "compiler-artifact" && message["fresh"] == false
        })
    };
    messages.lines().filter(is_compiled).count()
}

/// Returns the CPU time of this process's children that have ended, in seconds.
fn cpu_of_children() -> Result<f64, Failure> {
    let path = Path::new("/proc/self/stat");
    let text = fs::read_to_string(path).map_err(|error| Failure::file("read", path, &error))?;
    cpu_in(&text).ok_or_else(|| Failure::new("read `/proc/self/stat`: unexpected format"))
}

/// Source: `proc_pid_stat(5)`: `cutime` and `cstime` are the 14th and 15th fields after the name.
fn cpu_in(stat: &str) -> Option<f64> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ').skip(13);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS)
}

#[expect(clippy::disallowed_methods, reason = "a stopwatch for the report")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_time_of_children() {
        let stat = "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 11 12 150 50 20 0 1";
        assert_eq!(cpu_in(stat), Some(2.0));
        assert_eq!(cpu_in("7 (a) S 1"), None);
        assert!(cpu_of_children().unwrap() >= 0.0);
    }

    #[test]
    fn counts_what_was_compiled() {
        let messages = r#"{"reason":"compiler-artifact","fresh":false}
{"reason":"compiler-artifact","fresh":true}
{"reason":"build-script-executed"}
{"reason":"build-finished","success":true}
"#;
        assert_eq!(compiled(messages), 1);
    }
}
