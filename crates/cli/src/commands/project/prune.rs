//! `reclaim project prune`.

use std::path::Path;
use std::time::Duration;

use reclaim_engine::{Audited, DockerAddress, DockerEngine, DockerError, this_process};
use reclaim_model::{
    AuditRecord, AuditRequest, EntryPoint, Mode, Named, NotRemoved, ProjectImageMode,
    ProjectImages, ProjectName, PruneRequest, Report, form,
};
use serde::Serialize;

use super::docker;
use crate::args::project::ProjectPruneArgs;
use crate::args::{Format, Globals};
use crate::backend::{self, Backend};
use crate::exit::{CommandError, Exit};
use crate::text::Truncation;
use crate::{commands, output, text};

/// The name of containerd in `engine`.
const CONTAINERD: &str = "containerd";

/// The result, as it is printed in JSON.
#[derive(Debug, Serialize)]
pub(crate) struct PruneResult {
    pub(crate) project: ProjectName,
    pub(crate) rmi: ProjectImageMode,
    #[serde(rename = "dry_run", with = "form::dry_run")]
    pub(crate) mode: Mode,
    /// `containerd`, or the address of a Docker Engine.
    pub(crate) engine: String,
    /// Each image of the project.
    pub(crate) images: Vec<Named>,
    /// The report of the run, whose `named` are in `images`; a Docker Engine returns none.
    pub(crate) report: Option<Report>,
}

pub(crate) async fn run(globals: &Globals, args: &ProjectPruneArgs) -> Result<Exit, CommandError> {
    // Before anything is removed, in case a file cannot be read.
    let images = super::images(args)?;
    let (project, rmi) = (images.project.name.clone(), images.mode);
    let mode = mode(args);
    let (result, stopped) = match args.docker() {
        None => {
            let (mut report, stopped) = Box::pin(on_containerd(globals, args, images)).await?;
            let result = PruneResult {
                project,
                rmi,
                mode,
                engine: CONTAINERD.to_owned(),
                images: std::mem::take(&mut report.named),
                report: Some(report),
            };
            (result, stopped)
        }
        Some(address) => {
            if args.how.undo_window() > Duration::ZERO {
                return Err(CommandError::NothingHeld(address.to_owned()));
            }
            let engine = connect(address, args.docker_tls.as_deref()).await?;
            let result = PruneResult {
                project,
                rmi,
                mode,
                engine: engine.address().to_string(),
                images: on_docker(globals, args, &engine, images).await?,
                report: None,
            };
            (result, None)
        }
    };
    print(args.format, &result, globals.truncation())?;
    if let Some(report) = &result.report {
        output::messages(&text::report::notes(report, globals.truncation()));
    }
    Ok(stopped.unwrap_or_else(|| exit(&result)))
}

/// Connects to a Docker Engine, with the certificates of the option, or of the variables as Docker has
/// them.
async fn connect(address: &str, certificates: Option<&Path>) -> Result<DockerEngine, DockerError> {
    let environment = super::environment();
    let verifies = environment.get("DOCKER_TLS_VERIFY");
    let verifies = verifies.is_some_and(|value| !value.is_empty());
    let variable = environment.get("DOCKER_CERT_PATH").filter(|_| verifies);
    let certificates = certificates.or(variable.map(Path::new));
    let address = DockerAddress::new(address, certificates)?;
    DockerEngine::connect(&address).await
}

async fn on_containerd(
    globals: &Globals,
    args: &ProjectPruneArgs,
    images: ProjectImages,
) -> Result<(Report, Option<Exit>), CommandError> {
    let (namespace, is_explicit) = globals.namespace()?;
    let request = PruneRequest::new(namespace, images)
        .may_lack_namespace(!is_explicit)
        .lift_protection(args.how.lift_protection);
    let backend = Backend::connect_protected(globals).await?;
    commands::run_or_preview(&backend, &request, mode(args), &args.how).await
}

/// Removes the images through a Docker Engine, and records it as a run on containerd would be.
async fn on_docker(
    globals: &Globals,
    args: &ProjectPruneArgs,
    engine: &DockerEngine,
    images: ProjectImages,
) -> Result<Vec<Named>, CommandError> {
    let config = backend::configuration(globals)?;
    let namespace = docker::namespace(engine).await?;
    let request = PruneRequest::new(namespace.clone(), images.clone())
        .lift_protection(args.how.lift_protection);
    let request = AuditRequest::Docker {
        engine: engine.address().to_string(),
        request: Box::new(request),
    };
    let audited = (mode(args) == Mode::Apply).then(|| {
        let log = globals.audit_log(config.as_ref());
        let caller = this_process(EntryPoint::CommandLine);
        Audited::new(log, caller, namespace.clone(), request)
    });
    let rules = docker::Rules {
        protection: config.as_ref().map(|config| &config.protection),
        is_lifted: args.how.lift_protection,
        audited: audited.as_ref(),
    };
    let removed = docker::prune(engine, &namespace, &images, rules).await;
    if let Some(audited) = audited {
        let finish = |record: &mut AuditRecord| docker::enter(record, &removed);
        audited.end(reclaim_engine::now(), finish).await;
    }
    Ok(removed?)
}

fn mode(args: &ProjectPruneArgs) -> Mode {
    if args.dry_run {
        Mode::DryRun
    } else {
        Mode::Apply
    }
}

fn print(format: Format, result: &PruneResult, trunc: Truncation) -> Result<(), CommandError> {
    match format {
        Format::Json => output::json(result)?,
        Format::Table => output::data(&text::project::removals(
            &result.images,
            result.report.as_ref(),
            result.mode,
            trunc,
        ))?,
    }
    for Named { name, error, .. } in &result.images {
        match error {
            None => {}
            Some(error) if is_failure(error) => output::message(format!("error: {name}: {error}")),
            Some(error) => output::message(format!("warning: {name}: {error}")),
        }
    }
    if result.images.is_empty() {
        let name = &result.project;
        output::message(format!("warning: project {name} has no image to remove"));
    }
    Ok(())
}

/// Returns whether an error fails the command. As for Compose, an image in use or missing does not.
fn is_failure(error: &NotRemoved) -> bool {
    match error {
        NotRemoved::NoSuchImage(_) | NotRemoved::Ambiguous | NotRemoved::Conflict(_) => false,
        NotRemoved::Blank
        | NotRemoved::Reference(_)
        | NotRemoved::Changed
        | NotRemoved::Cancelled
        | NotRemoved::NoSuchPlatform { .. }
        | NotRemoved::Failed(_) => true,
    }
}

fn exit(result: &PruneResult) -> Exit {
    let is_unfinished =
        |report: &Report| report.unfinished.is_some() || !report.stranded.is_empty();
    let mut errors = result
        .images
        .iter()
        .filter_map(|named| named.error.as_ref());
    if result.report.as_ref().is_some_and(is_unfinished) {
        Exit::Partial
    } else if errors.any(is_failure) {
        Exit::Failed
    } else {
        Exit::Done
    }
}
