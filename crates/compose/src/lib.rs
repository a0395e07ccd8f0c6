//! The reader of project files: text to the names of services' images.
//!
//! It reads the files of Compose's format as far as the names of images need it: services with
//! `image`, `build`, `profiles` and `extends`, the top-level `name` and `include`, variables and
//! env files, in the order in which Compose merges them. Other keys may be there and say
//! anything. What it cannot read is an error that names file, line and key; a project that was
//! read by half is none.
//!
//! It reads files of this machine, and makes no connection. Files of any content are read in
//! bounded time and memory.
//!
//! Source of the rules: the Compose Specification, and compose-go, which implements it.

mod dotenv;
mod error;
mod find;
mod interpolate;
mod loader;
mod service;
mod source;
mod yaml;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use reclaim_model::{Project, ProjectName, Service};

use find::Found;
use interpolate::Variables;
use loader::{Loader, Scope};
use service::{RawService, Reader};

pub use error::{ComposeError, Place};

/// The variable that names the project.
const PROJECT_NAME: &str = "COMPOSE_PROJECT_NAME";

/// Which project is meant, as on the command line of Compose.
#[derive(Debug, Clone, Default)]
pub struct ProjectFiles {
    /// The files, each merged over the ones before it; `-` is standard input. Without any,
    /// those of `COMPOSE_FILE`, or the file by the usual name in the directory or above it,
    /// with its override file.
    pub files: Vec<PathBuf>,
    /// The name, instead of the one that environment, files or directory give.
    pub name: Option<String>,
    /// The project's directory, instead of that of its first file.
    pub directory: Option<PathBuf>,
    /// Env files, instead of `.env`.
    pub env_files: Vec<PathBuf>,
    /// Profiles to enable; without any, those of `COMPOSE_PROFILES`. `*` is all.
    pub profiles: Vec<String>,
    /// Services that are meant, whatever their profiles are.
    pub services: Vec<String>,
    /// The environment of the process.
    pub environment: BTreeMap<String, String>,
    /// The directory that the process is in.
    pub working_directory: PathBuf,
}

/// A project as its files have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The project, with the services that are enabled.
    pub project: Project,
    /// The files that were read, sorted.
    pub files: Vec<PathBuf>,
    /// What a person should know, such as variables that are not set.
    pub warnings: Vec<String>,
}

/// Reads a project.
///
/// # Errors
///
/// [`ComposeError::NoFile`] if no file is named and none is found; the others say what is wrong
/// with what was found.
pub fn load(request: &ProjectFiles) -> Result<Loaded, ComposeError> {
    let Found {
        files,
        directory,
        mut variables,
    } = find::find(request)?;
    let mut loader = Loader::default();
    let name = name(request, &files, &directory, &variables, &mut loader)?;
    variables.set(PROJECT_NAME, name.as_str());
    let profiles = profiles(request, &variables);
    let scope = Scope {
        directory,
        variables: Rc::new(variables),
        chain: Vec::new(),
    };
    let services = loader.load(&files, &scope)?;
    let services = services
        .into_iter()
        .filter_map(|(name, entry)| Some((name, entry.into_service()?)));
    let services: BTreeMap<String, RawService> = services.collect();
    let mut project = Project {
        name,
        services: BTreeMap::new(),
    };
    let names = || services.keys().cloned().collect();
    if let Some(missing) = request
        .services
        .iter()
        .find(|it| !services.contains_key(*it))
    {
        return Err(ComposeError::NoService {
            name: missing.clone(),
            services: names(),
        });
    }
    for (name, service) in &services {
        let is_asked_for = request.services.contains(name);
        if is_asked_for || is_enabled(service, &profiles) {
            let service = finished(name, service)?;
            project.services.insert(name.clone(), service);
        }
    }
    let unset = loader.unset.borrow();
    let unset = unset
        .iter()
        .map(|name| format!("the variable `{name}` is not set and taken for an empty one"));
    Ok(Loaded {
        project,
        files: loader.files(),
        warnings: unset.collect(),
    })
}

/// What a service comes to. One that something other than an image provides counts, as for
/// Compose, as one that names none.
fn finished(name: &str, service: &RawService) -> Result<Service, ComposeError> {
    let image = service.image.get().filter(|it| !it.is_empty()).cloned();
    let is_built = service.build.get().is_some() || service.provider.get().is_some();
    if image.is_some() || is_built {
        return Ok(Service { image });
    }
    let place = service.place.clone();
    let place = place.unwrap_or_else(|| Place::file(name));
    Err(place.invalid("has neither an image nor a build context"))
}

fn is_enabled(service: &RawService, profiles: &BTreeSet<String>) -> bool {
    let own = service.profiles.get().map_or(&[][..], Vec::as_slice);
    own.is_empty() || profiles.contains("*") || own.iter().any(|it| profiles.contains(it))
}

fn profiles(request: &ProjectFiles, variables: &Variables) -> BTreeSet<String> {
    if !request.profiles.is_empty() {
        return request.profiles.iter().cloned().collect();
    }
    let listed = variables.get("COMPOSE_PROFILES").unwrap_or_default();
    let listed = listed.split(',').map(str::trim);
    let listed = listed.filter(|it| !it.is_empty());
    listed.map(str::to_owned).collect()
}

/// The project's name: as it was given, as the environment has it, as the last file that has one
/// says, or as its directory is called.
fn name(
    request: &ProjectFiles,
    files: &[PathBuf],
    directory: &Path,
    variables: &Variables,
    loader: &mut Loader,
) -> Result<ProjectName, ComposeError> {
    let given = request.name.as_deref().filter(|it| !it.is_empty());
    let given = given.or_else(|| variables.get(PROJECT_NAME).filter(|it| !it.is_empty()));
    if let Some(name) = given {
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
                let place = reader.place("name", id);
                let text = reader.text(id, &place)?.filter(|it| !it.is_empty());
                named = text.map(|text| (text, place)).or(named);
            }
        }
    }
    if let Some((text, place)) = named {
        return text
            .parse()
            .map_err(|error: reclaim_model::ProjectNameError| place.invalid(error.to_string()));
    }
    let directory = std::path::absolute(directory).unwrap_or_else(|_| directory.to_owned());
    let base = directory.file_name().map(|it| it.to_string_lossy());
    base.and_then(|it| ProjectName::normalized(&it))
        .ok_or(ComposeError::NoName(directory))
}
