//! `reclaim image restore`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use reclaim_model::{
    CredentialsByRegistry, NotRestored, RegistryCredentials, RestoreCall, RestoreRequest, Restores,
};

use crate::args::image::RestoreArgs;
use crate::args::{Format, Globals};
use crate::backend::Backend;
use crate::docker_config::{DockerConfig, Login};
use crate::exit::{CommandError, Exit};
use crate::signals::{Stop, stop_on_signals};
use crate::{output, text};

/// The longest password that is read from standard input.
const MAX_PASSWORD: u64 = 64 << 10;

const STOPPING: &str = "stopping; what was fetched stays with the images; send the signal again to \
                        stop at once";

pub(crate) async fn run(globals: &Globals, args: &RestoreArgs) -> Result<Exit, CommandError> {
    let (namespace, is_explicit) = globals.namespace()?;
    let request = RestoreRequest {
        namespace,
        names: args.which.images.clone(),
        platforms: args.platforms.clone(),
        may_lack_namespace: !is_explicit,
        dry_run: args.dry_run,
    };
    let given = match &args.user {
        Some(user) => Some(RegistryCredentials {
            user: user.clone(),
            password: password()?,
        }),
        None => None,
    };
    let backend = Backend::connect(globals).await?;
    let stop = stop_on_signals(match &backend {
        Backend::Direct(_) => Some(STOPPING),
        // The message of `LeftToDaemon` says that it continues.
        Backend::Host(_) => None,
    })?;
    let (credentials, unusable) = credentials(&backend, &request, given, &stop).await?;
    let call = RestoreCall {
        request,
        credentials,
    };
    let restores = backend.restore(&call, &stop).await?;
    match args.format {
        Format::Json => output::json(&restores)?,
        Format::Table => output::data(&text::restore::restores(&restores, globals.truncation()))?,
    }
    report(&restores, &unusable);
    let is_stopped = |error: &NotRestored| matches!(error, NotRestored::Cancelled);
    let mut errors = restores.images.iter().filter_map(|it| it.error.as_ref());
    Ok(match stop.status() {
        Some(stopped) if errors.any(is_stopped) => stopped,
        _ => exit(&restores),
    })
}

/// Returns the credentials for the registries of the images, and why others cannot be used.
async fn credentials(
    backend: &Backend,
    request: &RestoreRequest,
    given: Option<RegistryCredentials>,
    stop: &Stop,
) -> Result<(CredentialsByRegistry, BTreeMap<String, String>), CommandError> {
    let registries = RestoreCall {
        request: RestoreRequest {
            platforms: Vec::new(),
            dry_run: true,
            ..request.clone()
        },
        credentials: CredentialsByRegistry::new(),
    };
    let found = backend.restore(&registries, stop).await?;
    let registries = found.images.into_iter().filter_map(|image| image.registry);
    let registries: BTreeSet<String> = registries.collect();
    let mut unusable = BTreeMap::new();
    if let Some(given) = given {
        if registries.len() > 1 {
            let names = Vec::from_iter(registries).join(", ");
            return Err(CommandError::SeveralRegistries(names));
        }
        let credentials = registries
            .into_iter()
            .map(|registry| (registry, given.clone()));
        return Ok((credentials.collect(), unusable));
    }
    let config = DockerConfig::read().unwrap_or_else(|why| {
        output::message(format!("warning: {why}; no credentials are used"));
        DockerConfig::default()
    });
    let mut credentials = CredentialsByRegistry::new();
    for registry in registries {
        match config.login(&registry) {
            Login::Credentials(found) => drop(credentials.insert(registry, found)),
            Login::Unusable(why) => drop(unusable.insert(registry, why)),
            Login::None => {}
        }
    }
    Ok((credentials, unusable))
}

/// Reads the password from standard input, without the end of its line.
fn password() -> Result<String, CommandError> {
    let mut password = String::new();
    let read = std::io::stdin()
        .take(MAX_PASSWORD)
        .read_to_string(&mut password);
    read.map_err(CommandError::Password)?;
    let line = password.strip_suffix('\n').unwrap_or(&password);
    Ok(line.strip_suffix('\r').unwrap_or(line).to_owned())
}

/// Prints why images still lack content.
fn report(restores: &Restores, unusable: &BTreeMap<String, String>) {
    let mut hints = BTreeSet::new();
    for image in &restores.images {
        match &image.error {
            None if !image.is_change() => {
                output::message(format!("{} lacks nothing", image.name));
            }
            None => {}
            Some(error) => {
                output::message(format!("error: {}: {error}", image.name));
                let registry = image.registry.as_deref().unwrap_or_default();
                if let NotRestored::Unauthorized(_) = error {
                    let why = unusable.get(registry).map(|why| format!("; {why}"));
                    hints.insert(format!(
                        "give credentials of {registry} with --user NAME --password-stdin{}",
                        why.unwrap_or_default()
                    ));
                }
            }
        }
    }
    for hint in hints {
        output::message(format!("hint: {hint}"));
    }
}

fn exit(restores: &Restores) -> Exit {
    let is_unknown = |error: &NotRestored| matches!(error, NotRestored::NotFound(_));
    let images = restores.images.iter();
    let errors: Vec<&NotRestored> = images.clone().filter_map(|it| it.error.as_ref()).collect();
    if errors.is_empty() {
        return Exit::Done;
    }
    let is_part_done = images
        .clone()
        .any(|it| it.error.is_none() || it.is_change());
    if errors.into_iter().any(is_unknown) || !is_part_done {
        Exit::Failed
    } else {
        Exit::Partial
    }
}
