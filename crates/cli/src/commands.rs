//! One module per command, named as it is typed.

pub(crate) mod ls;
pub(crate) mod prune;

use reclaim_engine::Engine;
use reclaim_store::Containerd;

use crate::args::Globals;
use crate::exit::CommandError;

/// Connects to the containerd that the options name.
async fn connect(globals: &Globals) -> Result<Engine, CommandError> {
    Ok(Engine::new(Containerd::connect(&globals.address).await?))
}
