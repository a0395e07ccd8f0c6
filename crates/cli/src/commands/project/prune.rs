//! `reclaim project prune`.

use std::time::Duration;

use reclaim_engine::DockerEngine;
use reclaim_model::{Mode, Named, NotRemoved, ProjectImages, Report};

use super::docker;
use crate::args::project::ProjectPruneArgs;
use crate::args::{Format, Globals};
use crate::backend::{Asked, Backend};
use crate::exit::{CommandError, Exit};
use crate::text::Ids;
use crate::{commands, json, output, text};

/// The word for containerd as an engine.
const CONTAINERD: &str = "containerd";

/// What came of the images of a project.
#[derive(Debug)]
pub(crate) struct Outcome<'a> {
    pub(crate) request: &'a ProjectImages,
    pub(crate) mode: Mode,
    /// Where: `containerd`, or the address of a Docker Engine.
    pub(crate) engine: &'a str,
    /// Each image of the project.
    pub(crate) named: &'a [Named],
    /// The whole report; an engine that was asked over its API has none.
    pub(crate) report: Option<&'a Report>,
}

pub(crate) async fn run(globals: &Globals, args: &ProjectPruneArgs) -> Result<Exit, CommandError> {
    // First: nothing is done for files that cannot be read.
    let images = commands::project::images(args)?;
    if let Some(address) = args.docker() {
        return on_docker(address, args, &images, globals.ids()).await;
    }
    let (report, stopped) = on_containerd(globals, args, images.clone()).await?;
    let outcome = Outcome {
        request: &images,
        mode: report.mode,
        engine: CONTAINERD,
        named: &report.named,
        report: Some(&report),
    };
    print(args.format, &outcome, globals.ids())?;
    text::words_after_named(&report, globals.ids());
    Ok(stopped.unwrap_or_else(|| exit(&outcome)))
}

async fn on_docker(
    address: &str,
    args: &ProjectPruneArgs,
    images: &ProjectImages,
    ids: Ids,
) -> Result<Exit, CommandError> {
    if args.how.undo_window() > Duration::ZERO {
        return Err(CommandError::NothingHeld(address.to_owned()));
    }
    let mode = mode(args);
    let engine = DockerEngine::connect(address).await?;
    let named = docker::prune(&engine, images, mode).await?;
    let outcome = Outcome {
        request: images,
        mode,
        engine: engine.address(),
        named: &named,
        report: None,
    };
    print(args.format, &outcome, ids)?;
    Ok(exit(&outcome))
}

async fn on_containerd(
    globals: &Globals,
    args: &ProjectPruneArgs,
    images: ProjectImages,
) -> Result<(Report, Option<Exit>), CommandError> {
    let (namespace, is_asked_for) = globals.namespace()?;
    let asked = Asked::named(namespace, images, !is_asked_for);
    let backend = Backend::connect(globals).await?;
    commands::carry_out(&backend, &asked, mode(args), &args.how).await
}

fn mode(args: &ProjectPruneArgs) -> Mode {
    if args.dry_run {
        Mode::DryRun
    } else {
        Mode::Apply
    }
}

fn print(format: Format, outcome: &Outcome<'_>, ids: Ids) -> Result<(), CommandError> {
    output::data(&match format {
        Format::Json => json::project::outcome(outcome),
        Format::Table => text::project::outcome(outcome, ids),
    })?;
    for Named { name, outcome, .. } in outcome.named {
        match outcome {
            Ok(_) => {}
            Err(error) if is_failure(error) => output::words(&format!("error: {name}: {error}")),
            Err(error) => output::words(&format!("warning: {name}: {error}")),
        }
    }
    if outcome.named.is_empty() {
        let name = &outcome.request.project.name;
        output::words(&format!("warning: no image of project {name} to remove"));
    }
    Ok(())
}

/// As for Compose, what is in use or not there is no failure.
fn is_failure(error: &NotRemoved) -> bool {
    match error {
        NotRemoved::NoSuchImage(_) | NotRemoved::Ambiguous | NotRemoved::Conflict(_) => false,
        NotRemoved::Blank
        | NotRemoved::Reference(_)
        | NotRemoved::Changed
        | NotRemoved::Cancelled
        | NotRemoved::Failed(_) => true,
    }
}

fn exit(outcome: &Outcome<'_>) -> Exit {
    let mut errors = outcome
        .named
        .iter()
        .filter_map(|it| it.outcome.as_ref().err());
    let is_unfinished = |it: &Report| it.unfinished.is_some() || !it.stranded.is_empty();
    if outcome.report.is_some_and(is_unfinished) {
        Exit::Partial
    } else if errors.any(is_failure) {
        Exit::Failed
    } else {
        Exit::Done
    }
}
