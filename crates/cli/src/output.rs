//! Standard output for data, standard error for messages.
//!
//! What people read goes through [`Printable`], because names, labels and errors of others are in it.

use std::fmt::{Display, Write as _};
use std::fs;
use std::io::{self, Write};
use std::path::Path;

use anstream::stream::RawStream;
use anstream::{AutoStream, ColorChoice};
use reclaim_model::{Printable, Versioned};
use serde::Serialize;

use crate::text::Text;
use crate::text::style::painted_message;

/// Writes lines of data to standard output.
///
/// # Errors
///
/// If standard output cannot be written to. The caller may ignore a closed pipe.
pub(crate) fn data(text: &Text) -> io::Result<()> {
    if has_colours(&io::stdout()) {
        exactly(&text.painted())
    } else {
        exactly(text)
    }
}

/// Sets whether to use colours: by default on a terminal, unless the environment says otherwise
/// (`NO_COLOR`, `CLICOLOR`, `CLICOLOR_FORCE`, `TERM`).
pub(crate) fn set_colours(choice: ColorChoice) {
    choice.write_global();
}

fn has_colours(stream: &impl RawStream) -> bool {
    AutoStream::choice(stream) != ColorChoice::Never
}

/// Writes one line of data to standard output, like [`data`].
pub(crate) fn data_line(line: impl Display) -> io::Result<()> {
    exactly(&format!("{}\n", Printable(line)))
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
    exactly(&text)
}

/// Writes a value as JSON on one line, without the version of our own forms.
///
/// # Errors
///
/// If standard output cannot be written to, like [`data`].
pub(crate) fn compact_json<T: Serialize>(value: &T) -> io::Result<()> {
    let mut text = serde_json::to_string(value).map_err(io::Error::other)?;
    text.push('\n');
    exactly(&text)
}

/// Writes to standard output what programs read or the user wrote, and nothing of images: JSON, a
/// completion script, the configuration.
///
/// # Errors
///
/// If standard output cannot be written to, like [`data`].
pub(crate) fn exactly(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

/// Writes a file, or to standard output if its name is `-`.
///
/// # Errors
///
/// If the file or standard output cannot be written to. The error names the file.
pub(crate) fn file(path: &Path, text: &str) -> io::Result<()> {
    if path == Path::new("-") {
        return exactly(text);
    }
    fs::write(path, text).map_err(|error| {
        let reason = format!("write {}: {error}", path.display());
        io::Error::new(error.kind(), reason)
    })
}

/// Writes a message to standard error. A failure to write is ignored.
///
/// Further lines, such as the place of an error in a file, are indented: a line that a name of others
/// adds cannot look like a message.
pub(crate) fn message(text: impl Display) {
    let mut stderr = io::stderr().lock();
    let lines = indented(&text.to_string());
    let lines = if has_colours(&stderr) {
        painted_message(&lines)
    } else {
        lines
    };
    drop(stderr.write_all(lines.as_bytes()));
}

/// Returns the printable lines of a message.
fn indented(message: &str) -> String {
    let mut lines = String::new();
    for (number, line) in message.trim_end().split('\n').enumerate() {
        let indent = if number == 0 { "" } else { "  " };
        writeln!(lines, "{indent}{}", Printable(line)).expect("writing to a string does not fail");
    }
    lines
}

/// Writes messages to standard error.
pub(crate) fn messages(lines: &[String]) {
    for line in lines {
        message(line);
    }
}

/// Writes lines to standard error, such as a table before a question. A failure to write is ignored.
pub(crate) fn message_lines(text: &Text) {
    let mut stderr = io::stderr().lock();
    let lines = if has_colours(&stderr) {
        text.painted()
    } else {
        String::from(&**text)
    };
    drop(stderr.write_all(lines.as_bytes()));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn further_lines_of_a_message_are_indented() {
        assert_eq!(indented("error: x"), "error: x\n");
        let two = "error: parse `f`:\n1 | [x\u{1b}\r\n";
        assert_eq!(indented(two), "error: parse `f`:\n  1 | [x\u{fffd}\n");
    }
}
