//! `reclaim project`.

mod docker;
pub(crate) mod ls;
pub(crate) mod prune;

use std::collections::{BTreeMap, BTreeSet};

use reclaim_compose::{ComposeError, ProjectFiles, load};
use reclaim_model::{Project, ProjectImageMode, ProjectImages};

use crate::args::project::{FilesArgs, ProjectPruneArgs};
use crate::exit::CommandError;
use crate::output;

/// Reads what is meant: the project from its files, or, if it has a name and no files, only the
/// name, for its containers to tell the rest.
pub(crate) fn images(args: &ProjectPruneArgs) -> Result<ProjectImages, CommandError> {
    let FilesArgs {
        files,
        project_name,
        project_directory,
        env_files,
        profiles,
    } = &args.files;
    let request = ProjectFiles {
        files: files.clone(),
        name: project_name.clone(),
        directory: project_directory.clone(),
        env_files: env_files.clone(),
        profiles: profiles.clone(),
        services: args.services.clone(),
        environment: environment(),
        working_directory: std::env::current_dir()?,
    };
    let (project, from_containers) = match load(&request) {
        Ok(loaded) => {
            for warning in &loaded.warnings {
                output::words(&format!("warning: {warning}"));
            }
            (loaded.project, false)
        }
        Err(error @ ComposeError::NoFile(_)) => {
            let named = request.environment.get("COMPOSE_PROJECT_NAME");
            let Some(name) = project_name.as_ref().or(named) else {
                return Err(error.into());
            };
            let project = Project {
                name: name.parse().map_err(ComposeError::Name)?,
                services: BTreeMap::new(),
            };
            (project, true)
        }
        Err(error) => return Err(error.into()),
    };
    let services: BTreeSet<String> = args.services.iter().cloned().collect();
    Ok(ProjectImages {
        project,
        from_containers,
        mode: args.rmi,
        remove_orphans: args.remove_orphans,
        services: (!services.is_empty()).then_some(services),
    })
}

/// Variables that are no text cannot be put into any.
fn environment() -> BTreeMap<String, String> {
    let variables = std::env::vars_os();
    let texts = variables.filter_map(|(name, value)| {
        let value = value.into_string().ok()?;
        Some((name.into_string().ok()?, value))
    });
    texts.collect()
}

/// The word for a mode, as it is typed.
pub(crate) fn word(mode: ProjectImageMode) -> &'static str {
    match mode {
        ProjectImageMode::None => "none",
        ProjectImageMode::Local => "local",
        ProjectImageMode::Built => "built",
        ProjectImageMode::All => "all",
    }
}
