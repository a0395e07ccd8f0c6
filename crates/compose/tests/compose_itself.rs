//! Compose itself reads the same projects, and names the same images.

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

/// Asks a Compose for the images of a project, sorted.
fn images(compose: &str, case: &Case) -> Result<BTreeSet<String>, String> {
    let mut command = Command::new(compose);
    command.current_dir(projects().join(case.directory));
    command.env_clear().env("HOME", "/nonexistent");
    command.envs(case.environment.iter().copied());
    for file in case.files {
        command.args(["--file", file]);
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

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "the runner says where Compose is"
)]
fn names_the_same_images() {
    let binaries = env::var(VARIABLE).unwrap_or_else(|_| panic!("{VARIABLE} is not set"));
    for compose in binaries.split(':') {
        for case in CASES {
            let project = load(&files(case)).unwrap().project;
            // Compose lists of those that are named only them.
            let is_listed = |name: &&str| case.services.is_empty() || case.services.contains(name);
            let services = project.services.iter();
            let listed = services.filter(|(name, _)| is_listed(&name.as_str()));
            let ours = listed.map(|(name, service)| {
                let default = || project.default_image(name);
                service.image.clone().unwrap_or_else(default)
            });
            let ours: BTreeSet<String> = ours.collect();
            let theirs = images(compose, case);
            assert_eq!(theirs, Ok(ours), "{compose}: {}", case.directory);
        }
    }
}
