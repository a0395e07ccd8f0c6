//! Which files a project is read from, and with which variables.
//!
//! Source: compose-go, `cli/options.go`.

use std::path::{Path, PathBuf};

use path_clean::clean;

use crate::ProjectFiles;
use crate::dotenv;
use crate::error::ComposeError;
use crate::interpolate::Variables;
use crate::source::STDIN;

/// The names of a project's file, the preferred one first.
const FILES: [&str; 4] = [
    "compose.yaml",
    "compose.yml",
    "docker-compose.yml",
    "docker-compose.yaml",
];

/// The names of the file that is merged over it.
const OVERRIDES: [&str; 4] = [
    "compose.override.yml",
    "compose.override.yaml",
    "docker-compose.override.yml",
    "docker-compose.override.yaml",
];

/// What a project is read from.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) files: Vec<PathBuf>,
    pub(crate) directory: PathBuf,
    pub(crate) variables: Variables,
}

/// Finds the files of a project.
///
/// `.env` is read twice: where the command is, since it may say which files are meant, and in
/// the project's directory.
pub(crate) fn find(request: &ProjectFiles) -> Result<Found, ComposeError> {
    let here = &request.working_directory;
    let mut variables = Variables::new(request.environment.clone());
    let given: Vec<PathBuf> = request.files.iter().map(|it| absolute(here, it)).collect();
    let directory = request.directory.as_ref().map(|it| absolute(here, it));
    let first = directory.clone().or_else(|| directory_of(&given));
    let first = first.unwrap_or_else(|| here.clone());
    add_env_files(request, &first, &mut variables)?;
    let files = if !given.is_empty() {
        given
    } else if let Some(files) = variables.get("COMPOSE_FILE") {
        let separator = variables.get("COMPOSE_PATH_SEPARATOR");
        let separator = separator.filter(|it| !it.is_empty()).unwrap_or(":");
        let files = files.split(separator);
        files.map(|it| absolute(here, Path::new(it))).collect()
    } else {
        by_usual_name(&first)?
    };
    let directory = directory.or_else(|| directory_of(&files));
    let directory = directory.unwrap_or_else(|| here.clone());
    if directory != first {
        add_env_files(request, &directory, &mut variables)?;
    }
    Ok(Found {
        files,
        directory,
        variables,
    })
}

/// Also takes `.` and `..` out of the path by its words alone, as Compose does: the project's name is
/// its directory's.
fn absolute(here: &Path, path: &Path) -> PathBuf {
    if path == Path::new(STDIN) {
        return path.to_owned();
    }
    clean(here.join(path))
}

/// The directory of the first file that is one.
fn directory_of(files: &[PathBuf]) -> Option<PathBuf> {
    let first = files.iter().find(|it| **it != Path::new(STDIN))?;
    first.parent().map(Path::to_owned)
}

/// Looks for the usual names, in the directory and then in those above it.
fn by_usual_name(directory: &Path) -> Result<Vec<PathBuf>, ComposeError> {
    for directory in directory.ancestors() {
        let there = |names: &[&str]| {
            let mut paths = names.iter().map(|name| directory.join(name));
            paths.find(|path| path.exists())
        };
        if let Some(file) = there(&FILES) {
            return Ok([file].into_iter().chain(there(&OVERRIDES)).collect());
        }
    }
    Err(ComposeError::NoFile(directory.to_owned()))
}

/// Adds what the env files say and the environment does not.
fn add_env_files(
    request: &ProjectFiles,
    directory: &Path,
    variables: &mut Variables,
) -> Result<(), ComposeError> {
    let here = &request.working_directory;
    let mut files: Vec<PathBuf> = request.env_files.iter().map(|it| here.join(it)).collect();
    if files.is_empty() {
        let listed = variables.get("COMPOSE_ENV_FILES").unwrap_or_default();
        let listed = listed.split(',').filter(|it| !it.is_empty());
        files.extend(listed.map(|it| here.join(it)));
    }
    let is_off = variables.get("COMPOSE_DISABLE_ENV_FILE");
    let is_off = is_off.is_some_and(|it| matches!(it, "1" | "t" | "T" | "true" | "True" | "TRUE"));
    let default = directory.join(".env");
    if files.is_empty() && !is_off && default.is_file() {
        files.push(default);
    }
    let read = dotenv::read(&files, variables)?;
    variables.add(read);
    Ok(())
}
