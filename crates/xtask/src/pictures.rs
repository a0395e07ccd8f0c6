//! `cargo xtask pictures`: what the demo prints, as pictures for the README. `cargo xtask test`
//! checks that they still show what it prints.

use std::fs;
use std::path::PathBuf;

use anstyle_svg::Term;

use crate::binaries::NotCounted;
use crate::demo;
use crate::failure::Failure;
use crate::machine::{self, CONTAINERD, PROTOC};
use crate::workspace::Workspace;

/// Which commands of the demo, and the files in `docs/pictures`.
const PICTURES: [(&str, &str); 2] = [
    ("reclaim image prune -n moby --all --dry-run", "dry-run.svg"),
    ("reclaim image prune -n moby --all --force", "prune.svg"),
];

/// Runs the demo and draws the pictures.
pub(crate) fn draw(workspace: &Workspace) -> Result<(), Failure> {
    machine::provide(&[PROTOC, CONTAINERD])?;
    let recorded = demo::record(workspace, NotCounted::Nothing)?;
    for (path, svg) in pictures(workspace, &recorded)? {
        fs::write(&path, svg).map_err(|error| Failure::file("write", &path, &error))?;
        println!("{}", workspace.short(&path));
    }
    Ok(())
}

/// Checks that the pictures are those of what was recorded.
pub(crate) fn check(workspace: &Workspace, recorded: &str) -> Result<(), Failure> {
    for (path, svg) in pictures(workspace, recorded)? {
        let there = fs::read_to_string(&path);
        if there.map_err(|error| Failure::file("read", &path, &error))? != svg {
            let path = workspace.short(&path);
            return Err(
                Failure::new(format!("`{path}` shows something else")).hint("cargo xtask pictures")
            );
        }
    }
    Ok(())
}

fn pictures(workspace: &Workspace, recorded: &str) -> Result<Vec<(PathBuf, String)>, Failure> {
    let directory = workspace.root.join("docs/pictures");
    let drawn = PICTURES.iter().map(|(command, file)| {
        let scene = scene(recorded, command);
        let scene = scene.ok_or_else(|| Failure::new(format!("the demo has no `{command}`")))?;
        Ok((directory.join(file), svg(command, scene)))
    });
    drawn.collect()
}

/// Finds what a command printed: up to the comment on the next one.
fn scene<'text>(recorded: &'text str, command: &str) -> Option<&'text str> {
    let (_, after) = recorded.split_once(&format!("$ {command}\n"))?;
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
    fn finds_what_a_command_printed() {
        let recorded = "# One\n$ a b\n1\n\n2\n\n# Two\n$ a c\n3\n";
        assert_eq!(scene(recorded, "a b"), Some("1\n\n2"));
        assert_eq!(scene(recorded, "a c"), Some("3"));
        assert_eq!(scene(recorded, "a"), None);
    }
}
