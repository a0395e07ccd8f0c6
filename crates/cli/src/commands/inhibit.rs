//! `reclaim inhibit`. The only command that starts a program: the one that the user names.

use std::ffi::{OsStr, OsString};
use std::io::ErrorKind;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;

use reclaim_engine::{Engine, InhibitRequest, Inhibition};
use reclaim_model::{InhibitScope, Inhibitor};
use rustix::process::{Pid, Signal, getpgrp, kill_process};
use serde::Serialize;
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

use crate::args::inhibit::InhibitArgs;
use crate::args::{Format, Globals};
use crate::exit::{CommandError, Exit};
use crate::{output, text};

pub(crate) async fn run(globals: &Globals, args: &InhibitArgs) -> Result<Exit, CommandError> {
    if globals.host().is_some() {
        return Err(CommandError::NotWithHost("inhibit"));
    }
    let (namespace, _) = globals.namespace()?;
    let engine = reclaim_daemon::connect(globals.address(), globals.remote).await?;
    let engine = globals.identified(engine, None);
    let [program, arguments @ ..] = &args.command[..] else {
        return list(&engine, args.format).await;
    };
    let request = InhibitRequest {
        what: if args.all {
            InhibitScope::All
        } else {
            InhibitScope::Policies
        },
        command: name(program),
        why: args.why.clone(),
        namespace,
        lifetime: args.lifetime(),
    };
    let inhibiting = engine.inhibit(request).await;
    let mut inhibition = inhibiting.map_err(|error| CommandError::Run(error.into()))?;
    if !inhibition.is_held() {
        output::message("warning: containerd has no namespace yet, so there is nothing to inhibit");
    }
    let ended = run_command(program, arguments, &mut inhibition).await;
    inhibition.end().await;
    ended
}

/// Runs a command to its end, and passes signals on to it.
async fn run_command(
    program: &OsStr,
    arguments: &[OsString],
    inhibition: &mut Inhibition,
) -> Result<Exit, CommandError> {
    // Before the start, so that no signal ends this process without the command.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let started = Command::new(program).args(arguments).spawn();
    let mut child = started.map_err(|source| CommandError::Start {
        program: program.display().to_string(),
        source,
    })?;
    let keeping = inhibition.keep();
    tokio::pin!(keeping);
    loop {
        tokio::select! {
            status = child.wait() => return Ok(Exit::OfCommand(code(status?))),
            // The terminal sends it to every process in the foreground.
            _ = interrupt.recv() => if !is_in_foreground() {
                pass_on(&child, Signal::INT);
            },
            _ = terminate.recv() => pass_on(&child, Signal::TERM),
            () = &mut keeping => {}
        }
    }
}

/// Sends a signal to a command that has not been waited for.
fn pass_on(child: &Child, signal: Signal) {
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
    if let Some(pid) = pid.and_then(Pid::from_raw) {
        // It fails only if the command has ended, or has another user.
        kill_process(pid, signal).ok();
    }
}

/// Whether this process and the command are in the foreground of a terminal.
fn is_in_foreground() -> bool {
    let terminal = std::fs::File::open("/dev/tty");
    let group = terminal.map(rustix::termios::tcgetpgrp);
    matches!(group, Ok(Ok(group)) if group == getpgrp())
}

/// Returns the exit status of a shell for a command.
fn code(status: ExitStatus) -> u8 {
    let by_signal = || status.signal().map(|signal| 128 + signal);
    let code = status.code().or_else(by_signal);
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

/// Returns the exit status of a shell for a command that cannot be started.
pub(crate) fn code_of_start(error: &std::io::Error) -> u8 {
    if error.kind() == ErrorKind::NotFound {
        127
    } else {
        126
    }
}

/// Returns the name of a program, without its directory.
fn name(program: &OsStr) -> String {
    let path = Path::new(program);
    let name = path.file_name().unwrap_or(program);
    name.to_string_lossy().into_owned()
}

/// The JSON output of `--list`.
#[derive(Serialize)]
pub(crate) struct Inhibitors {
    pub(crate) inhibitors: Vec<Inhibitor>,
}

async fn list(engine: &Engine, format: Format) -> Result<Exit, CommandError> {
    let listing = engine.inhibitors().await;
    let inhibitors = listing.map_err(|error| CommandError::Run(error.into()))?;
    match format {
        Format::Json => output::json(Inhibitors { inhibitors })?,
        Format::Table if inhibitors.is_empty() => output::message("nothing is inhibited"),
        Format::Table => output::data(&text::policy::inhibitors(&inhibitors))?,
    }
    Ok(Exit::Done)
}
