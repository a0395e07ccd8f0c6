//! `reclaim df`.

use crate::args::{DfArgs, Format, Globals};
use crate::backend::Backend;
use crate::exit::{CommandError, Exit};
use crate::{commands, output, text};

pub(crate) async fn run(globals: &Globals, args: &DfArgs) -> Result<Exit, CommandError> {
    let only = globals.asked_namespace()?;
    let mut usage = Backend::connect(globals).await?.disk_usage().await?;
    if let Some(only) = only {
        commands::demand_namespace(&only, usage.namespaces.iter().map(|it| &it.namespace))?;
        usage.namespaces.retain(|it| it.namespace == only);
    }
    if !args.verbose {
        usage = usage.without_details();
    }
    match args.format {
        Format::Json => output::json(&usage)?,
        Format::Table => output::data(&text::df::usage(&usage, globals.ids()))?,
    }
    text::warn(&usage.warnings, globals.ids());
    Ok(Exit::Done)
}
