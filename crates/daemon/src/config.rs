//! The configuration: the [file](mod@file) as written, then the validated [`Config`].
//!
//! Parsing checks each value by itself, so that an error points at the line. What concerns several
//! values is checked afterwards, and the error names the policy.

mod file;
mod fleet;
mod meaning;
mod node;
mod schema;

use std::path::{Path, PathBuf};
use std::{fs, io};

pub use fleet::Fleet;
pub use meaning::{Config, Headroom, Infrastructure, MeaningError};
pub(crate) use node::protection_with_sandboxes;
pub use reclaim_maintenance::settings::{duration_text, duration_within};
pub use schema::schema;

use file::ConfigFile;

/// The default path of the file.
pub const DEFAULT_PATH: &str = "/etc/reclaim/config.toml";

/// The default state directory.
pub const DEFAULT_STATE: &str = "/var/lib/reclaim";

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("read configuration `{}`", path.display())]
    Read {
        /// Its path.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A key or a value is invalid.
    #[error("configuration `{}`: {problem}", path.display())]
    Text {
        /// The path of the file.
        path: PathBuf,
        /// What the parser says, with the line.
        problem: String,
    },
    /// Values contradict each other.
    #[error("configuration `{}`: {problem}", path.display())]
    Meaning {
        /// The path of the file.
        path: PathBuf,
        /// What is wrong.
        problem: MeaningError,
    },
}

/// Reads a configuration file.
///
/// # Errors
///
/// [`ConfigError`] if it cannot be read or is invalid.
pub fn read(path: &Path) -> Result<Config, ConfigError> {
    let text = fs::read_to_string(path).map_err(|source| ConfigError::Read {
        path: path.to_owned(),
        source,
    })?;
    parse(&text, path)
}

/// Reads the named file, or the one at [`DEFAULT_PATH`] if it exists. Without any, the configuration
/// is that of an empty file.
///
/// # Errors
///
/// [`ConfigError`] if the file cannot be read or is invalid.
pub fn find(named: Option<&Path>) -> Result<Config, ConfigError> {
    let default = Path::new(DEFAULT_PATH);
    match named {
        Some(path) => read(path),
        None if default.exists() => read(default),
        None => parse("", default),
    }
}

fn parse(text: &str, path: &Path) -> Result<Config, ConfigError> {
    let file: ConfigFile = toml::from_str(text).map_err(|error| ConfigError::Text {
        path: path.to_owned(),
        problem: error.to_string().trim_end().to_owned(),
    })?;
    Config::new(file).map_err(|problem| ConfigError::Meaning {
        path: path.to_owned(),
        problem,
    })
}

#[cfg(test)]
mod tests;
