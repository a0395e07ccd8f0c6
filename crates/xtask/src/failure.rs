//! Failures of tasks, with hints.

use std::fmt;
use std::path::Path;

/// Why a task failed, and what to do about it.
#[derive(Debug)]
#[must_use = "a failure must be printed or returned"]
pub(crate) struct Failure {
    message: String,
    hint: Option<String>,
}

impl Failure {
    /// Returns a failure with a message: lower case, no full stop.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: None,
        }
    }

    /// Returns a failure of an operation on a file.
    pub(crate) fn file(operation: &str, path: &Path, error: &std::io::Error) -> Self {
        Self::new(format!("{operation} `{}`: {error}", path.display()))
    }

    /// Adds a hint, unless there is one.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint.get_or_insert_with(|| hint.into());
        self
    }

    /// Adds the context of the failure.
    pub(crate) fn within(mut self, context: &str) -> Self {
        self.message = format!("{context}: {}", self.message);
        self
    }

    /// Returns the message, without the hint.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { message, hint } = self;
        write!(formatter, "error: {message}")?;
        match hint {
            Some(hint) if hint.contains('\n') => write!(formatter, "\n\n{hint}"),
            Some(hint) => write!(formatter, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}
