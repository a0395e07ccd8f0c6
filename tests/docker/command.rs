//! The real `docker` command.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

/// Environment variable with the path of the command.
const BINARY_VARIABLE: &str = "RECLAIM_TEST_DOCKER";

/// Longer than any command here takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Exit status and output of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Output {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Calls `docker` on a socket.
pub(crate) async fn docker(socket: &Path, args: &[&str]) -> Output {
    let output = tokio::time::timeout(PATIENCE, command(socket, args).output())
        .await
        .unwrap()
        .unwrap();
    Output {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

pub(crate) fn command(socket: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command
        .args(args)
        .env("DOCKER_HOST", format!("unix://{}", socket.display()))
        // Ignore the user's configuration.
        .env("DOCKER_CONFIG", socket.with_file_name("no-configuration"))
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

pub(crate) fn binary() -> PathBuf {
    env::var_os(BINARY_VARIABLE).map_or_else(|| "docker".into(), PathBuf::from)
}
