//! What went wrong, in words, and what to do about it.

use std::fmt;
use std::path::Path;

/// Why a task could not be done.
#[derive(Debug)]
#[must_use = "nobody has been told yet"]
pub(crate) struct Failure {
    what: String,
    hint: Option<String>,
}

impl Failure {
    /// Says what failed: lower case, no stop.
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            hint: None,
        }
    }

    /// Says what could not be done with a file.
    pub(crate) fn file(verb: &str, path: &Path, error: &std::io::Error) -> Self {
        Self::new(format!("{verb} `{}`: {error}", path.display()))
    }

    /// Says what to do about it, unless something nearer to the cause has said so.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint.get_or_insert_with(|| hint.into());
        self
    }

    /// Says of what the failure was a part.
    pub(crate) fn within(mut self, context: &str) -> Self {
        self.what = format!("{context}: {}", self.what);
        self
    }

    /// Returns what failed, without the hint.
    pub(crate) fn what(&self) -> &str {
        &self.what
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, hint } = self;
        write!(formatter, "error: {what}")?;
        match hint {
            Some(hint) if hint.contains('\n') => write!(formatter, "\n\n{hint}"),
            Some(hint) => write!(formatter, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}
