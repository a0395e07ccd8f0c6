//! `reclaim maintain`.

use reclaim_api::json::HostClient;
use reclaim_daemon::{DaemonError, Host, Patience};
use reclaim_maintenance::{Maintenance, Policy, PolicyOutcome, PolicyRun, Trigger};
use reclaim_model::{Mode, chain};
use serde::Serialize;

use crate::args::maintain::MaintainArgs;
use crate::args::{Format, Globals};
use crate::commands::{open_host, refuse_host_options};
use crate::exit::{CommandError, Exit};
use crate::signals::{STOPPING, Stop, stop_on_signals};
use crate::text::Truncation;
use crate::{output, text};

pub(crate) async fn run(globals: &Globals, args: &MaintainArgs) -> Result<Exit, CommandError> {
    if let Some(address) = globals.host() {
        return in_daemon(address, args, globals.truncation()).await;
    }
    let patience = if args.once {
        Patience::None
    } else {
        Patience::Waits
    };
    let host = open_host("maintain", globals, &args.host, patience).await?;
    if args.once {
        return once(&host, args, globals.truncation()).await;
    }
    let stop = stop_on_signals(Some(STOPPING))?;
    reclaim_daemon::maintain(host, args.policies.clone(), &stop.token).await?;
    Ok(Exit::Done)
}

/// Runs each policy once in this process, and saves the last use of images for the next call.
async fn once(host: &Host, args: &MaintainArgs, trunc: Truncation) -> Result<Exit, CommandError> {
    let chosen = Policy::chosen(&host.config.policies, &args.policies);
    let policies = chosen.map_err(DaemonError::from)?;
    let stop = stop_on_signals(Some(STOPPING))?;
    tokio::select! {
        biased;
        exit = stop.signalled() => return Err(CommandError::Stopped(exit)),
        read = host.index.reconcile(&host.engine) => {
            read?;
        }
    }
    host.index.save().map_err(DaemonError::from)?;
    if policies.is_empty() {
        warn_no_policy();
    }
    let maintenance = host.maintenance(&host.config);
    host.drop_headroom(&host.config);
    let mut runs = Vec::new();
    for policy in policies {
        let mut policy = policy.clone();
        if args.dry_run {
            policy.mode = Mode::DryRun;
        }
        if stop.token.is_cancelled() {
            break;
        }
        let run = maintenance.run(&policy, Trigger::Demand, &stop.token).await;
        record(host, &maintenance, &run);
        show_run(&run, args.format, trunc)?;
        runs.push(run);
    }
    show_all(&runs, args.format)?;
    host.index.save().map_err(DaemonError::from)?;
    tokio::select! {
        biased;
        _ = stop.signalled() => {}
        sent = host.send_events(&runs) => sent?,
    }
    Ok(exit(&runs, &stop))
}

/// Requests one run of each policy from a daemon. A signal ends the wait, not the runs.
async fn in_daemon(
    address: &str,
    args: &MaintainArgs,
    trunc: Truncation,
) -> Result<Exit, CommandError> {
    if !args.once {
        return Err(CommandError::OnlyOnceWithHost);
    }
    refuse_host_options(&args.host)?;
    // The message of `LeftToDaemon` says that the runs continue.
    let stop = stop_on_signals(None)?;
    let client = HostClient::new(address)?;
    let mode = if args.dry_run {
        Mode::DryRun
    } else {
        Mode::Apply
    };
    let mut runs = Vec::new();
    let following = async {
        let mut answer = client.run_policies(&args.policies, mode).await?;
        while let Some(run) = answer.next().await? {
            show_run(&run, args.format, trunc)?;
            runs.push(run);
        }
        Ok(())
    };
    let ended = tokio::select! {
        ended = following => ended,
        exit = stop.signalled() => Err(CommandError::LeftToDaemon(exit)),
    };
    if let Err(error) = ended {
        // Show the runs that ended, also if a later one failed.
        if !runs.is_empty() {
            show_all(&runs, args.format)?;
        }
        return Err(error);
    }
    if runs.is_empty() {
        warn_no_policy();
    }
    show_all(&runs, args.format)?;
    Ok(exit(&runs, &stop))
}

fn warn_no_policy() {
    output::message("no policy is enabled; nothing to do");
}

/// Shows a run when it has ended, as a table.
fn show_run(run: &PolicyRun, format: Format, trunc: Truncation) -> Result<(), CommandError> {
    if format == Format::Table {
        output::data(&text::policy::run(run))?;
        output::messages(&text::policy::messages(run, trunc));
    }
    Ok(())
}

/// The JSON output.
#[derive(Serialize)]
struct Runs<'r> {
    runs: &'r [PolicyRun],
}

/// Shows all runs at the end, as JSON.
fn show_all(runs: &[PolicyRun], format: Format) -> Result<(), CommandError> {
    if format == Format::Json {
        output::json(Runs { runs })?;
    }
    Ok(())
}

/// Records a run. A failure is only a warning: the disk may be full, and the run has made room.
fn record(host: &Host, maintenance: &Maintenance, run: &PolicyRun) {
    if let Err(error) = host.history.add(run) {
        output::message(format!("warning: {}", chain(&error)));
    }
    if let Err(error) = maintenance.index.save() {
        output::message(format!("warning: {}", chain(&error)));
    }
}

/// Returns the exit status for the worst outcome.
fn exit(runs: &[PolicyRun], stop: &Stop) -> Exit {
    let mut reports = runs.iter().flat_map(|run| &run.reports);
    if let Some(exit) = reports.find_map(|report| stop.exit_if_early(report)) {
        return exit;
    }
    let any = |outcome| runs.iter().any(|run| run.outcome == outcome);
    if any(PolicyOutcome::Failed) {
        Exit::Failed
    } else if any(PolicyOutcome::Partial) {
        stop.status().unwrap_or(Exit::Partial)
    } else if any(PolicyOutcome::Busy) || any(PolicyOutcome::Inhibited) {
        Exit::Busy
    } else if any(PolicyOutcome::Unmet) {
        Exit::TargetNotMet
    } else {
        Exit::Done
    }
}
