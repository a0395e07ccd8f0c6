//! `reclaim release`.

use crate::args::{Globals, ReleaseArgs};
use crate::backend::Backend;
use crate::exit::{CommandError, Exit};
use crate::output;

pub(crate) async fn run(globals: &Globals, args: &ReleaseArgs) -> Result<Exit, CommandError> {
    let (namespace, _) = globals.namespace()?;
    let backend = Backend::connect(globals).await?;
    let run = backend.release(&namespace, &args.run).await?;
    output::data(&format!("released: {run}\n"))?;
    Ok(Exit::Done)
}
