//! What programs get that use the client libraries docker-py and bollard: the same from Reclaim as from a
//! Docker Engine.

mod with_bollard;

use std::env;
use std::path::Path;

use bollard::query_parameters::ListImagesOptions;
use tokio::process::Command;

use crate::command::PATIENCE;
use crate::side::Side;

/// The variable with the directory of docker-py and its dependencies.
pub(crate) const DOCKER_PY: &str = "RECLAIM_TEST_DOCKER_PY";

const SCRIPT: &str = include_str!("libraries/calls.py");

#[tokio::test]
async fn docker_py_gets_the_same_as_from_a_docker_engine() {
    let (theirs, ours) = tokio::join!(Side::docker(), Side::reclaim());
    let (their_socket, our_socket) = (theirs.socket(), ours.socket());
    let (their_lines, my_lines) =
        tokio::join!(run_docker_py(&their_socket), run_docker_py(&our_socket));
    assert_same("docker-py", &their_lines, &my_lines);
    let (their_names, my_names) = tokio::join!(theirs.names(), ours.names());
    assert_eq!(my_names, their_names);
}

#[tokio::test]
async fn bollard_gets_the_same_as_from_a_docker_engine() {
    let (theirs, ours) = tokio::join!(Side::docker(), Side::reclaim());
    let (their_socket, our_socket) = (theirs.socket(), ours.socket());
    // The library reads the totals of version 1.52, which Docker 28 does not return.
    let docker = with_bollard::connect(&our_socket);
    let usage = docker.df(None).await.unwrap();
    let images = docker.list_images(None::<ListImagesOptions>).await.unwrap();
    let n_images = usage.image_usage.unwrap().total_count.unwrap();
    assert_eq!(usize::try_from(n_images).unwrap(), images.len());

    let (their_lines, my_lines) = tokio::join!(
        with_bollard::calls(&their_socket),
        with_bollard::calls(&our_socket)
    );
    assert_same("bollard", &their_lines, &my_lines);
    let (their_names, my_names) = tokio::join!(theirs.names(), ours.names());
    assert_eq!(my_names, their_names);
}

/// Asserts that each call has the same result.
fn assert_same(library: &str, theirs: &[String], mine: &[String]) {
    assert!(theirs.len() > 15, "{library}: {theirs:#?}");
    for (theirs, mine) in theirs.iter().zip(mine) {
        assert_eq!(mine, theirs, "{library}");
    }
    assert_eq!(mine.len(), theirs.len(), "{library}");
}

/// Runs the script, and returns a line for each call.
async fn run_docker_py(socket: &Path) -> Vec<String> {
    let directory = env::var_os(DOCKER_PY)
        .unwrap_or_else(|| panic!("{DOCKER_PY} is not set; see docs/contributing.md"));
    let mut python = Command::new("python3");
    python
        .args(["-c", SCRIPT])
        .env("PYTHONPATH", directory)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("DOCKER_HOST", format!("unix://{}", socket.display()))
        .env("DOCKER_CONFIG", socket.with_file_name("no-configuration"))
        .kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, python.output());
    let output = output.await.unwrap().unwrap();
    assert!(output.status.success(), "{output:#?}");
    let printed = String::from_utf8(output.stdout).unwrap();
    printed.lines().map(str::to_owned).collect()
}
