//! The commands, by topic.

pub(crate) mod check;
pub(crate) mod config;
pub(crate) mod inhibit;
pub(crate) mod maintain;
pub(crate) mod manual;
pub(crate) mod namespaces;
pub(crate) mod pin;
pub(crate) mod policy;
pub(crate) mod project;
pub(crate) mod prune;
pub(crate) mod restore;
pub(crate) mod rm;
pub(crate) mod serve;
pub(crate) mod show;
pub(crate) mod slim;
pub(crate) mod ui;
pub(crate) mod undo;

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

/// Opens the host of a command that runs policies in this process, and refuses `--host`.
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

/// Refuses options that a daemon has of its own, for a command that is sent to a daemon.
fn refuse_host_options(args: &HostArgs) -> Result<(), CommandError> {
    match args.first_given() {
        Some(option) => Err(CommandError::NotWithHost(option)),
        None => Ok(()),
    }
}

/// Fails like a prune if the namespace does not exist.
fn check_namespace_exists<'a>(
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

/// Runs a request, or only previews it in a dry run. Also returns the exit status if a signal stopped
/// the run early.
async fn run_or_preview(
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

/// Runs a request, or only the confirmed part of it. Also returns the exit status if a signal stopped
/// the run early.
async fn prune(
    backend: &Backend,
    request: &PruneRequest,
    confirmed: Option<&Confirmed>,
    how: &HowArgs,
) -> Result<(Report, Option<Exit>), CommandError> {
    let options = how.options();
    let stop = stop_on_signals(match backend {
        Backend::Direct(_) => Some(STOPPING),
        // The message of `LeftToDaemon` says that the run continues.
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
    let stopped = stop.exit_if_early(&report);
    Ok((report, stopped))
}

/// Refuses invalid filters before a connection is made.
fn check_filters(request: &PruneRequest) -> Result<(), FilterError> {
    let now = reclaim_engine::now();
    request.check(&TimeContext {
        now,
        offset: TimeZone::system().to_offset(now),
    })
}

/// Returns the report for JSON output: its `warnings` also say why the run is unfinished.
fn with_unfinished_warning(report: &Report) -> Cow<'_, Report> {
    let Some(unfinished) = &report.unfinished else {
        return Cow::Borrowed(report);
    };
    let mut report = report.clone();
    report.warnings.push(unfinished.clone());
    Cow::Owned(report)
}
