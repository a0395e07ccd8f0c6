//! `reclaim maintain`.

use std::sync::Arc;

use reclaim_engine::{Maintenance, Outcome, PolicyRun, Trigger};
use reclaim_model::{Mode, chain};
use sd_notify::NotifyState;
use tracing::info;

use crate::args::maintain::MaintainArgs;
use crate::args::{Format, Globals};
use crate::daemon::{Daemon, notify};
use crate::exit::{CommandError, Exit};
use crate::signals::{STOPPING, Stop, stop_on_signals};
use crate::upkeep::{Host, chosen};
use crate::{json, output, text};

pub(crate) async fn run(globals: &Globals, args: &MaintainArgs) -> Result<Exit, CommandError> {
    let host = Host::open("maintain", globals, &args.host).await?;
    if args.once {
        return once(&host, args).await;
    }
    let stop = stop_on_signals(Some(STOPPING))?;
    let host = Arc::new(host);
    let daemon = Daemon::start(host, globals, args.policies.clone(), &stop.token).await?;
    notify(&[NotifyState::Ready]);
    stop.token.cancelled().await;
    notify(&[NotifyState::Stopping]);
    daemon.ended().await;
    info!("stopped");
    Ok(Exit::Done)
}

/// Runs each policy once, and remembers what was used until the next time.
async fn once(host: &Host, args: &MaintainArgs) -> Result<Exit, CommandError> {
    let policies = chosen(&host.config, &args.policies)?;
    let stop = stop_on_signals(Some(STOPPING))?;
    host.engine.reconcile(&host.index).await?;
    host.index.save()?;
    if policies.is_empty() {
        output::words("no policy is enabled; nothing to do");
    }
    let maintenance = host.maintenance(&host.config);
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
        remember(host, &maintenance, &run);
        if args.format == Format::Table {
            output::data(&text::policy::run(&run))?;
            text::policy::words_after(&run);
        }
        runs.push(run);
    }
    if args.format == Format::Json {
        output::data(&json::policy::runs(&runs))?;
    }
    host.index.save()?;
    Ok(exit(&runs, &stop))
}

/// Writes a run down. A disk that is too full for that is no reason to fail what made room.
fn remember(host: &Host, maintenance: &Maintenance, run: &PolicyRun) {
    if let Err(error) = host.history.add(run) {
        output::words(&format!("warning: {}", chain(&error)));
    }
    if let Err(error) = maintenance.index.save() {
        output::words(&format!("warning: {}", chain(&error)));
    }
}

/// The worst that came of it.
fn exit(runs: &[PolicyRun], stop: &Stop) -> Exit {
    let mut reports = runs.iter().flat_map(|run| &run.reports);
    if let Some(exit) = reports.find_map(|report| stop.cut_short(report)) {
        return exit;
    }
    let any = |outcome| runs.iter().any(|run| run.outcome == outcome);
    if any(Outcome::Failed) {
        Exit::Failed
    } else if any(Outcome::Partial) {
        Exit::Partial
    } else if any(Outcome::Busy) {
        Exit::Busy
    } else if any(Outcome::Unmet) {
        Exit::TargetNotMet
    } else {
        Exit::Done
    }
}
