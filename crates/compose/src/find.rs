//! Finds the files of a project, and the variables for their values.
//!
//! Source: compose-go, `cli/options.go`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use path_clean::clean;

use crate::dotenv;
use crate::error::ComposeError;
use crate::interpolate::Variables;
use crate::source::STDIN;
use crate::trust::{Trusted, Writer};

/// The names of a project's file, the preferred one first.
const FILES: [&str; 4] = [
    "compose.yaml",
    "compose.yml",
    "docker-compose.yml",
    "docker-compose.yaml",
];

/// The names of the override file, which is merged over the project's file.
const OVERRIDES: [&str; 4] = [
    "compose.override.yml",
    "compose.override.yaml",
    "docker-compose.override.yml",
    "docker-compose.override.yaml",
];

/// How to find a project, as on the command line of Compose.
#[derive(Debug, Clone, Default)]
pub struct ProjectFiles {
    /// The files, each merged over the ones before it; `-` is standard input. If there are none,
    /// those of `COMPOSE_FILE`, or the file with a default name in the directory or above it, with
    /// its override file.
    pub files: Vec<PathBuf>,
    /// The name, instead of the one from environment, files or directory.
    pub name: Option<String>,
    /// The project's directory, instead of that of its first file.
    pub directory: Option<PathBuf>,
    /// Env files, instead of `.env`.
    pub env_files: Vec<PathBuf>,
    /// Profiles to enable; if there are none, those of `COMPOSE_PROFILES`. `*` enables all.
    pub profiles: Vec<String>,
    /// Services to enable, whatever their profiles are.
    pub services: Vec<String>,
    /// Whether to use the default names of Compose 1, as `--compatibility` does, whatever
    /// `COMPOSE_COMPATIBILITY` says.
    pub compatibility: bool,
    /// The environment of the process.
    pub environment: BTreeMap<String, String>,
    /// The working directory of the process.
    pub working_directory: PathBuf,
    /// The users that may change the files. A file that others can change leads to a warning, and one
    /// that is found above the working directory to an error. `None` checks nothing.
    pub trusted: Option<Trusted>,
}

/// The files of a project, its directory, and its variables.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) files: Vec<PathBuf>,
    pub(crate) directory: PathBuf,
    pub(crate) variables: Variables,
    /// The env files that were read.
    pub(crate) env_files: Vec<PathBuf>,
}

/// Finds the files of a project.
///
/// `.env` is read twice: first in the working directory or that of the given files, since it may
/// set `COMPOSE_FILE`, and then in the project's directory.
pub(crate) fn find(request: &ProjectFiles) -> Result<Found, ComposeError> {
    let base = &request.working_directory;
    let mut variables = Variables::new(request.environment.clone());
    let given_files: Vec<PathBuf> = request
        .files
        .iter()
        .map(|path| absolute(base, path))
        .collect();
    let given_directory = request.directory.as_ref().map(|path| absolute(base, path));
    let first_directory = given_directory
        .clone()
        .or_else(|| directory_of(&given_files))
        .unwrap_or_else(|| base.clone());
    let mut env_files = add_env_files(request, &first_directory, &mut variables)?;
    let files = if !given_files.is_empty() {
        given_files
    } else if let Some(list) = variables.get("COMPOSE_FILE") {
        let separator = variables
            .get("COMPOSE_PATH_SEPARATOR")
            .filter(|separator| !separator.is_empty())
            .unwrap_or(":");
        list.split(separator)
            .map(|path| absolute(base, Path::new(path)))
            .collect()
    } else {
        let files = by_default_name(&first_directory)?;
        refuse_others_above(request, &first_directory, &files, "--file")?;
        files
    };
    let directory = given_directory
        .or_else(|| directory_of(&files))
        .unwrap_or_else(|| base.clone());
    if directory != first_directory {
        env_files.extend(add_env_files(request, &directory, &mut variables)?);
    }
    Ok(Found {
        files,
        directory,
        variables,
        env_files,
    })
}

