//! `reclaim config`.

use crate::args::{ConfigCommand, Globals};
use crate::exit::{CommandError, Exit};
use crate::{config, output};

pub(crate) fn run(globals: &Globals, command: ConfigCommand) -> Result<Exit, CommandError> {
    match command {
        ConfigCommand::Check => {
            let config = config::find(globals.config())?;
            let policies = config.policies.len();
            output::words(&format!(
                "configuration is valid; enabled policies: {policies}"
            ));
        }
        ConfigCommand::Show => {
            let config = config::find(globals.config())?;
            output::data(config.effective())?;
        }
        ConfigCommand::Schema => output::data(&config::schema())?,
    }
    Ok(Exit::Done)
}
