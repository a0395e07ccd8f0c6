//! `reclaim project`: `ls`, and the files that `prune` reads.

mod docker;
pub(crate) mod prune;

use std::collections::{BTreeMap, BTreeSet};

use reclaim_compose::{ComposeError, ProjectFiles, Trusted, default_names, load};
use reclaim_model::{Project, ProjectImages, Separator};
use rustix::process::{getegid, geteuid};

use crate::args::project::{FilesArgs, ProjectLsArgs, ProjectPruneArgs};
use crate::args::{Format, Globals};
use crate::backend::Backend;
use crate::exit::{CommandError, Exit};
use crate::{output, text};

pub(crate) async fn ls(globals: &Globals, args: &ProjectLsArgs) -> Result<Exit, CommandError> {
    let (namespace, is_explicit) = globals.namespace()?;
    let backend = Backend::connect_protected(globals).await?;
    let separator = separator(args)?;
    let list = backend.projects(&namespace, !is_explicit, separator);
    let list = list.await?;
    match args.format {
        Format::Json => output::json(&list)?,
        Format::Table => output::data(&text::project::projects(&list.projects))?,
    }
    Ok(Exit::Done)
}

/// Returns how default names are made. An env file that cannot be read is no error: the working
/// directory need not be that of a project.
///
/// Source: docker/compose, `cmd/compose/compose.go`, `setEnvWithDotEnv`.
fn separator(args: &ProjectLsArgs) -> Result<Separator, CommandError> {
    let request = ProjectFiles {
        compatibility: args.compatibility,
        environment: environment(),
        working_directory: std::env::current_dir()?,
        trusted: Some(trusted()),
        ..ProjectFiles::default()
    };
    Ok(match default_names(&request) {
        Ok(names) => {
            warn(&names.warnings);
            names.separator
        }
        Err(error) => {
            warn(&[error.to_string()]);
            Separator::of_compatibility(false)
        }
    })
}

fn warn(warnings: &[String]) {
    for warning in warnings {
        output::message(format!("warning: {warning}"));
    }
}

/// Reads the project from its files. If it has a name and no files, returns only the name; the rest
/// is read from the labels of its containers.
fn images(args: &ProjectPruneArgs) -> Result<ProjectImages, CommandError> {
    let FilesArgs {
        files,
        project_name,
        project_directory,
        env_files,
        profiles,
        compatibility: is_compatible,
    } = &args.files;
    let request = ProjectFiles {
        files: files.clone(),
        name: project_name.clone(),
        directory: project_directory.clone(),
        env_files: env_files.clone(),
        profiles: profiles.clone(),
        services: args.services.clone(),
        compatibility: *is_compatible,
        environment: environment(),
        working_directory: std::env::current_dir()?,
        trusted: Some(trusted()),
    };
    let (project, from_containers) = match load(&request) {
        Ok(loaded) => {
            warn(&loaded.warnings);
            (loaded.project, false)
        }
        Err(error @ ComposeError::NoFile(_)) => {
            let named = request.environment.get("COMPOSE_PROJECT_NAME");
            let Some(name) = project_name.as_ref().or(named) else {
                return Err(error.into());
            };
            let defaults = default_names(&request)?;
            warn(&defaults.warnings);
            let project = Project {
                name: name.parse().map_err(ComposeError::Name)?,
                services: BTreeMap::new(),
                separator: defaults.separator,
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

/// Trusts this user and, under `sudo`, the user who called it, as `git` does.
fn trusted() -> Trusted {
    let environment = environment();
    let of_sudo = |name: &str| environment.get(name)?.parse::<u32>().ok();
    let (user, group) = (geteuid(), getegid());
    let sudo = |name| user.is_root().then(|| of_sudo(name)).flatten();
    Trusted {
        users: sudo("SUDO_UID")
            .into_iter()
            .chain([user.as_raw()])
            .collect(),
        groups: sudo("SUDO_GID")
            .into_iter()
            .chain([group.as_raw()])
            .collect(),
    }
}

/// Returns the environment, without variables that are not UTF-8: these cannot be interpolated.
fn environment() -> BTreeMap<String, String> {
    let variables = std::env::vars_os();
    let texts = variables.filter_map(|(name, value)| {
        let value = value.into_string().ok()?;
        Some((name.into_string().ok()?, value))
    });
    texts.collect()
}
