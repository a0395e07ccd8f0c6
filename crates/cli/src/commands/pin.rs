//! `reclaim pin` and `reclaim unpin`.

use reclaim_model::{PinAction, PinOutcome, PinRequest};

use crate::args::pin::{PinArgs, UnpinArgs};
use crate::args::{Format, Globals};
use crate::backend::Backend;
use crate::exit::{CommandError, Exit};
use crate::{json, output, text};

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
    let (namespace, is_asked_for) = globals.namespace()?;
    let request = PinRequest {
        namespace,
        action,
        names: args.images.clone(),
        may_lack_namespace: !is_asked_for,
        wait: args.wait,
    };
    let backend = Backend::connect(globals).await?;
    let outcomes = backend.pin(&request).await?;
    output::data(&match args.format {
        Format::Json => json::pins(&request, &outcomes),
        Format::Table => text::pin::changes(action, &outcomes),
    })?;
    for PinOutcome { name, outcome } in &outcomes {
        match outcome {
            Ok(change) if change.changed.is_empty() => {
                output::words(&text::pin::unchanged(action, name));
            }
            Ok(_) => {}
            Err(error) => output::words(&format!("error: {error}")),
        }
    }
    let is_all_done = outcomes.iter().all(|it| it.outcome.is_ok());
    Ok(if is_all_done {
        Exit::Done
    } else {
        Exit::Failed
    })
}
