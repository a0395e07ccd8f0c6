//! The configuration file: typed text ([`text`]), then its validated meaning ([`meaning`]).
//!
//! Every value checks itself while the file is parsed, so that an error points at the line. What
//! concerns several values at once is checked afterwards and names the policy. Whoever holds a
//! [`Config`] has nothing left to check.

mod fleet;
mod keys;
mod meaning;
mod node;
mod schema;
mod text;
mod values;

use std::path::{Path, PathBuf};
use std::{fs, io};

#[cfg(feature = "fleet")]
pub(crate) use fleet::Fleet;
pub(crate) use meaning::{Config, Infrastructure};
pub(crate) use node::protection_with_sandboxes;
pub(crate) use schema::schema;
pub(crate) use values::duration_within;

use meaning::MeaningError;
use text::ConfigText;

/// Where the file is unless told otherwise.
pub(crate) const DEFAULT_PATH: &str = "/etc/reclaim/config.toml";

/// Where the daemon keeps its state by default.
pub(crate) const DEFAULT_STATE: &str = "/var/lib/reclaim";

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("read configuration `{}`", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The text of the parser has the line and its place.
    #[error("configuration `{}`: {problem}", path.display())]
    Text { path: PathBuf, problem: String },
    #[error("configuration `{}`: {problem}", path.display())]
    Meaning {
        path: PathBuf,
        problem: MeaningError,
    },
}

/// Reads a file that somebody named.
pub(crate) fn read(path: &Path) -> Result<Config, ConfigError> {
    let text = fs::read_to_string(path).map_err(|source| ConfigError::Read {
        path: path.to_owned(),
        source,
    })?;
    parse(&text, path)
}

/// Reads the file that was named, or the one at the usual place if there is one. Without any,
/// the configuration is that of an empty file.
pub(crate) fn find(named: Option<&Path>) -> Result<Config, ConfigError> {
    let usual = Path::new(DEFAULT_PATH);
    match named {
        Some(path) => read(path),
        None if usual.exists() => read(usual),
        None => parse("", usual),
    }
}

fn parse(text: &str, path: &Path) -> Result<Config, ConfigError> {
    let typed: ConfigText = toml::from_str(text).map_err(|error| ConfigError::Text {
        path: path.to_owned(),
        problem: error.to_string().trim_end().to_owned(),
    })?;
    Config::new(typed).map_err(|problem| ConfigError::Meaning {
        path: path.to_owned(),
        problem,
    })
}

#[cfg(test)]
mod tests;
