//! Standard output is for data, standard error for words.

use std::io::{self, Write};

/// Writes data.
///
/// # Errors
///
/// If standard output is gone. A pipe that was closed early is for the caller to forgive.
pub(crate) fn data(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

/// Writes a line of words. If nobody can read it, nobody is told.
pub(crate) fn words(line: &str) {
    let mut stderr = io::stderr().lock();
    drop(writeln!(stderr, "{line}"));
}

/// Asks a question; only `y` and `Y` mean yes, as for docker. No answer means no.
pub(crate) fn confirm(question: &str) -> io::Result<bool> {
    let mut stderr = io::stderr().lock();
    write!(stderr, "{question} [y/N] ")?;
    stderr.flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(answer.trim().eq_ignore_ascii_case("y"))
}
