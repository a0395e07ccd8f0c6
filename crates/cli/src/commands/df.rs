//! `reclaim df`.

use crate::args::{DfArgs, Format, Globals};
use crate::backend::Backend;
use crate::exit::{CommandError, Exit};
use crate::{commands, json, output, text};

pub(crate) async fn run(globals: &Globals, args: &DfArgs) -> Result<Exit, CommandError> {
    let only = globals.asked_namespace()?;
    let mut usage = Backend::connect(globals).await?.disk_usage().await?;
    if let Some(only) = only {
        commands::demand_namespace(&only, usage.namespaces.keys())?;
        usage.namespaces.retain(|namespace, _| *namespace == only);
    }
    output::data(&match args.format {
        Format::Json => json::df::usage(&usage, args.verbose),
        Format::Table => text::df::usage(&usage, args.verbose, globals.ids()),
    })?;
    text::warn(&usage.warnings, globals.ids());
    Ok(Exit::Done)
}
