//! `reclaim policy`.

use reclaim_engine::RunHistory;

use crate::args::maintain::{ExplainArgs, PolicyHistoryArgs};
use crate::args::{Format, Globals};
use crate::config;
use crate::exit::{CommandError, Exit};
use crate::upkeep::{Host, chosen};
use crate::{json, output, text};

pub(crate) async fn explain(globals: &Globals, args: &ExplainArgs) -> Result<Exit, CommandError> {
    let host = Host::open("policy explain", globals, &args.host).await?;
    let policies = chosen(&host.config, &args.policies)?;
    if policies.is_empty() {
        output::words("no policy is enabled; nothing is ever removed");
    }
    host.engine.reconcile(&host.index).await?;
    host.index.save()?;
    let maintenance = host.maintenance(&host.config);
    let mut forecasts = maintenance.explain(&policies).await?;
    for (policy, forecast) in policies.iter().zip(&mut forecasts) {
        let warnings = config::kubelet_warnings(&host.config, policy);
        forecast.warnings.extend(warnings);
    }
    output::data(&match args.format {
        Format::Json => json::policy::forecasts(&policies, &forecasts),
        Format::Table => text::policy::forecasts(&policies, &forecasts, args.verbose),
    })?;
    Ok(Exit::Done)
}

pub(crate) fn history(globals: &Globals, args: &PolicyHistoryArgs) -> Result<Exit, CommandError> {
    if globals.host().is_some() {
        return Err(CommandError::NotWithHost("policy history"));
    }
    let config = config::find(globals.config())?;
    let state = args.state.as_ref().unwrap_or(&config.state);
    let mut runs = RunHistory::read(state)?;
    if !args.policies.is_empty() {
        runs.retain(|run| args.policies.iter().any(|name| name.as_str() == run.policy));
    }
    output::data(&match args.format {
        Format::Json => json::policy::history(&runs),
        Format::Table => text::policy::history(&runs),
    })?;
    Ok(Exit::Done)
}
