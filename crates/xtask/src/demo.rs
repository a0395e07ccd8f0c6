//! `cargo xtask demo` and `cargo xtask pictures`: the demo of the test kit, and the pictures of its
//! output in the README. `cargo xtask test` checks that the pictures are current.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anstyle_svg::Term;

use crate::binaries::{self, BuildScope};
use crate::failure::Failure;
use crate::machine::{self, CHROMIUM, CONTAINERD, PROTOC, TMUX};
use crate::shell;
use crate::workspace::Workspace;

/// The commands of the demo that are drawn, and the files in `docs/pictures`.
const PICTURES: [(&str, &str); 3] = [
    ("reclaim image prune -n moby --all --dry-run", "dry-run.svg"),
    ("reclaim image prune -n moby --all --force", "prune.svg"),
    ("reclaim browse -n moby", "browse.svg"),
];

/// The page that the demo writes, and its picture, which depends on the fonts of the machine.
const PAGE: (&str, &str) = ("target/demo.html", "docs/pictures/page.png");

/// Sets up the machine, builds and runs the demo.
pub(crate) fn run(workspace: &Workspace) -> Result<(), Failure> {
    machine::provide(&[PROTOC, CONTAINERD, TMUX])?;
    shell::run(&mut command(workspace, BuildScope::Binaries)?)
}

/// Builds and runs the demo, without setting up the machine, and returns its output.
pub(crate) fn record(workspace: &Workspace, scope: BuildScope) -> Result<String, Failure> {
    shell::record(&mut command(workspace, scope)?)
}

/// Builds the demo, and returns the command that runs it.
fn command(workspace: &Workspace, scope: BuildScope) -> Result<Command, Failure> {
    let built = binaries::build(workspace, scope)?;
    let mut command = Command::new(built.demo);
    command.arg(built.reclaim).current_dir(&workspace.root);
    Ok(command)
}

/// Runs the demo and writes the pictures.
pub(crate) fn draw_pictures(workspace: &Workspace) -> Result<(), Failure> {
    machine::provide(&[PROTOC, CONTAINERD, TMUX, CHROMIUM])?;
    let output = record(workspace, BuildScope::Binaries)?;
    for (path, svg) in pictures(workspace, &output)? {
        fs::write(&path, svg).map_err(|error| Failure::file("write", &path, &error))?;
        println!("{}", workspace.short(&path));
    }
    let (page, picture) = PAGE;
    let page = workspace.root.join(page);
    let mut browser = Command::new(CHROMIUM.program);
    browser
        .args([
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
        ])
        .arg(format!("--screenshot={picture}"))
        .arg("--window-size=1000,1000")
        .arg(format!("file://{}", page.display()))
        .current_dir(&workspace.root);
    shell::run(&mut browser)?;
    println!("{picture}");
    Ok(())
}

/// Checks that the pictures show an output of the demo.
pub(crate) fn check_pictures(workspace: &Workspace, output: &str) -> Result<(), Failure> {
    for (path, svg) in pictures(workspace, output)? {
        let current =
            fs::read_to_string(&path).map_err(|error| Failure::file("read", &path, &error))?;
        if current != svg {
            let path = workspace.short(&path);
            return Err(
                Failure::new(format!("`{path}` differs from the output of the demo"))
                    .hint("cargo xtask pictures"),
            );
        }
    }
    Ok(())
}

fn pictures(workspace: &Workspace, output: &str) -> Result<Vec<(PathBuf, String)>, Failure> {
    let directory = workspace.root.join("docs/pictures");
    PICTURES
        .iter()
        .map(|(command, file)| {
            let scene = scene(output, command)
                .ok_or_else(|| Failure::new(format!("the demo does not run `{command}`")))?;
            Ok((directory.join(file), svg(command, scene)))
        })
        .collect()
}

/// Returns the output of a command, which ends at the next caption.
fn scene<'text>(output: &'text str, command: &str) -> Option<&'text str> {
    let (_, after) = output.split_once(&format!("$ {command}\n"))?;
    let scene = after.split("\n# ").next()?;
    Some(scene.trim_end())
}

fn svg(command: &str, scene: &str) -> String {
    const GREEN: &str = "\x1b[32m";
    const BOLD: &str = "\x1b[1m";
    const PLAIN: &str = "\x1b[0m";
    Term::new().render_svg(&format!(
        "{GREEN}$ {PLAIN}{BOLD}{command}{PLAIN}\n{scene}\n"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_output_of_a_command() {
        let output = "# One\n$ a b\n1\n\n2\n\n# Two\n$ a c\n3\n";
        assert_eq!(scene(output, "a b"), Some("1\n\n2"));
        assert_eq!(scene(output, "a c"), Some("3"));
        assert_eq!(scene(output, "a"), None);
    }
}
