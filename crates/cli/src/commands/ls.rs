//! `reclaim image ls`.

use crate::args::image::LsArgs;
use crate::args::{Format, Globals};
use crate::backend::Backend;
use crate::exit::{CommandError, Exit};
use crate::{output, text};

pub(crate) async fn run(globals: &Globals, args: &LsArgs) -> Result<Exit, CommandError> {
    let (namespace, is_asked_for) = globals.namespace()?;
    let backend = Backend::connect(globals).await?;
    let list = backend.images(&namespace, !is_asked_for).await?;
    match args.format {
        Format::Json => output::json(&list)?,
        Format::Table if args.flat => {
            let table = text::images::flat(&list.images, list.observed_at, globals.ids());
            output::data(&table)?;
        }
        Format::Table => {
            let table = text::images::grouped(&list.images, list.observed_at, globals.ids());
            output::data(&table)?;
        }
    }
    text::warn(&list.warnings, globals.ids());
    Ok(Exit::Done)
}
