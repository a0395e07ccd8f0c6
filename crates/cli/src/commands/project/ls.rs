//! `reclaim project ls`.

use reclaim_model::{ProjectList, Versioned};

use crate::args::project::ProjectLsArgs;
use crate::args::{Format, Globals};
use crate::backend::Backend;
use crate::exit::{CommandError, Exit};
use crate::{json, output, text};

pub(crate) async fn run(globals: &Globals, args: &ProjectLsArgs) -> Result<Exit, CommandError> {
    let (namespace, is_asked_for) = globals.namespace()?;
    let backend = Backend::connect(globals).await?;
    let projects = backend.projects(&namespace, !is_asked_for).await?;
    let list = ProjectList {
        namespace,
        projects,
    };
    output::data(&match args.format {
        Format::Json => json::render(&Versioned::new(&list)),
        Format::Table => text::project::projects(&list.projects),
    })?;
    Ok(Exit::Done)
}
