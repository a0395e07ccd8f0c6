//! `reclaim undo`.

use crate::args::{Globals, UndoArgs};
use crate::backend::Backend;
use crate::exit::{CommandError, Exit};
use crate::output;

pub(crate) async fn run(globals: &Globals, args: &UndoArgs) -> Result<Exit, CommandError> {
    let (namespace, _) = globals.namespace()?;
    let undone = Backend::connect(globals)
        .await?
        .undo(&namespace, args.run.as_deref(), &args.images)
        .await?;
    for name in &undone.restored {
        output::data(&format!("restored: {name}\n"))?;
    }
    for name in &undone.taken {
        output::words(&format!(
            "not restored: {name}: the name now points to a different image"
        ));
    }
    Ok(if undone.taken.is_empty() {
        Exit::Done
    } else {
        Exit::Partial
    })
}
