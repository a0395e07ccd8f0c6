//! Compose itself reads the same images from the same projects.

#![expect(
    clippy::unwrap_used,
    reason = "a test ends where something is not as it says"
)]

mod cases;

use std::collections::BTreeSet;
use std::env;
use std::process::Command;

use reclaim_compose::load;

use cases::{CASES, Case, files, projects};

/// The variable with the paths of Compose binaries, separated by colons.
const VARIABLE: &str = "RECLAIM_TEST_COMPOSE";

/// Runs Compose to get the images of a project.
fn images(compose: &str, case: &Case) -> Result<BTreeSet<String>, String> {
    let mut command = Command::new(compose);
    command.current_dir(projects().join(case.directory));
    command.env_clear().env("HOME", "/nonexistent");
    command.envs(case.environment.iter().copied());
    for file in case.files {
        command.args(["--file", file]);
    }
    for file in case.env_files {
        command.args(["--env-file", file]);
    }
    if case.compatibility {
        command.arg("--compatibility");
    }
    for profile in case.profiles {
        command.args(["--profile", profile]);
    }
    command.args(["config", "--images"]).args(case.services);
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    if output.status.success() {
        Ok(text(output.stdout).lines().map(str::to_owned).collect())
    } else {
        Err(text(output.stderr))
    }
}

/// Returns the images of a case, with the default name for a service without an image.
fn expected(case: &Case) -> BTreeSet<String> {
    // `config --images` of named services lists only theirs.
    let is_listed = |name: &&str| case.services.is_empty() || case.services.contains(name);
    case.images
        .iter()
        .filter(|(service, _)| is_listed(service))
        .map(|(service, image)| match *image {
            "" => format!("{}{}{service}", case.name, case.separator),
            image => image.to_owned(),
        })
        .collect()
}

/// Returns the images of the services that [`load`] finds.
fn ours(case: &Case) -> BTreeSet<String> {
    let project = load(&files(case)).unwrap().project;
    let is_listed = |name: &&str| case.services.is_empty() || case.services.contains(name);
    project
        .services
        .iter()
        .filter(|(name, _)| is_listed(&name.as_str()))
        .map(|(name, service)| {
            let default = || project.default_image(name);
            service.image.clone().unwrap_or_else(default)
        })
        .collect()
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "the test runner sets the paths of Compose"
)]
fn reads_the_same_images_as_compose() {
    let binaries = env::var(VARIABLE).unwrap_or_else(|_| panic!("{VARIABLE} is not set"));
    for compose in binaries.split(':') {
        for case in CASES {
            let (ours, expected) = (ours(case), expected(case));
            assert_eq!(ours, expected, "{}", case.directory);
            let theirs = images(compose, case);
            assert_eq!(theirs, Ok(expected), "{compose}: {}", case.directory);
        }
    }
}
