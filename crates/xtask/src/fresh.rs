//! `cargo xtask fresh`: runs the commands of the README in a clean Debian with only git and Rust, to
//! find missing steps of the setup.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::chroot::Chroot;
use crate::failure::Failure;
use crate::shell;
use crate::steps::Steps;
use crate::suites::Extent;
use crate::workspace::Workspace;

/// git, and the linker for Rust.
const PACKAGES: [&str; 4] = ["ca-certificates", "gcc", "git", "libc6-dev"];

/// The path of the clone in the chroot.
const CLONE: &str = "/root/reclaim";

/// The files by which this machine reaches package registries: names, trusted CAs, mirrors.
const NETWORK_FILES: [&str; 5] = [
    "/etc/hosts",
    "/etc/pip.conf",
    "/etc/resolv.conf",
    "/root/.cargo/config.toml",
    "/usr/local/share/ca-certificates",
];

/// The variables by which this machine reaches package registries.
const NETWORK_VARIABLES: [&str; 6] = [
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
];

/// Creates the chroot and runs the commands, with `--fast` for the tests if `extent` is fast.
pub(crate) fn run(workspace: &Workspace, extent: Extent) -> Result<(), Failure> {
    let readme = workspace.root.join("README.md");
    let text =
        fs::read_to_string(&readme).map_err(|error| Failure::file("read", &readme, &error))?;
    let commands = commands(&text);
    if commands.is_empty() {
        return Err(Failure::new("README.md has no `cargo xtask` command"));
    }
    let mut steps = Steps::default();
    let chroot = steps.step("a clean Debian", || Chroot::create(workspace, "fresh"))?;
    steps.step("git and Rust", || install(&chroot))?;
    steps.step("clone", || clone(workspace, &chroot))?;
    for command in commands {
        let mut words = command.clone();
        if extent == Extent::Fast && command.last() == Some(&"test") {
            words.push("--fast");
        }
        steps.step(&words.join(" "), || {
            shell::run(&mut in_clone(&chroot, &words))
        })?;
    }
    steps.print_times();
    shell::remove_tree(chroot.root())
}

/// Returns the `cargo xtask` commands of the README.
fn commands(readme: &str) -> Vec<Vec<&str>> {
    readme
        .lines()
        .filter_map(|line| line.strip_prefix("$ "))
        .map(|line| line.split('#').next().unwrap_or(line))
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|words| words.starts_with(&["cargo", "xtask"]))
        .collect()
}

fn install(chroot: &Chroot) -> Result<(), Failure> {
    for path in NETWORK_FILES.map(Path::new) {
        if path.exists() {
            copy(
                path,
                &chroot.root().join(path.strip_prefix("/").unwrap_or(path)),
            )?;
        }
    }
    chroot.run("apt-get", &["-qq", "update"])?;
    let options = ["-qq", "--yes", "--no-install-recommends", "install"];
    chroot.run("apt-get", &[&options[..], &PACKAGES[..]].concat())?;
    let sysroot = shell::read(Command::new("rustc").args(["--print", "sysroot"]))?;
    copy(Path::new(sysroot.trim()), &chroot.root().join("usr/local"))?;
    println!("{}", chroot.run("cargo", &["--version"])?.trim());
    Ok(())
}

/// Copies a file, or the content of a directory, and follows links.
fn copy(from: &Path, to: &Path) -> Result<(), Failure> {
    let parent = to.parent().unwrap_or(to);
    fs::create_dir_all(parent).map_err(|error| Failure::file("create", parent, &error))?;
    let mut copy = Command::new("cp");
    copy.args(["--recursive", "--dereference", "--preserve=mode"]);
    if from.is_dir() {
        shell::run(copy.arg("--no-target-directory").arg(from).arg(to))
    } else {
        shell::run(copy.arg(from).arg(to))
    }
}

fn clone(workspace: &Workspace, chroot: &Chroot) -> Result<(), Failure> {
    let mut status = Command::new("git");
    status
        .args(["status", "--porcelain"])
        .current_dir(&workspace.root);
    if !shell::read(&mut status)?.is_empty() {
        println!("the clone does not have uncommitted changes");
    }
    let to = chroot.root().join(CLONE.trim_start_matches('/'));
    let mut clone = Command::new("git");
    clone.args(["clone", "--quiet", "--no-hardlinks"]);
    shell::run(clone.arg(&workspace.root).arg(to))
}

/// Returns a command that runs in the clone.
fn in_clone(chroot: &Chroot, words: &[&str]) -> Command {
    let mut command = chroot.command("env");
    command.args(["--chdir", CLONE]).args(words);
    command.env("HOME", "/root").env("LANG", "C.UTF-8");
    for name in NETWORK_VARIABLES {
        if let Some(value) = env::var_os(name) {
            command.env(name, value);
        }
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_commands_of_the_readme() {
        let readme = "```console\n$ reclaim image ls\n$ cargo xtask demo    # shows\n\
                      $ cargo xtask test\n```\n`cargo xtask bench`\n";
        let expected = [["cargo", "xtask", "demo"], ["cargo", "xtask", "test"]];
        assert_eq!(commands(readme), expected);
        let ours = include_str!("../../../README.md");
        assert_eq!(commands(ours), expected);
    }
}
