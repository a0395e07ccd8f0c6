//! `reclaim why`.

use crate::args::{Format, Globals, WhyArgs};
use crate::backend::Backend;
use crate::exit::{CommandError, Exit};
use crate::{output, text};

pub(crate) async fn run(globals: &Globals, args: &WhyArgs) -> Result<Exit, CommandError> {
    let (namespace, _) = globals.namespace()?;
    let backend = Backend::connect(globals).await?;
    let answers = backend.why(&namespace, &args.thing).await?;
    match args.format {
        Format::Json => output::json(&answers)?,
        Format::Table => output::data(&text::why::answers(&answers.answers, globals.ids()))?,
    }
    let warnings = answers.answers.iter().flat_map(|answer| &answer.warnings);
    text::warn(warnings, globals.ids());
    Ok(Exit::Done)
}
