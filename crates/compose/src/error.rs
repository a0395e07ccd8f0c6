//! Errors in a project's files, and their locations.

use std::fmt;
use std::io;
use std::path::PathBuf;

use reclaim_model::ProjectNameError;

use crate::trust::Writer;

/// Why a project cannot be read. No part of it may be used then.
#[derive(Debug, thiserror::Error)]
pub enum ComposeError {
    /// A file cannot be read.
    #[error("read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A file, or a value in it, is invalid.
    #[error("{location}: {what}")]
    Invalid {
        /// The file or the value.
        location: Location,
        /// What is wrong, and what is accepted.
        what: String,
    },
    /// No file was named, and none found.
    #[error(
        "no compose.yaml, compose.yml, docker-compose.yml or docker-compose.yaml in `{}` or any \
         directory above it",
        .0.display()
    )]
    NoFile(PathBuf),
    /// Another user can change a file that was found above the working directory.
    #[error(
        "use `{}`: {writer} can change it, and it was found above the working directory; to use it \
         regardless, name it with {option}",
        path.display()
    )]
    FoundAbove {
        /// The file.
        path: PathBuf,
        /// The other user.
        writer: Writer,
        /// The option that names such files.
        option: &'static str,
    },
    /// The name of the project is invalid.
    #[error(transparent)]
    Name(#[from] ProjectNameError),
    /// The name of the directory has no character that a project name can have.
    #[error("cannot derive a project name from directory `{}`; set one with --project-name", .0.display())]
    NoName(PathBuf),
    /// A requested service does not exist in the project.
    #[error("no such service: {name}; the project has {}", .services.join(", "))]
    NoService {
        /// The requested service.
        name: String,
        /// The services of the project, sorted.
        services: Vec<String>,
    },
}

/// A location in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// The file.
    pub path: PathBuf,
    /// The number of the line, starting with 1, if it is known.
    pub line: Option<usize>,
    /// The keys of the value, joined by dots; empty for the file itself.
    pub key: String,
}

impl Location {
    /// Returns the location of a whole file.
    pub(crate) fn file(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            line: None,
            key: String::new(),
        }
    }

    /// Returns the location of a line.
    pub(crate) fn at(mut self, line: usize) -> Self {
        self.line = Some(line);
        self
    }

    /// Returns the location of a key's value below this location.
    pub(crate) fn below(&self, key: &str, line: usize) -> Self {
        let dot = if self.key.is_empty() { "" } else { "." };
        Self {
            path: self.path.clone(),
            line: Some(line),
            key: format!("{}{dot}{key}", self.key),
        }
    }

    /// Returns an error about this location.
    pub(crate) fn invalid(&self, what: impl Into<String>) -> ComposeError {
        ComposeError::Invalid {
            location: self.clone(),
            what: what.into(),
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.path.display())?;
        if let Some(line) = self.line {
            write!(formatter, ":{line}")?;
        }
        if !self.key.is_empty() {
            write!(formatter, ": {}", self.key)?;
        }
        Ok(())
    }
}
