//! One module per command, named as it is typed.

pub(crate) mod history;
pub(crate) mod ls;
pub(crate) mod prune;
pub(crate) mod release;
pub(crate) mod undo;

use reclaim_engine::Engine;
use reclaim_store::Containerd;

use crate::args::Globals;
use crate::exit::CommandError;

/// Connects to the containerd that the options name.
async fn connect(globals: &Globals) -> Result<Engine, CommandError> {
    Ok(Engine::new(Containerd::connect(&globals.address).await?))
}