/// Refuses files outside of `directory` that other users can change: a user who can write to a
/// directory above, such as `/tmp`, would otherwise decide which images are removed.
fn refuse_others_above(
    request: &ProjectFiles,
    directory: &Path,
    files: &[PathBuf],
    option: &'static str,
) -> Result<(), ComposeError> {
    let above = files.iter();
    for path in above.filter(|path| path.parent() != Some(directory)) {
        if let Some(writer) = writer(request.trusted.as_ref(), path)? {
            return Err(ComposeError::FoundAbove {
                path: path.clone(),
                writer,
                option,
            });
        }
    }
    Ok(())
}

/// Returns another user that can change a file; `None` for standard input.
pub(crate) fn writer(
    trusted: Option<&Trusted>,
    path: &Path,
) -> Result<Option<Writer>, ComposeError> {
    let Some(trusted) = trusted.filter(|_| path != Path::new(STDIN)) else {
        return Ok(None);
    };
    trusted.writer(path).map_err(|source| ComposeError::Read {
        path: path.to_owned(),
        source,
    })
}

/// Returns the variables of a project without files: of the environment, and of the env files in its
/// directory, which are returned too.
pub(crate) fn variables(request: &ProjectFiles) -> Result<(Variables, Vec<PathBuf>), ComposeError> {
    let base = &request.working_directory;
    let directory = request.directory.as_ref().map(|path| absolute(base, path));
    let mut variables = Variables::new(request.environment.clone());
    let directory = directory.as_ref().unwrap_or(base);
    let env_files = add_env_files(request, directory, &mut variables)?;
    Ok((variables, env_files))
}

/// Returns the absolute path, without `.` and `..`. Like Compose, it does not resolve symbolic
/// links, because the project's name is that of its directory.
fn absolute(base: &Path, path: &Path) -> PathBuf {
    if path == Path::new(STDIN) {
        return path.to_owned();
    }
    clean(base.join(path))
}

/// Returns the directory of the first file that is not standard input.
fn directory_of(files: &[PathBuf]) -> Option<PathBuf> {
    let first = files.iter().find(|path| **path != Path::new(STDIN))?;
    first.parent().map(Path::to_owned)
}

/// Finds files with the default names, in the directory or the nearest one above it.
fn by_default_name(directory: &Path) -> Result<Vec<PathBuf>, ComposeError> {
    for directory in directory.ancestors() {
        let existing = |names: &[&str]| {
            let mut paths = names.iter().map(|name| directory.join(name));
            paths.find(|path| path.exists())
        };
        if let Some(file) = existing(&FILES) {
            return Ok([file].into_iter().chain(existing(&OVERRIDES)).collect());
        }
    }
    Err(ComposeError::NoFile(directory.to_owned()))
}

/// Adds the variables of the env files that the environment does not have, and returns these files.
fn add_env_files(
    request: &ProjectFiles,
    directory: &Path,
    variables: &mut Variables,
) -> Result<Vec<PathBuf>, ComposeError> {
    let base = &request.working_directory;
    let mut files: Vec<PathBuf> = request
        .env_files
        .iter()
        .map(|path| base.join(path))
        .collect();
    if files.is_empty() {
        let list = variables.get("COMPOSE_ENV_FILES").unwrap_or_default();
        let paths = list.split(',').filter(|path| !path.is_empty());
        files.extend(paths.map(|path| base.join(path)));
    }
    let is_disabled = variables
        .get("COMPOSE_DISABLE_ENV_FILE")
        .is_some_and(|value| matches!(value, "1" | "t" | "T" | "true" | "True" | "TRUE"));
    let default = directory.join(".env");
    if files.is_empty() && !is_disabled && default.is_file() {
        files.push(default);
        if request.directory.is_none() && request.files.is_empty() {
            refuse_others_above(request, &request.working_directory, &files, "--env-file")?;
        }
    }
    let read = dotenv::read(&files, variables)?;
    variables.add(read);
    Ok(files)
}
