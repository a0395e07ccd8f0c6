//! `reclaim why`.

use reclaim_model::{Answers, Versioned};

use crate::args::{Format, Globals, WhyArgs};
use crate::backend::Backend;
use crate::exit::{CommandError, Exit};
use crate::{json, output, text};

pub(crate) async fn run(globals: &Globals, args: &WhyArgs) -> Result<Exit, CommandError> {
    let (namespace, _) = globals.namespace()?;
    let backend = Backend::connect(globals).await?;
    let answers = Answers {
        answers: backend.why(&namespace, &args.thing).await?,
    };
    output::data(&match args.format {
        Format::Json => json::render(&Versioned::new(&answers)),
        Format::Table => text::why::answers(&answers.answers, globals.ids()),
    })?;
    let warnings = answers.answers.iter().flat_map(|answer| &answer.warnings);
    text::warn(warnings, globals.ids());
    Ok(Exit::Done)
}
