//! `reclaim release`.

use crate::args::{Globals, ReleaseArgs};
use crate::exit::{CommandError, Exit};
use crate::{commands, output};

pub(crate) async fn run(globals: &Globals, args: &ReleaseArgs) -> Result<Exit, CommandError> {
    let (namespace, _) = globals.namespace()?;
    let engine = commands::connect(globals).await?;
    let run = engine.release(&namespace, Some(&args.run)).await?;
    output::data(&format!("released: {run}\n"))?;
    Ok(Exit::Done)
}
