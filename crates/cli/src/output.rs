//! Standard output for data, standard error for messages.

use std::io::{self, Write};

use reclaim_model::Versioned;
use serde::Serialize;

/// Writes data to standard output.
///
/// # Errors
///
/// If standard output cannot be written to. The caller may ignore a closed pipe.
pub(crate) fn data(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

/// Writes a value as JSON to standard output: one object and a newline.
///
/// # Errors
///
/// If standard output cannot be written to, like [`data`].
pub(crate) fn json<T: Serialize>(value: T) -> io::Result<()> {
    let versioned = Versioned::new(value);
    let mut text = serde_json::to_string_pretty(&versioned).map_err(io::Error::other)?;
    text.push('\n');
    data(&text)
}

/// Writes a message to standard error. A failure to write is ignored.
pub(crate) fn message(line: &str) {
    let mut stderr = io::stderr().lock();
    drop(writeln!(stderr, "{line}"));
}

/// Writes messages to standard error.
pub(crate) fn messages(lines: &[String]) {
    for line in lines {
        message(line);
    }
}

/// Asks for confirmation; only `y` and `Y` mean yes, as for docker. No answer means no.
pub(crate) fn confirm(question: &str) -> io::Result<bool> {
    let mut stderr = io::stderr().lock();
    write!(stderr, "{question} [y/N] ")?;
    stderr.flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(answer.trim().eq_ignore_ascii_case("y"))
}
