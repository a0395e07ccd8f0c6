//! `reclaim policy`.

use std::path::Path;

use reclaim_api::json::{HostClient, PolicyForecasts, PolicyHistory};
use reclaim_api::page::{PlannedRemoval, planned};
use reclaim_daemon::config::ConfigSource;
use reclaim_daemon::{DaemonError, Host, HostOptions, Patience, config};
use reclaim_maintenance::{Policy, PolicyForecast, RunHistory, RunRecord, Timeline, try_policies};
use reclaim_model::chain;

use crate::args::maintain::{ExplainArgs, PolicyHistoryArgs, TryArgs};
use crate::args::{Format, Globals};
use crate::commands::{open_host, refuse_host_options};
use crate::exit::{CommandError, Exit};
use crate::{output, text, trial_page};

pub(crate) async fn explain(globals: &Globals, args: &ExplainArgs) -> Result<Exit, CommandError> {
    let forecasts = match globals.host() {
        None => explain_here(globals, args).await?,
        Some(address) => {
            refuse_host_options(&args.host)?;
            let client = HostClient::new(address)?;
            client.explain_policies(&args.policies).await?
        }
    };
    if forecasts.is_empty() {
        output::message("no policy is enabled; nothing is removed automatically");
    }
    match args.format {
        Format::Json => output::json(PolicyForecasts {
            policies: forecasts,
        })?,
        Format::Table => output::data(&text::policy::forecasts(
            &forecasts,
            args.verbose,
            globals.truncation(),
        ))?,
    }
    Ok(Exit::Done)
}

/// Explains in this process, and saves the last use of images for the next call.
async fn explain_here(
    globals: &Globals,
    args: &ExplainArgs,
) -> Result<Vec<PolicyForecast>, CommandError> {
    let host = open_host("policy explain", globals, &args.host, Patience::None).await?;
    let chosen = Policy::chosen(&host.config.policies, &args.policies);
    let policies = chosen.map_err(DaemonError::from)?;
    host.index.reconcile(&host.engine).await?;
    host.index.save().map_err(DaemonError::from)?;
    let maintenance = host.maintenance(&host.config);
    Ok(maintenance.explain(&policies).await?)
}

/// Returns what each policy of the configuration would remove now, for the page, or why that is unknown.
/// Changes nothing, so without a record of last use nothing can be said.
pub(crate) async fn planned_here(globals: &Globals) -> Result<Vec<PlannedRemoval>, String> {
    let unknown = |why: &str| format!("The policies cannot be evaluated: {why}");
    let config = config::read_if_any(&globals.config()).map_err(|error| unknown(&chain(&error)))?;
    let Some(config) = config.filter(|config| !config.policies.is_empty()) else {
        return Ok(Vec::new());
    };
    if !config.state.is_dir() {
        let state = config.state.display();
        let why = format!("`{state}` has no record of last use; with a daemon use --host");
        return Err(unknown(&why));
    }
    let options = HostOptions {
        config: globals.config(),
        address: globals.named_address().map(ToOwned::to_owned),
        is_remote: globals.remote,
        ..HostOptions::default()
    };
    let planning = async {
        let adapt = |engine, state: &Path| globals.identified(engine, Some(state));
        let host = Host::open(options, Patience::None, adapt).await?;
        host.index.reconcile(&host.engine).await?;
        let policies: Vec<&Policy> = host.config.policies.iter().collect();
        let forecasts = host.maintenance(&host.config).explain(&policies).await?;
        Ok::<_, CommandError>(forecasts.iter().map(planned).collect())
    };
    planning.await.map_err(|error| unknown(&chain(&error)))
}

pub(crate) async fn history(
    globals: &Globals,
    args: &PolicyHistoryArgs,
) -> Result<Exit, CommandError> {
    let runs = match globals.host() {
        None => history_here(globals, args)?,
        Some(_) if args.state.is_some() => return Err(CommandError::NotWithHost("--state")),
        Some(address) => {
            let client = HostClient::new(address)?;
            client.policy_history(&args.policies).await?
        }
    };
    match args.format {
        Format::Json => output::json(PolicyHistory { runs })?,
        Format::Table => output::data(&text::policy::history(&runs))?,
    }
    Ok(Exit::Done)
}

/// Reads the records of policy runs, which a daemon may write at the same time.
fn history_here(
    globals: &Globals,
    args: &PolicyHistoryArgs,
) -> Result<Vec<RunRecord>, CommandError> {
    let config = config::read(&globals.config()).map_err(DaemonError::from)?;
    let state = args.state.as_ref().unwrap_or(&config.state);
    let mut runs = RunHistory::read(state).map_err(DaemonError::from)?;
    if !args.policies.is_empty() {
        runs.retain(|run| args.policies.iter().any(|name| name.as_str() == run.policy));
    }
    Ok(runs)
}

/// Replays the recorded weeks against the policies of a file, in this process.
pub(crate) async fn try_file(globals: &Globals, args: &TryArgs) -> Result<Exit, CommandError> {
    let source = ConfigSource::At(args.file.clone());
    let config = config::read(&source).map_err(DaemonError::from)?;
    let chosen = Policy::chosen(&config.policies, &args.policies).map_err(DaemonError::from)?;
    let policies: Vec<Policy> = chosen.into_iter().cloned().collect();
    if policies.is_empty() {
        output::message("the file enables no policy; nothing would have been removed");
    }
    let timeline = match globals.host() {
        None => {
            let state = args.state.as_ref().unwrap_or(&config.state);
            Timeline::read(state).map_err(|source| CommandError::Timeline {
                directory: state.clone(),
                source,
            })?
        }
        Some(_) if args.state.is_some() => return Err(CommandError::NotWithHost("--state")),
        Some(address) => HostClient::new(address)?.timeline().await?,
    };
    let trial = try_policies(&timeline, &policies, &config.protection);
    if let Some(file) = &args.html {
        output::file(file, &trial_page::page(&trial).html())?;
        return Ok(Exit::Done);
    }
    match args.format {
        Format::Json => output::json(&trial)?,
        Format::Table => output::data(&text::trial::trial(&trial, args.verbose))?,
    }
    Ok(Exit::Done)
}
