//! `reclaim completions` and the hidden `reclaim man-pages`, made from the comments in `args`.
//!
//! The binary makes both itself, so that a package cannot contain those of another version.

use clap::CommandFactory;

use crate::args::{Cli, CompletionsArgs, ManPagesArgs};
use crate::exit::{CommandError, Exit};
use crate::output;

/// The name of the installed binary.
const NAME: &str = "reclaim";

pub(crate) fn completions(args: &CompletionsArgs) -> Result<Exit, CommandError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), NAME, &mut script);
    output::exactly(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}

pub(crate) fn man_pages(args: &ManPagesArgs) -> Result<Exit, CommandError> {
    clap_mangen::generate_to(Cli::command(), &args.directory).map_err(|error| {
        let directory = args.directory.clone();
        CommandError::ManPages { directory, error }
    })?;
    Ok(Exit::Done)
}
