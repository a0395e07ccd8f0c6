//! `reclaim config`.

use reclaim_daemon::{DaemonError, config};

use crate::args::{ConfigCommand, Globals};
use crate::exit::{CommandError, Exit};
use crate::output;

pub(crate) fn run(globals: &Globals, command: ConfigCommand) -> Result<Exit, CommandError> {
    match command {
        ConfigCommand::Check => {
            let config = config::find(globals.config()).map_err(DaemonError::from)?;
            let policies = config.policies.len();
            output::message(&format!(
                "configuration is valid; enabled policies: {policies}"
            ));
        }
        ConfigCommand::Show => {
            let config = config::find(globals.config()).map_err(DaemonError::from)?;
            output::data(config.effective())?;
        }
        ConfigCommand::Schema => output::data(&config::schema())?,
    }
    Ok(Exit::Done)
}
