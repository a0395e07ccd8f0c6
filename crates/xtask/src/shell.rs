//! Finds and runs programs.

use std::env;
use std::ffi::OsStr;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::failure::Failure;

/// Returns a command for the cargo that runs this program, without the variables about its package:
/// some build scripts run again when these change, and would rebuild everything.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command
}

/// Returns the path of a program, if it is on `PATH`.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|directory| directory.join(program))
        .find(|candidate| candidate.is_file())
}

/// Runs a command with the standard output and error of this program, and without input.
///
/// # Errors
///
/// If it does not start or fails.
pub(crate) fn run(command: &mut Command) -> Result<(), Failure> {
    let status = command
        .stdin(Stdio::null())
        .status()
        .map_err(|error| not_started(command, &error))?;
    if status.success() {
        return Ok(());
    }
    Err(Failure::new(format!(
        "`{}`: {status}",
        command_line(command)
    )))
}

/// Prints a command line, then runs it.
pub(crate) fn show_and_run(command: &mut Command) -> Result<(), Failure> {
    println!("$ {}", command_line(command));
    run(command)
}

/// Runs a command and returns its standard output and error in one text, in order.
///
/// # Errors
///
/// If it does not start or fails; the failure has its output.
pub(crate) fn record(command: &mut Command) -> Result<String, Failure> {
    let (mut reader, stdout, stderr) = io::pipe()
        .and_then(|(reader, writer)| Ok((reader, writer.try_clone()?, writer)))
        .map_err(|error| not_started(command, &error))?;
    command.stdin(Stdio::null()).stdout(stdout).stderr(stderr);
    let spawned = command.spawn();
    // Closes the writing ends that the command holds, without which the pipe never ends.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = spawned.map_err(|error| not_started(command, &error))?;
    let line = command_line(command);
    let mut text = String::new();
    let read = reader.read_to_string(&mut text);
    let status = child.wait();
    match (read, status) {
        (Ok(_), Ok(status)) if status.success() => Ok(text),
        (Ok(_), Ok(status)) => Err(Failure::new(format!("`{line}`: {status}: {text}"))),
        (Err(error), _) | (_, Err(error)) => Err(Failure::new(format!("`{line}`: {error}"))),
    }
}

/// Removes a directory and its content, if it exists. It does not descend into other filesystems.
///
/// # Errors
///
/// If anything is left.
pub(crate) fn remove_tree(path: &Path) -> Result<(), Failure> {
    if !path.exists() {
        return Ok(());
    }
    let mut remove = Command::new("rm");
    run(remove.args(["-r", "-f", "--one-file-system"]).arg(path))
}

/// Runs a command and returns its standard output.
///
/// # Errors
///
/// If it does not start or fails; the failure has its standard error.
pub(crate) fn read(command: &mut Command) -> Result<String, Failure> {
    let Output {
        status,
        stdout,
        stderr,
    } = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| not_started(command, &error))?;
    if status.success() {
        return Ok(String::from_utf8_lossy(&stdout).into_owned());
    }
    let mut message = format!("`{}`: {status}", command_line(command));
    let stderr = String::from_utf8_lossy(&stderr);
    if !stderr.trim().is_empty() {
        message.push_str(": ");
        message.push_str(stderr.trim());
    }
    Err(Failure::new(message))
}

fn not_started(command: &Command, error: &std::io::Error) -> Failure {
    Failure::new(format!("start `{}`: {error}", command_line(command)))
}

/// Returns a command line: variables, the name of the program, arguments.
fn command_line(command: &Command) -> String {
    let path = Path::new(command.get_program());
    let program = path.file_name().unwrap_or(path.as_os_str());
    let variables = command.get_envs().filter_map(|(key, value)| {
        let value = quoted(value?);
        Some(format!("{}={value}", key.display()))
    });
    let arguments = command.get_args().map(quoted);
    variables
        .chain([quoted(program)])
        .chain(arguments)
        .collect::<Vec<String>>()
        .join(" ")
}

fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    if word.contains([' ', '*', '|', '(', '$', '"']) {
        format!("'{word}'")
    } else {
        word.into_owned()
    }
}
