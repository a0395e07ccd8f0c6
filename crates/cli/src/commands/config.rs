//! `reclaim config`.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use reclaim_daemon::config::Config;
use reclaim_daemon::{DEFAULT_ADDRESS, DaemonError, config, connect};
use reclaim_maintenance::{Policy, Unmeasured};
use reclaim_model::chain;
use tracing::debug;

use crate::args::{ConfigCommand, ConfigInitArgs, ConfigPreset, Globals};
use crate::exit::{CommandError, Exit};
use crate::output;

pub(crate) async fn run(globals: &Globals, command: ConfigCommand) -> Result<Exit, CommandError> {
    match command {
        ConfigCommand::Init(args) => init(&args)?,
        ConfigCommand::Check => {
            let config = config::read(&globals.config()).map_err(DaemonError::from)?;
            for warning in unmeasured(globals, &config).await {
                output::message(format!("warning: {warning}"));
            }
            let policies = config.policies.len();
            output::message(format!(
                "configuration is valid; enabled policies: {policies}"
            ));
        }
        ConfigCommand::Show => {
            let config = config::read(&globals.config()).map_err(DaemonError::from)?;
            output::exactly(config.effective())?;
        }
        ConfigCommand::Schema => output::exactly(&config::schema())?,
    }
    Ok(Exit::Done)
}

/// Writes a configuration to begin with.
fn init(args: &ConfigInitArgs) -> Result<(), CommandError> {
    let text = match args.preset {
        ConfigPreset::Laptop => include_str!("config/laptop.toml"),
        ConfigPreset::Ci => include_str!("config/ci.toml"),
        ConfigPreset::Kubernetes => include_str!("config/kubernetes.toml"),
    };
    let Some(path) = args.file.as_deref().filter(|path| *path != Path::new("-")) else {
        return Ok(output::exactly(text)?);
    };
    let writing = || {
        let mut options = OpenOptions::new();
        options.write(true);
        if args.force {
            options.create(true).truncate(true);
        } else {
            options.create_new(true);
        }
        options.open(path)?.write_all(text.as_bytes())
    };
    writing().map_err(|source| CommandError::Write {
        path: path.to_owned(),
        source,
    })?;
    output::message(format!("wrote {}", path.display()));
    Ok(())
}

/// Returns what the watermarks of the policies do not count, as far as containerd answers: the file
/// may be checked on another host.
async fn unmeasured(globals: &Globals, config: &Config) -> Vec<String> {
    let has_marks = |policy: &Policy| {
        let pressure = &policy.pressure;
        pressure.bytes.is_some() || pressure.inodes.is_some()
    };
    if !config.policies.iter().any(has_marks) {
        return Vec::new();
    }
    let configured = config.address.as_deref();
    let address = globals.named_address().or(configured);
    let measuring = async {
        let engine = connect(address.unwrap_or(DEFAULT_ADDRESS), globals.remote).await;
        let engine = engine.map_err(|error| chain(&error))?;
        let found = engine.store().filesystems().await;
        found.map_err(|error| chain(&error))
    };
    match measuring.await {
        Ok(found) => found.unmeasured.iter().map(Unmeasured::warning).collect(),
        Err(error) => {
            debug!(%error, "cannot measure the filesystems");
            Vec::new()
        }
    }
}
