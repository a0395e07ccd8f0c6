//! `cargo xtask package`: packs the crates that can be published, then checks and documents what
//! is in their archives, as a registry and docs.rs do. It publishes nothing.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::Failure;
use crate::shell;
use crate::workspace::{Package, Workspace};

/// Files that each archive must have, in addition to its sources.
const NEEDED: [&str; 3] = ["Cargo.toml", "LICENSE", "README.md"];

/// Files that cargo adds.
const ADDED: [&str; 3] = [".cargo_vcs_info.json", "Cargo.lock", "Cargo.toml.orig"];

/// The package that generates code from `proto/`, and so must contain it.
const USER_OF_PROTO: &str = "reclaim-api";

/// Packs them and checks everything.
pub(crate) fn check(workspace: &Workspace) -> Result<(), Failure> {
    let published = published(workspace)?;
    pack(workspace, &published)?;
    let unpacked = unpack(workspace, &published)?;
    contains_proto(workspace)?;
    // One at a time: together they would get each other's features of dependencies.
    for package in &published {
        let mut check = cargo(workspace, &unpacked, "check");
        shell::show_and_run(check.args(["--package", &package.name]))?;
    }
    document(workspace, &unpacked)
}

/// Returns the packages that can be published. Each may depend only on others of them.
fn published(workspace: &Workspace) -> Result<Vec<&Package>, Failure> {
    let all = workspace.packages.iter();
    let published: Vec<&Package> = all.filter(|package| package.is_published).collect();
    let names: BTreeSet<&String> = published.iter().map(|package| &package.name).collect();
    for package in &published {
        let mut dependencies = package.dependencies.iter();
        if let Some(other) = dependencies.find(|name| !names.contains(name)) {
            let name = &package.name;
            return Err(Failure::new(format!(
                "`{name}` can be published, but depends on `{other}`, which cannot"
            )));
        }
    }
    if published.is_empty() {
        return Err(Failure::new("no package can be published"));
    }
    Ok(published)
}

/// Makes the archives. cargo could check them, too, but would build all dependencies again, because it
/// does not use the profiles of the workspace.
fn pack(workspace: &Workspace, published: &[&Package]) -> Result<(), Failure> {
    let mut pack = workspace.cargo(&["package", "--locked", "--allow-dirty", "--no-verify"]);
    pack.arg("--quiet");
    for package in published {
        pack.args(["--package", &package.name]);
    }
    shell::show_and_run(&mut pack)
}

/// Unpacks the archives into a workspace of their own, in which they find each other as they would in
/// a registry. Returns its manifest.
fn unpack(workspace: &Workspace, published: &[&Package]) -> Result<PathBuf, Failure> {
    let directory = workspace.empty_directory("publish")?;
    let mut members = Vec::new();
    let mut patches = Vec::new();
    for package in published {
        let name = &package.name;
        let unpacked = format!("{name}-{}", package.version);
        let archive = workspace.target.join("package");
        let mut tar = Command::new("tar");
        // With the current time: archives have one of years ago, by which cargo finds nothing changed.
        tar.arg("-xzmf")
            .arg(archive.join(format!("{unpacked}.crate")))
            .arg("-C")
            .arg(&directory);
        shell::run(&mut tar)?;
        contains_what_it_must(&directory.join(&unpacked))?;
        members.push(format!("{unpacked:?}"));
        patches.push(format!("{name}.path = {unpacked:?}"));
    }
    let members = members.join(", ");
    let patches = patches.join("\n");
    let profile = profile(&workspace.root.join("Cargo.toml"))?;
    let manifest = directory.join("Cargo.toml");
    let text = format!(
        "[workspace]\nresolver = \"3\"\nmembers = [{members}]\n\n[patch.crates-io]\n{patches}\n\n{profile}"
    );
    fs::write(&manifest, text).map_err(|error| Failure::file("write", &manifest, &error))?;
    let lock = workspace.root.join("Cargo.lock");
    fs::copy(&lock, directory.join("Cargo.lock"))
        .map_err(|error| Failure::file("copy", &lock, &error))?;
    Ok(manifest)
}

/// Returns the profile of debug builds, with which the dependencies are already built.
fn profile(manifest: &Path) -> Result<String, Failure> {
    const HEADER: &str = "[profile.dev]\n";
    let text =
        fs::read_to_string(manifest).map_err(|error| Failure::file("read", manifest, &error))?;
    let (_, after) = text
        .split_once(HEADER)
        .ok_or_else(|| Failure::new("no `[profile.dev]` in Cargo.toml"))?;
    let keys = after.split("\n[").next().unwrap_or_default();
    Ok(format!("{HEADER}{keys}\n"))
}

/// Checks that a package has its text files, and nothing but sources in addition.
fn contains_what_it_must(directory: &Path) -> Result<(), Failure> {
    let failed = |error| Failure::file("read", directory, &error);
    let mut needed = BTreeSet::from(NEEDED);
    for entry in fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let kind = entry.file_type().map_err(failed)?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let is_needed = kind.is_file() && needed.remove(&*name);
        if !is_needed && !ADDED.contains(&&*name) && name != "src" {
            return Err(
                Failure::new(format!("`{}` contains `{name}`", directory.display()))
                    .hint("see `include` in its Cargo.toml"),
            );
        }
    }
    match needed.first() {
        None => Ok(()),
        Some(name) => Err(
            Failure::new(format!("`{}` has no file `{name}`", directory.display()))
                .hint("see `include` in its Cargo.toml"),
        ),
    }
}

/// Checks that the package that generates code from `proto/` has all of it.
fn contains_proto(workspace: &Workspace) -> Result<(), Failure> {
    let mut list = workspace.cargo(&["package", "--list", "--allow-dirty", "--quiet"]);
    let listed = shell::read(list.args(["--package", USER_OF_PROTO]))?;
    let listed: BTreeSet<&Path> = listed.lines().map(Path::new).collect();
    let directory = workspace.root.join("proto/reclaim/v1");
    let failed = |error| Failure::file("read", &directory, &error);
    for entry in fs::read_dir(&directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let short = path.strip_prefix(&workspace.root).unwrap_or(&path);
        if !listed.contains(short) {
            return Err(Failure::new(format!(
                "the package `{USER_OF_PROTO}` does not contain `{}`",
                short.display()
            )));
        }
    }
    Ok(())
}

/// Builds the documentation as docs.rs does, with all features and its `cfg`, by a stable compiler.
fn document(workspace: &Workspace, unpacked: &Path) -> Result<(), Failure> {
    let mut doc = cargo(workspace, unpacked, "doc");
    doc.args(["--workspace", "--no-deps", "--all-features"]);
    doc.env("RUSTDOCFLAGS", "--cfg docsrs -D warnings");
    shell::show_and_run(&mut doc)
}

/// Returns a cargo command on what was unpacked, which uses the dependencies that are already built.
fn cargo(workspace: &Workspace, unpacked: &Path, command: &str) -> Command {
    let mut cargo = workspace.cargo(&[command, "--offline", "--manifest-path"]);
    cargo
        .arg(unpacked)
        .arg("--target-dir")
        .arg(&workspace.target);
    cargo
}
