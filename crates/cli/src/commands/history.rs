//! `reclaim history`.

use crate::args::{Format, Globals, HistoryArgs};
use crate::exit::{CommandError, Exit};
use crate::{commands, json, output, text};

pub(crate) async fn run(globals: &Globals, args: &HistoryArgs) -> Result<Exit, CommandError> {
    let (namespace, _) = globals.namespace()?;
    let engine = commands::connect(globals).await?;
    let holds = engine.history(&namespace).await?;
    output::data(&match args.format {
        Format::Json => json::history(&namespace, &holds),
        Format::Table => text::history(&holds),
    })?;
    Ok(Exit::Done)
}
