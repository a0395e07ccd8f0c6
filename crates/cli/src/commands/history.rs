//! `reclaim history`.

use crate::args::{Format, Globals, HistoryArgs};
use crate::backend::Backend;
use crate::exit::{CommandError, Exit};
use crate::{output, text};

pub(crate) async fn run(globals: &Globals, args: &HistoryArgs) -> Result<Exit, CommandError> {
    let (namespace, _) = globals.namespace()?;
    let held = Backend::connect(globals).await?.history(&namespace).await?;
    match args.format {
        Format::Json => output::json(&held)?,
        Format::Table => output::data(&text::history(&held.runs))?,
    }
    Ok(Exit::Done)
}
