//! One module per command, named as it is typed.

pub(crate) mod config;
pub(crate) mod df;
pub(crate) mod history;
pub(crate) mod ls;
pub(crate) mod manual;
pub(crate) mod project;
pub(crate) mod prune;
pub(crate) mod release;
pub(crate) mod rm;
pub(crate) mod undo;
pub(crate) mod why;

use reclaim_engine::{Engine, RunError};
use reclaim_model::Namespace;
use reclaim_store::Containerd;

use crate::args::Globals;
use crate::exit::CommandError;

/// Connects to the containerd that the options name.
async fn connect(globals: &Globals) -> Result<Engine, CommandError> {
    Ok(Engine::new(Containerd::connect(&globals.address).await?))
}

/// Fails as a prune does if a namespace that was asked for by name is not among those there are.
fn demand_namespace<'a>(
    namespace: &Namespace,
    existing: impl Iterator<Item = &'a Namespace>,
) -> Result<(), CommandError> {
    let existing: Vec<Namespace> = existing.cloned().collect();
    if existing.contains(namespace) {
        return Ok(());
    }
    Err(CommandError::Run(RunError::UnknownNamespace {
        namespace: namespace.clone(),
        existing,
    }))
}
