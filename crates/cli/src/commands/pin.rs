//! `reclaim pin` and `reclaim unpin`.

use reclaim_model::{PinAction, PinRequest};

use crate::args::image::{PinArgs, UnpinArgs};
use crate::args::{Format, Globals};
use crate::backend::Backend;
use crate::exit::{CommandError, Exit};
use crate::{output, text};

pub(crate) async fn pin(globals: &Globals, args: &PinArgs) -> Result<Exit, CommandError> {
    run(globals, args, PinAction::Pin).await
}

pub(crate) async fn unpin(globals: &Globals, args: &UnpinArgs) -> Result<Exit, CommandError> {
    let action = if args.force {
        PinAction::UnpinAny
    } else {
        PinAction::Unpin
    };
    run(globals, &args.pin, action).await
}

async fn run(globals: &Globals, args: &PinArgs, action: PinAction) -> Result<Exit, CommandError> {
    let (namespace, is_explicit) = globals.namespace()?;
    let request = PinRequest {
        namespace,
        action,
        names: args.images.clone(),
        may_lack_namespace: !is_explicit,
        wait: args.wait,
    };
    let backend = Backend::connect(globals).await?;
    let pins = backend.pin(&request).await?;
    match args.format {
        Format::Json => output::json(&pins)?,
        Format::Table => output::data(&text::named::pins(action, &pins.images))?,
    }
    for outcome in &pins.images {
        match &outcome.error {
            None if outcome.changed.is_empty() => {
                output::message(text::named::pin_unchanged(action, &outcome.name));
            }
            None => {}
            Some(error) => output::message(format!("error: {error}")),
        }
    }
    let is_all_done = pins.images.iter().all(|outcome| outcome.error.is_none());
    Ok(if is_all_done {
        Exit::Done
    } else {
        Exit::Failed
    })
}
