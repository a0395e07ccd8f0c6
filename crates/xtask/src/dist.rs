//! `cargo xtask dist`: what operators download, in `target/dist/release`: for each processor a static
//! binary, a Debian package, and the list of dependencies; and the checksums of all.
//!
//! The packaged binary writes the manual pages and completions. With `--check` the package is
//! installed, run and purged in a clean Debian, and built again in another directory.

mod check;
mod dependencies;
mod image;
mod package;
mod reproduce;
mod snapshot;
mod target;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::Failure;
use crate::shell;
use crate::steps::Steps;
use crate::workspace::Workspace;
use dependencies::{LIST, NOTICES};
use package::Stage;
use target::{Built, Place, TARGETS, Target};

/// The profile of a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Profile {
    Release,
    /// It takes less time.
    Debug,
}

impl Profile {
    /// Returns its name in cargo.
    fn name(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Debug => "dev",
        }
    }

    /// Returns its directory below that of a target.
    fn directory(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Debug => "debug",
        }
    }
}

/// Where the binaries come from.
#[derive(Debug)]
enum Origin {
    Build(Profile),
    /// An existing binary for this machine.
    Existing(PathBuf),
}

/// Builds everything, and checks it with `--check`.
pub(crate) fn run(workspace: &Workspace, options: &[&str]) -> Result<(), Failure> {
    let (origin, is_checked) = parse(options)?;
    let mut steps = Steps::default();
    let release = workspace.empty_directory("dist/release")?;
    let place = Place::create(workspace, "dist/sources", workspace.target.clone())?;
    let binaries = match &origin {
        Origin::Build(profile) => TARGETS
            .into_iter()
            .map(|target| {
                steps.step(&format!("static binary for {}", target.processor), || {
                    place.build(workspace, target, *profile)
                })
            })
            .collect::<Result<_, _>>()?,
        Origin::Existing(path) => vec![Built {
            target: Target::native()?,
            binary: path.clone(),
        }],
    };
    let mut stages = Vec::new();
    let mut packages = Vec::new();
    for built in &binaries {
        steps.step(
            &format!("Debian package for {}", built.target.debian),
            || {
                let stage = Stage::create(workspace, &place, built)?;
                packages.push(stage.build(workspace, &place, &release)?);
                publish(&stage, &release)?;
                stages.push(stage);
                Ok(())
            },
        )?;
    }
    checksums(&release)?;
    // The image has no C library, which an existing binary may need.
    if matches!(origin, Origin::Build(_)) {
        image::prepare(workspace, &stages)?;
    }
    if is_checked {
        check::run(workspace, &mut steps, &stages, &packages)?;
        match origin {
            Origin::Build(profile) => {
                steps.step("container image", || image::check(workspace, &stages))?;
                steps.step("the same package from another place", || {
                    reproduce::check(workspace, profile, &packages)
                })?;
            }
            Origin::Existing(_) => println!("NOT CHECKED: the image, and a second build"),
        }
    }
    steps.print_times();
    println!();
    shell::show_and_run(Command::new("ls").arg("-sh1").arg(&release))
}

fn parse(options: &[&str]) -> Result<(Origin, bool), Failure> {
    let mut origin = Origin::Build(Profile::Release);
    let mut is_checked = false;
    let mut options = options.iter();
    while let Some(option) = options.next() {
        match *option {
            "--debug" => origin = Origin::Build(Profile::Debug),
            "--check" => is_checked = true,
            "--binary" => {
                let path = options
                    .next()
                    .ok_or_else(|| Failure::new("--binary needs a path"))?;
                origin = Origin::Existing(path.into());
            }
            other => {
                return Err(Failure::new(format!("unknown option `{other}` of `dist`"))
                    .hint("the options are --debug, --binary PATH and --check"));
            }
        }
    }
    Ok((origin, is_checked))
}

/// Copies the files that operators download in addition to the package.
fn publish(stage: &Stage, directory: &Path) -> Result<(), Failure> {
    let name = format!(
        "reclaim-{}-linux-{}",
        env!("CARGO_PKG_VERSION"),
        stage.target.debian
    );
    for (from, to) in [
        (stage.binary.clone(), name.clone()),
        (stage.package.join(LIST), format!("{name}.cdx.json")),
        (stage.package.join(NOTICES), NOTICES.to_owned()),
    ] {
        let to = directory.join(to);
        fs::copy(&from, &to).map_err(|error| Failure::file("copy", &from, &error))?;
    }
    Ok(())
}

/// Writes the checksums of the files in `directory`, for `sha256sum --check`.
fn checksums(directory: &Path) -> Result<(), Failure> {
    let script = "LC_ALL=C sha256sum -- * > ../SHA256SUMS && mv ../SHA256SUMS .";
    shell::run(
        Command::new("sh")
            .args(["-c", script])
            .current_dir(directory),
    )
}
