//! Reads Compose project files: which images the services of a project use.
//!
//! It reads the keys of Compose's format that determine the names of images: services with `image`,
//! `build`, `profiles` and `extends`, the top-level `name` and `include`, variables and env files,
//! in the order in which Compose merges them. It ignores other keys. A file that it cannot read is
//! an error with file, line and key; it never returns a part of a project.
//!
//! It reads local files only and makes no connection. Files of any content are read in bounded time
//! and memory.
//!
//! Source of the rules: the Compose Specification, and compose-go, which implements it.

mod dotenv;
mod error;
mod find;
mod interpolate;
mod loader;
mod service;
mod source;
mod trust;
mod yaml;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use reclaim_model::{Project, ProjectName, Separator, Service};

use find::Found;
use interpolate::Variables;
use loader::{Loader, Scope};
use service::{RawService, Reader};

pub use error::{ComposeError, Location};
pub use find::ProjectFiles;
pub use trust::{Trusted, Writer};

/// The variable that names the project.
const PROJECT_NAME: &str = "COMPOSE_PROJECT_NAME";

/// The variable that turns on the compatibility mode, in the environment or in an env file.
const COMPATIBILITY: &str = "COMPOSE_COMPATIBILITY";

/// A project, read from its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The project, with the services that are enabled.
    pub project: Project,
    /// The files that were read, env files too, sorted.
    pub files: Vec<PathBuf>,
    /// Warnings for the user: variables that are not set, and files that others can change.
    pub warnings: Vec<String>,
}

/// Reads a project.
///
/// # Errors
///
/// [`ComposeError`]: no file is named or found, or a file is invalid.
pub fn load(request: &ProjectFiles) -> Result<Loaded, ComposeError> {
    let Found {
        files,
        directory,
        mut variables,
        env_files,
    } = find::find(request)?;
    let mut loader = Loader::with_env_files(env_files);
    let name = name(request, &files, &directory, &variables, &mut loader)?;
    variables.set(PROJECT_NAME, name.as_str());
    let profiles = profiles(request, &variables);
    let is_compatible = request.compatibility || is_compatible(variables.get(COMPATIBILITY));
    let scope = Scope {
        directory,
        variables: Rc::new(variables),
        chain: Vec::new(),
    };
    let services: BTreeMap<String, RawService> = loader
        .load(&files, &scope)?
        .into_iter()
        .filter_map(|(name, entry)| Some((name, entry.into_service()?)))
        .collect();
    let mut requested = request.services.iter();
    if let Some(missing) = requested.find(|name| !services.contains_key(*name)) {
        return Err(ComposeError::NoService {
            name: missing.clone(),
            services: services.into_keys().collect(),
        });
    }
    let mut project = Project {
        name,
        services: BTreeMap::new(),
        separator: Separator::of_compatibility(is_compatible),
    };
    for (name, raw) in &services {
        if request.services.contains(name) || is_enabled(raw, &profiles) {
            project.services.insert(name.clone(), service(name, raw)?);
        }
    }
    let files = loader.files();
    let mut warnings: Vec<String> = loader
        .unset
        .borrow()
        .iter()
        .map(|name| format!("variable `{name}` is not set; using an empty string"))
        .collect();
    warnings.extend(changeable(request, &files)?);
    Ok(Loaded {
        project,
        files,
        warnings,
    })
}

/// How the images of projects without files are named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DefaultNames {
    /// What joins the names of a project and a service.
    pub separator: Separator,
    /// Warnings for the user: env files that others can change.
    pub warnings: Vec<String>,
}

/// Returns how images are named for what has no project files: by the request, its environment, or the
/// env files in its directory.
///
/// # Errors
///
/// [`ComposeError`]: an env file cannot be read.
pub fn default_names(request: &ProjectFiles) -> Result<DefaultNames, ComposeError> {
    if request.compatibility {
        return Ok(DefaultNames {
            separator: Separator::of_compatibility(true),
            warnings: Vec::new(),
        });
    }
    let (variables, env_files) = find::variables(request)?;
    let is_compatible = is_compatible(variables.get(COMPATIBILITY));
    Ok(DefaultNames {
        separator: Separator::of_compatibility(is_compatible),
        warnings: changeable(request, &env_files)?,
    })
}

/// Returns a warning for each file that another user can change.
fn changeable(request: &ProjectFiles, files: &[PathBuf]) -> Result<Vec<String>, ComposeError> {
    let mut warnings = Vec::new();
    for path in files {
        if let Some(writer) = find::writer(request.trusted.as_ref(), path)? {
            let path = path.display();
            let effect = "and so decide which images are a project's";
            warnings.push(format!("{writer} can change `{path}`, {effect}"));
        }
    }
    Ok(warnings)
}

/// Whether a value of `COMPOSE_COMPATIBILITY` turns on the compatibility mode.
///
/// Source: docker/compose, `pkg/utils/stringutils.go`.
fn is_compatible(value: Option<&str>) -> bool {
    let value = value.map(|value| value.trim().to_lowercase());
    value.is_some_and(|value| matches!(&*value, "1" | "t" | "true"))
}

/// Converts a service for the model. Like in Compose, a service with a provider needs no image.
fn service(name: &str, raw: &RawService) -> Result<Service, ComposeError> {
    let image = raw.image.get().filter(|image| !image.is_empty()).cloned();
    let is_built = raw.build.get().is_some() || raw.provider.get().is_some();
    if image.is_some() || is_built {
        return Ok(Service { image });
    }
    let location = raw.location.clone().unwrap_or_else(|| Location::file(name));
    Err(location.invalid("has neither an image nor a build context"))
}

fn is_enabled(service: &RawService, profiles: &BTreeSet<String>) -> bool {
    let own = service.profiles.get().map_or(&[][..], Vec::as_slice);
    own.is_empty() || profiles.contains("*") || own.iter().any(|own| profiles.contains(own))
}

fn profiles(request: &ProjectFiles, variables: &Variables) -> BTreeSet<String> {
    if !request.profiles.is_empty() {
        return request.profiles.iter().cloned().collect();
    }
    let list = variables.get("COMPOSE_PROFILES").unwrap_or_default();
    list.split(',')
        .map(str::trim)
        .filter(|profile| !profile.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Returns the project's name: that of the request, of the environment, of the last file that has
/// one, or of the directory.
fn name(
    request: &ProjectFiles,
    files: &[PathBuf],
    directory: &Path,
    variables: &Variables,
    loader: &mut Loader,
) -> Result<ProjectName, ComposeError> {
    let requested = request.name.as_deref();
    let given = [requested, variables.get(PROJECT_NAME)];
    if let Some(name) = given.into_iter().flatten().find(|name| !name.is_empty()) {
        return Ok(name.parse()?);
    }
    let mut named = None;
    for path in files {
        let tree = loader.tree(path)?;
        let reader = Reader {
            tree: &tree,
            path,
            variables,
            unset: &loader.unset,
        };
        for document in &tree.documents {
            if let Some(id) = tree.get(*document, "name") {
                let location = reader.location("name", id);
                let text = reader.text(id, &location)?.filter(|text| !text.is_empty());
                named = text.map(|text| (text, location)).or(named);
            }
        }
    }
    if let Some((text, location)) = named {
        return text
            .parse()
            .map_err(|error: reclaim_model::ProjectNameError| location.invalid(error.to_string()));
    }
    let directory = std::path::absolute(directory).unwrap_or_else(|_| directory.to_owned());
    directory
        .file_name()
        .and_then(|name| ProjectName::normalized(&name.to_string_lossy()))
        .ok_or(ComposeError::NoName(directory))
}
