//! `reclaim project ls`.

use crate::args::project::ProjectLsArgs;
use crate::args::{Format, Globals};
use crate::backend::Backend;
use crate::exit::{CommandError, Exit};
use crate::{output, text};

pub(crate) async fn run(globals: &Globals, args: &ProjectLsArgs) -> Result<Exit, CommandError> {
    let (namespace, is_asked_for) = globals.namespace()?;
    let backend = Backend::connect(globals).await?;
    let list = backend.projects(&namespace, !is_asked_for).await?;
    match args.format {
        Format::Json => output::json(&list)?,
        Format::Table => output::data(&text::project::projects(&list.projects))?,
    }
    Ok(Exit::Done)
}
