//! `reclaim project ls`.

use crate::args::project::ProjectLsArgs;
use crate::args::{Format, Globals};
use crate::exit::{CommandError, Exit};
use crate::{commands, json, output, text};

pub(crate) async fn run(globals: &Globals, args: &ProjectLsArgs) -> Result<Exit, CommandError> {
    let (namespace, is_asked_for) = globals.namespace()?;
    let engine = commands::connect("project ls", globals).await?;
    if is_asked_for {
        let existing = engine.store().namespaces().await?;
        commands::demand_namespace(&namespace, existing.iter())?;
    }
    let projects = engine.projects(&namespace).await?;
    output::data(&match args.format {
        Format::Json => json::project::projects(&namespace, &projects),
        Format::Table => text::project::projects(&projects),
    })?;
    Ok(Exit::Done)
}
