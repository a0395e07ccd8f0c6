//! One module per command, named as it is typed.

pub(crate) mod config;
pub(crate) mod df;
pub(crate) mod health;
pub(crate) mod history;
pub(crate) mod ls;
pub(crate) mod maintain;
pub(crate) mod manual;
pub(crate) mod pin;
pub(crate) mod policy;
pub(crate) mod project;
pub(crate) mod prune;
pub(crate) mod release;
pub(crate) mod rm;
pub(crate) mod serve;
pub(crate) mod undo;
pub(crate) mod why;

use std::path::Path;

use reclaim_daemon::{Host, Patience};
use reclaim_engine::{Controls, RunError};
use reclaim_model::{Mode, Namespace, Report};

use crate::args::Globals;
use crate::args::how::HowArgs;
use crate::args::serve::HostArgs;
use crate::backend::{Asked, Backend, Confirmed};
use crate::exit::{CommandError, Exit};
use crate::progress::with_bar;
use crate::signals::{STOPPING, stop_on_signals};

/// Opens the host of a command that runs policies. It works on containerd itself, so `--host` is
/// refused.
async fn open_host(
    command: &'static str,
    globals: &Globals,
    args: &HostArgs,
    patience: Patience,
) -> Result<Host, CommandError> {
    if globals.host().is_some() {
        return Err(CommandError::NotWithHost(command));
    }
    let adapt = |engine, state: &Path| globals.identified(engine, Some(state));
    Ok(Host::open(args.options(globals), patience, adapt).await?)
}

/// Fails as a prune does if a namespace that was asked for by name is not among those there are.
fn demand_namespace<'a>(
    namespace: &Namespace,
    existing: impl Iterator<Item = &'a Namespace>,
) -> Result<(), CommandError> {
    let existing: Vec<Namespace> = existing.cloned().collect();
    if existing.contains(namespace) {
        return Ok(());
    }
    Err(CommandError::Run(RunError::UnknownNamespace {
        namespace: namespace.clone(),
        existing,
    }))
}

/// Removes what was asked for, or shows what that would do. Also returns the exit status of a
/// run that a signal has cut short.
async fn carry_out(
    backend: &Backend,
    asked: &Asked,
    mode: Mode,
    how: &HowArgs,
) -> Result<(Report, Option<Exit>), CommandError> {
    if mode == Mode::DryRun {
        return Ok((backend.plan(asked).await?.report, None));
    }
    prune(backend, asked, None, how).await
}

/// Removes what was asked for, or of that only what was confirmed.
async fn prune(
    backend: &Backend,
    asked: &Asked,
    confirmed: Option<&Confirmed>,
    how: &HowArgs,
) -> Result<(Report, Option<Exit>), CommandError> {
    let options = how.options();
    let stop = stop_on_signals(match backend {
        Backend::Direct(_) => Some(STOPPING),
        // The error says it.
        Backend::Host(_) => None,
    })?;
    let report = with_bar(async |bar| {
        let progress = |progress| bar.show(progress);
        let controls = Controls {
            options: &options,
            progress: &progress,
            cancel: &stop.token,
        };
        backend.prune(asked, confirmed, controls, &stop).await
    });
    let report = match report.await {
        Err(CommandError::Run(RunError::Cancelled)) => {
            return Err(CommandError::Stopped(stop.signalled().await));
        }
        report => report?,
    };
    let stopped = stop.cut_short(&report);
    Ok((report, stopped))
}
