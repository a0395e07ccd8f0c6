//! `reclaim policy`.

use reclaim_api::grpc::HostClient;
use reclaim_daemon::{DaemonError, Patience, config};
use reclaim_maintenance::{Policy, PolicyForecast, RunHistory, RunRecord};

use crate::args::maintain::{ExplainArgs, PolicyHistoryArgs};
use crate::args::{Format, Globals};
use crate::commands::open_host;
use crate::exit::{CommandError, Exit};
use crate::{json, output, text};

pub(crate) async fn explain(globals: &Globals, args: &ExplainArgs) -> Result<Exit, CommandError> {
    let explained = match globals.host() {
        None => explain_here(globals, args).await?,
        Some(address) => {
            args.host.demand_none()?;
            let client = HostClient::connect(address).await?;
            client.explain_policies(&args.policies).await?
        }
    };
    if explained.is_empty() {
        output::words("no policy is enabled; nothing is ever removed");
    }
    output::data(&match args.format {
        Format::Json => json::policy::forecasts(&explained),
        Format::Table => text::policy::forecasts(&explained, args.verbose, globals.ids()),
    })?;
    Ok(Exit::Done)
}

/// Explains in this process, and remembers what was used until the next time.
async fn explain_here(
    globals: &Globals,
    args: &ExplainArgs,
) -> Result<Vec<(Policy, PolicyForecast)>, CommandError> {
    let host = open_host("policy explain", globals, &args.host, Patience::None).await?;
    let chosen = Policy::chosen(&host.config.policies, &args.policies);
    let policies = chosen.map_err(DaemonError::from)?;
    host.index.reconcile(&host.engine).await?;
    host.index.save().map_err(DaemonError::from)?;
    let maintenance = host.maintenance(&host.config);
    let forecasts = maintenance.explain(&policies).await?;
    Ok(policies.into_iter().cloned().zip(forecasts).collect())
}

pub(crate) async fn history(
    globals: &Globals,
    args: &PolicyHistoryArgs,
) -> Result<Exit, CommandError> {
    let runs = match globals.host() {
        None => history_here(globals, args)?,
        Some(_) if args.state.is_some() => return Err(CommandError::NotWithHost("--state")),
        Some(address) => {
            let client = HostClient::connect(address).await?;
            client.policy_history(&args.policies).await?
        }
    };
    output::data(&match args.format {
        Format::Json => json::policy::history(&runs),
        Format::Table => text::policy::history(&runs),
    })?;
    Ok(Exit::Done)
}

/// Reads the history, beside whoever writes it.
fn history_here(
    globals: &Globals,
    args: &PolicyHistoryArgs,
) -> Result<Vec<RunRecord>, CommandError> {
    let config = config::find(globals.config()).map_err(DaemonError::from)?;
    let state = args.state.as_ref().unwrap_or(&config.state);
    let mut runs = RunHistory::read(state).map_err(DaemonError::from)?;
    if !args.policies.is_empty() {
        runs.retain(|run| args.policies.iter().any(|name| name.as_str() == run.policy));
    }
    Ok(runs)
}
