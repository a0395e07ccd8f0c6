//! Programs: finding them, running them, and telling what failed.

use std::env;
use std::ffi::OsStr;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::failure::Failure;

/// Returns the command for the cargo that runs us, without what it says of our own package: there
/// are build scripts that run again when that changes, and then all is built again that was built
/// by hand.
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

/// Runs a command with our own standard streams, except that it reads nothing.
///
/// # Errors
///
/// If it does not start or does not succeed.
pub(crate) fn run(command: &mut Command) -> Result<(), Failure> {
    command.stdin(Stdio::null());
    let status = command.status();
    let status = status.map_err(|error| not_started(command, &error))?;
    if status.success() {
        return Ok(());
    }
    Err(Failure::new(format!("`{}`: {status}", words(command))))
}

/// Prints a command as one would type it, then runs it.
pub(crate) fn show_and_run(command: &mut Command) -> Result<(), Failure> {
    println!("$ {}", words(command));
    run(command)
}

/// Runs a command and returns what it writes to both standard streams, in its order.
///
/// # Errors
///
/// If it does not start or does not succeed; then with what it wrote.
pub(crate) fn record(command: &mut Command) -> Result<String, Failure> {
    let pipe = io::pipe().and_then(|(reader, writer)| {
        let both = (writer.try_clone()?, writer);
        Ok((reader, both))
    });
    let (mut reader, (stdout, stderr)) = pipe.map_err(|error| not_started(command, &error))?;
    command.stdin(Stdio::null()).stdout(stdout).stderr(stderr);
    let child = command.spawn();
    // The command has the writing ends, and the pipe would never end.
    let command_line = words(command);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = child.map_err(|error| not_started(command, &error))?;
    let mut text = String::new();
    let read = reader.read_to_string(&mut text);
    let status = child.wait();
    match (read, status) {
        (Ok(_), Ok(status)) if status.success() => Ok(text),
        (Ok(_), Ok(status)) => Err(Failure::new(format!("`{command_line}`: {status}: {text}"))),
        (Err(error), _) | (_, Err(error)) => {
            Err(Failure::new(format!("`{command_line}`: {error}")))
        }
    }
}

/// Removes a directory and what is in it, if it is there. Other filesystems in it are an error, and
/// left alone.
///
/// # Errors
///
/// If something of it is still there.
pub(crate) fn remove_tree(path: &Path) -> Result<(), Failure> {
    if !path.exists() {
        return Ok(());
    }
    let mut remove = Command::new("rm");
    run(remove.args(["-r", "-f", "--one-file-system"]).arg(path))
}

/// Runs a command and returns what it writes to standard output.
///
/// # Errors
///
/// If it does not start or does not succeed; then with what it wrote to standard error.
pub(crate) fn read(command: &mut Command) -> Result<String, Failure> {
    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(|error| not_started(command, &error))?;
    let Output {
        status,
        stdout,
        stderr,
    } = output;
    if status.success() {
        return Ok(String::from_utf8_lossy(&stdout).into_owned());
    }
    let mut what = format!("`{}`: {status}", words(command));
    let stderr = String::from_utf8_lossy(&stderr);
    if !stderr.trim().is_empty() {
        what.push_str(": ");
        what.push_str(stderr.trim());
    }
    Err(Failure::new(what))
}

fn not_started(command: &Command, error: &std::io::Error) -> Failure {
    Failure::new(format!("start `{}`: {error}", words(command)))
}

/// Returns the command as one would type it: variables, the program's name, arguments.
fn words(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let program = program.file_name().unwrap_or(program.as_os_str());
    let variables = command.get_envs().filter_map(|(key, value)| {
        let value = quoted(value?);
        Some(format!("{}={value}", key.display()))
    });
    let arguments = command.get_args().map(quoted);
    let words = variables.chain([quoted(program)]).chain(arguments);
    words.collect::<Vec<String>>().join(" ")
}

fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    if word.contains([' ', '*', '|', '(', '$', '"']) {
        format!("'{word}'")
    } else {
        word.into_owned()
    }
}
