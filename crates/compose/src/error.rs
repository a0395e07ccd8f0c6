//! What is wrong with a project's files, and where.

use std::fmt;
use std::io;
use std::path::PathBuf;

use reclaim_model::ProjectNameError;

/// Why a project cannot be read. Nothing of it may be used then.
#[derive(Debug, thiserror::Error)]
pub enum ComposeError {
    /// A file cannot be read at all.
    #[error("read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Something in a file is not as it must be.
    #[error("{place}: {what}")]
    Invalid {
        /// Where.
        place: Place,
        /// What is wrong, and what is accepted.
        what: String,
    },
    /// There is no file where one is looked for.
    #[error(
        "no compose.yaml, compose.yml, docker-compose.yml or docker-compose.yaml in `{}` or any \
         directory above it",
        .0.display()
    )]
    NoFile(PathBuf),
    /// A name that no project can have.
    #[error(transparent)]
    Name(#[from] ProjectNameError),
    /// No name can be made out of that of the directory.
    #[error("no project name can be made out of directory `{}`; give one with --project-name", .0.display())]
    NoName(PathBuf),
    /// A service was asked for that the project does not have.
    #[error("no such service: {name}; the project has {}", .services.join(", "))]
    NoService {
        /// The one that was asked for.
        name: String,
        /// Those that there are, sorted.
        services: Vec<String>,
    },
}

/// A place in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub path: PathBuf,
    /// The line, from one on, where it is known.
    pub line: Option<usize>,
    /// The keys that lead to it, joined by dots; empty is the file itself.
    pub key: String,
}

impl Place {
    /// The file as a whole.
    pub(crate) fn file(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            line: None,
            key: String::new(),
        }
    }

    /// A line of it.
    pub(crate) fn at(mut self, line: usize) -> Self {
        self.line = Some(line);
        self
    }

    /// What is below a key of it.
    pub(crate) fn below(&self, key: &str, line: usize) -> Self {
        let dot = if self.key.is_empty() { "" } else { "." };
        Self {
            path: self.path.clone(),
            line: Some(line),
            key: format!("{}{dot}{key}", self.key),
        }
    }

    /// Says what is wrong there.
    pub(crate) fn invalid(&self, what: impl Into<String>) -> ComposeError {
        ComposeError::Invalid {
            place: self.clone(),
            what: what.into(),
        }
    }
}

impl fmt::Display for Place {
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
