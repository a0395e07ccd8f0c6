//! One module per command, with the command's name.

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

use std::borrow::Cow;
use std::path::Path;

use jiff::tz::TimeZone;
use reclaim_daemon::{Host, Patience};
use reclaim_engine::{Controls, RunError};
use reclaim_model::{FilterError, Mode, Namespace, PruneRequest, Report, TimeContext};

use crate::args::Globals;
use crate::args::how::HowArgs;
use crate::args::serve::HostArgs;
use crate::backend::{Backend, Confirmed};
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

/// Fails, as a prune does, if the named namespace does not exist.
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

/// Carries out a request, or a dry run of it. Also returns the exit status if a signal cut the run
/// short.
async fn carry_out(
    backend: &Backend,
    request: &PruneRequest,
    mode: Mode,
    how: &HowArgs,
) -> Result<(Report, Option<Exit>), CommandError> {
    if mode == Mode::DryRun {
        return Ok((backend.plan(request).await?.report, None));
    }
    prune(backend, request, None, how).await
}

/// Carries out a request, or only the confirmed part of it.
async fn prune(
    backend: &Backend,
    request: &PruneRequest,
    confirmed: Option<&Confirmed>,
    how: &HowArgs,
) -> Result<(Report, Option<Exit>), CommandError> {
    let options = how.options();
    let stop = stop_on_signals(match backend {
        Backend::Direct(_) => Some(STOPPING),
        // `LeftToDaemon` says what a signal does.
        Backend::Host(_) => None,
    })?;
    let report = with_bar(async |bar| {
        let progress = |progress| bar.show(progress);
        let controls = Controls {
            options: &options,
            progress: &progress,
            cancel: &stop.token,
        };
        backend.prune(request, confirmed, controls, &stop).await
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

/// Refuses filters that mean nothing, before anything is connected to.
fn check(request: &PruneRequest) -> Result<(), FilterError> {
    let now = reclaim_engine::now();
    request.check(&TimeContext {
        now,
        offset: TimeZone::system().to_offset(now),
    })
}

/// Returns the report as the command prints it in JSON, where `warnings` have all warnings, also
/// why the run is unfinished.
fn with_all_warnings(report: &Report) -> Cow<'_, Report> {
    let Some(unfinished) = &report.unfinished else {
        return Cow::Borrowed(report);
    };
    let mut report = report.clone();
    report.warnings.push(unfinished.clone());
    Cow::Owned(report)
}
