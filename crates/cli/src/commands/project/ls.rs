//! `reclaim project ls`.

use crate::args::project::ProjectLsArgs;
use crate::args::{Format, Globals};
use crate::backend::Backend;
use crate::exit::{CommandError, Exit};
use crate::{json, output, text};

pub(crate) async fn run(globals: &Globals, args: &ProjectLsArgs) -> Result<Exit, CommandError> {
    let (namespace, is_asked_for) = globals.namespace()?;
    let backend = Backend::connect(globals).await?;
    let projects = backend.projects(&namespace, !is_asked_for).await?;
    output::data(&match args.format {
        Format::Json => json::project::projects(&namespace, &projects),
        Format::Table => text::project::projects(&projects),
    })?;
    Ok(Exit::Done)
}
