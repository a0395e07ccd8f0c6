//! `reclaim history`.

use crate::args::{Format, Globals, HistoryArgs};
use crate::backend::Backend;
use crate::exit::{CommandError, Exit};
use crate::{json, output, text};

pub(crate) async fn run(globals: &Globals, args: &HistoryArgs) -> Result<Exit, CommandError> {
    let (namespace, _) = globals.namespace()?;
    let holds = Backend::connect(globals).await?.history(&namespace).await?;
    output::data(&match args.format {
        Format::Json => json::history(&namespace, &holds),
        Format::Table => text::history(&holds),
    })?;
    Ok(Exit::Done)
}
