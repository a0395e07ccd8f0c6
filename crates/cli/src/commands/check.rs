//! `reclaim check`.

use std::time::Duration;

use reclaim_maintenance::settings::duration_text;
use reclaim_maintenance::{FillForecast, PolicyForecast};
use reclaim_model::chain;
use tokio::time::{Instant, timeout_at};

use crate::args::Globals;
use crate::args::check::CheckArgs;
use crate::backend::Backend;
use crate::exit::{CommandError, Exit};
use crate::output;
use crate::text::check::{
    CanGo, Check, CheckLimits, CheckState, FreeableBytes, npd_line, unknown_line,
};

/// Checks the filesystems. Whatever fails is a result, because 1 and 2 are results, too.
pub(crate) async fn run(globals: &Globals, args: &CheckArgs) -> Result<Exit, CommandError> {
    let end = Instant::now() + args.timeout;
    let has_daemon = globals.host().is_some();
    let needs_forecast = args.warn_within.is_some() || args.crit_within.is_some();
    if needs_forecast && !has_daemon {
        return unknown(
            args,
            "--warn-within and --crit-within need --host: only a daemon has a forecast",
        );
    }
    let measured = timeout_at(end, measure(globals)).await;
    let (backend, forecast) = match measured {
        Ok(Ok(measured)) => measured,
        Ok(Err(error)) => return unknown(args, &chain(&error)),
        Err(_) => return unknown(args, &no_answer(has_daemon, args.timeout)),
    };
    let limits = CheckLimits {
        warn: args.warn,
        crit: args.crit,
        warn_within: args.warn_within,
        crit_within: args.crit_within,
    };
    let check = Check::new(&forecast, limits, has_daemon);
    if args.npd {
        output::data_line(check.npd_line())?;
        return Ok(Exit::Checked(check.state.npd_status()));
    }
    // It reads the whole store, which costs too much for a check without a problem.
    let is_problem = check.state >= CheckState::Warning;
    let can_go = if is_problem {
        let reading = timeout_at(end, freeable(&backend)).await;
        match reading {
            Ok(Ok(bytes)) => CanGo::Bytes(bytes),
            // The reason has no place in the line.
            Ok(Err(_)) | Err(_) => CanGo::Unknown,
        }
    } else {
        CanGo::Unread
    };
    output::data_line(check.line(&can_go))?;
    Ok(Exit::Checked(check.state.status()))
}

fn unknown(args: &CheckArgs, why: &str) -> Result<Exit, CommandError> {
    let state = CheckState::Unknown;
    if args.npd {
        output::data_line(npd_line(why))?;
        return Ok(Exit::Checked(state.npd_status()));
    }
    output::data_line(unknown_line(why))?;
    Ok(Exit::Checked(state.status()))
}

fn no_answer(has_daemon: bool, time: Duration) -> String {
    let from = if has_daemon {
        "the daemon"
    } else {
        "containerd"
    };
    format!("no answer from {from} within {}", duration_text(time))
}

async fn measure(globals: &Globals) -> Result<(Backend, FillForecast), CommandError> {
    let backend = Backend::connect_protected(globals).await?;
    let forecast = backend.fill_forecast().await?;
    Ok((backend, forecast))
}

/// Returns how many bytes could be freed.
async fn freeable(backend: &Backend) -> Result<FreeableBytes, CommandError> {
    let usage = backend.disk_usage().await?;
    let policies = match backend {
        // Without a daemon nothing runs them.
        Backend::Direct(_) => Vec::new(),
        Backend::Host(client) => client.explain_policies(&[]).await?,
    };
    Ok(FreeableBytes {
        prune_all: usage.total.reclaimable().total_bytes(),
        policies: policies.iter().map(by_policy).collect(),
    })
}

fn by_policy(forecast: &PolicyForecast) -> (String, u64) {
    let steps = forecast.namespaces.iter();
    let bytes = steps.map(|step| step.now.estimate.0.total_bytes());
    let bytes = bytes.fold(0, u64::saturating_add);
    (forecast.policy.to_string(), bytes)
}
