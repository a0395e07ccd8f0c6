//! Errors of commands, and the exit status.

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::CommandFactory;
use reclaim_api::health::HealthError;
use reclaim_api::json::HostError;
use reclaim_api::listen::ListenError;
use reclaim_api::service::ErrorKind;
use reclaim_compose::ComposeError;
use reclaim_daemon::DaemonError;
use reclaim_daemon::config::ConfigError;
use reclaim_engine::{AuditError, ConnectError, DockerError, NotFound, RunError};
use reclaim_maintenance::IndexError;
use reclaim_model::{
    FilterError, IMAGE_FILTER_KEYS, ImageFilterError, Namespace, NamespaceError, PRUNE_FILTER_KEYS,
    chain,
};
use reclaim_telemetry::TelemetryError;

use crate::args::{Cli, ScopeError};
use crate::commands::inhibit::code_of_start;
use crate::text::check::CheckState;
use crate::{output, text};

/// The exit status. Scripts depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done, nothing to do, or declined.
    Done,
    /// The command failed before it did anything.
    Failed,
    /// The arguments are wrong.
    Usage,
    /// Some steps were done and some failed.
    Partial,
    /// Another run holds the guard, or a command inhibits this one.
    Busy,
    /// The requested bytes cannot be freed; nothing was done.
    TargetNotMet,
    /// A signal stopped the command, which reports what it did: 128 and the signal's number.
    Stopped(u8),
    /// The result of `reclaim check`.
    Checked(u8),
    /// The status of the command that `reclaim inhibit` ran.
    OfCommand(u8),
}

impl Exit {
    /// Returns the worse of two, for a command that did the same in several namespaces.
    pub(crate) fn worse(self, other: Self) -> Self {
        let severity = |exit| match exit {
            Self::Done => 0,
            Self::Partial => 1,
            Self::TargetNotMet => 2,
            Self::Busy => 3,
            Self::Failed => 4,
            Self::Usage => 5,
            Self::Stopped(_) | Self::OfCommand(_) | Self::Checked(_) => 6,
        };
        if severity(other) > severity(self) {
            other
        } else {
            self
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Partial => 3,
            Exit::Busy => 4,
            Exit::TargetNotMet => 5,
            Exit::Stopped(status) | Exit::OfCommand(status) | Exit::Checked(status) => status,
        })
    }
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandError {
    #[error(transparent)]
    Filter(#[from] FilterError),
    #[error(transparent)]
    ImageFilter(#[from] ImageFilterError),
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Daemon(#[from] DaemonError),
    #[error("cannot tell which images are protected")]
    Protection(#[source] ConfigError),
    #[error(transparent)]
    Compose(#[from] ComposeError),
    #[error(transparent)]
    Docker(#[from] DockerError),
    #[error("cannot use --undo-window with the Docker Engine at {0}, which holds nothing")]
    NothingHeld(String),
    #[error("send spans to {endpoint}")]
    Collector {
        endpoint: String,
        #[source]
        source: TelemetryError,
    },
    #[error(transparent)]
    Host(#[from] HostError),
    #[error(transparent)]
    Health(#[from] HealthError),
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error("read what was recorded in `{}`", directory.display())]
    Timeline {
        directory: std::path::PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("`browse` needs a terminal; `image ls` and `df -v` print the same")]
    NoTerminal,
    #[error(transparent)]
    Scope(#[from] ScopeError),
    #[error(
        "cannot confirm {0} namespaces at once: the daemon keeps {max} plans",
        max = reclaim_api::json::MAX_PLANS
    )]
    TooManyPlans(usize),
    #[error("cannot use `{0}` with --host")]
    NotWithHost(&'static str),
    #[error("cannot use `maintain` with --host, except with --once: the daemon runs its policies")]
    OnlyOnceWithHost,
    #[error("cannot use --forward-except without --forward")]
    NothingForwarded,
    #[error("stopped before anything was removed")]
    Stopped(Exit),
    /// Has the exit status for the signal.
    #[error("stopped waiting; the run continues in the daemon")]
    LeftToDaemon(Exit),
    #[error("cannot tell when images were last used")]
    LastUse(#[source] IndexError),
    #[error("the daemon does not report when images were last used; is it older?")]
    LastUseNotReported,
    #[error(transparent)]
    Audit(#[from] AuditError),
    #[error(transparent)]
    Run(#[from] RunError),
    #[error("start `{program}`")]
    Start {
        program: String,
        #[source]
        source: std::io::Error,
    },
    #[error("--user is for one registry, but the images are of several: {0}")]
    SeveralRegistries(String),
    #[error("read the password from standard input")]
    Password(#[source] std::io::Error),
    #[error("write to standard output")]
    Output(#[from] std::io::Error),
    #[error("write {}", path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("write man pages to {}", directory.display())]
    ManPages {
        directory: PathBuf,
        #[source]
        error: std::io::Error,
    },
}

/// The hint for what only a daemon's user can read.
const USE_DAEMON: &str = "if a daemon runs here, use --host unix:///run/reclaim/reclaim.sock";

impl CommandError {
    /// Prints the error with its causes and a hint where there is one.
    pub(crate) fn report(&self) -> Exit {
        if let Self::Output(error) = self
            && error.kind() == std::io::ErrorKind::BrokenPipe
        {
            // The reader, such as `head`, has closed the pipe on purpose.
            return Exit::Done;
        }
        output::message(format!("error: {}", chain(self)));
        self.explain();
        self.exit()
    }

    /// Prints the error of a command in one of several namespaces, like [`Self::report`].
    pub(crate) fn report_in(&self, namespace: &Namespace) -> Exit {
        output::message(format!("{namespace}: error: {}", chain(self)));
        self.explain();
        self.exit()
    }

    /// Prints what helps with the error.
    fn explain(&self) {
        if let Self::Run(RunError::TargetNotMet(unmet)) = self {
            output::messages(&text::df::breakdown(&unmet.usage));
        }
        if let Self::Host(HostError::Refused {
            usage: Some(usage), ..
        }) = self
        {
            output::messages(&text::df::breakdown(usage));
        }
        if let Some(hint) = self.hint() {
            output::message(format!("hint: {hint}"));
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Filter(error) => error.unknown_key().map(|_| accepted_filters()),
            Self::Run(RunError::Check(reclaim_engine::InvalidPlan::EmptiesNamespace {
                namespace,
                containers: _,
            })) => Some(format!(
                "if this is intended, use --allow-empty {namespace}"
            )),
            Self::Run(RunError::NotFound(error)) => suggestion(error),
            Self::Run(RunError::DiskFull(_)) => Some(
                "free a few kilobytes on containerd's filesystem by hand, such as a log file, and \
                 retry"
                    .to_owned(),
            ),
            Self::Run(RunError::UnknownFilesystem { why: _ }) => {
                Some("give a size without a path, such as --target-free 20GB".to_owned())
            }
            Self::Host(HostError::Connect { .. }) | Self::Health(HealthError::Connect { .. }) => {
                Some("is `reclaim serve` running there?".to_owned())
            }
            Self::Compose(ComposeError::NoFile(_)) => Some(
                "name its files with -f, or the project with -p to read it from its containers"
                    .to_owned(),
            ),
            Self::Run(RunError::Inhibited(_)) => Some(
                "`reclaim inhibit --list` shows the commands that forbid it; --dry-run still works"
                    .to_owned(),
            ),
            Self::Daemon(DaemonError::Index(IndexError::InUse { .. })) => Some(
                "a running daemon uses it, and runs its policies; for `reclaim serve`, use \
                 --host unix:///run/reclaim/reclaim.sock"
                    .to_owned(),
            ),
            Self::LastUse(_) => Some(NO_LAST_USE.to_owned()),
            Self::Protection(_) => Some(
                "correct the file, or use --no-config to leave it out: then it protects no image"
                    .to_owned(),
            ),
            Self::Collector {
                source: TelemetryError::NotBuilt,
                ..
            } => Some(
                "build it with `--features otel`, or use a package that `cargo xtask dist` makes"
                    .to_owned(),
            ),
            Self::Timeline { .. } => Some(USE_DAEMON.to_owned()),
            Self::TooManyPlans(_) => {
                Some("use --force, which does not ask, or --namespace".to_owned())
            }
            Self::Write { source, .. } if source.kind() == std::io::ErrorKind::AlreadyExists => {
                Some("--force overwrites it".to_owned())
            }
            Self::Namespace(_)
            | Self::Write { .. }
            | Self::ImageFilter(_)
            | Self::Daemon(_)
            | Self::Compose(_)
            | Self::Docker(_)
            | Self::NothingHeld(_)
            | Self::Connect(_)
            | Self::Collector { .. }
            | Self::Host(_)
            | Self::Health(_)
            | Self::Scope(_)
            | Self::NotWithHost(_)
            | Self::OnlyOnceWithHost
            | Self::NothingForwarded
            | Self::LeftToDaemon(_)
            | Self::Stopped(_)
            | Self::Start { .. }
            | Self::Audit(_)
            | Self::LastUseNotReported
            | Self::Run(_)
            | Self::SeveralRegistries(_)
            | Self::Password(_)
            | Self::Output(_)
            | Self::Listen(_)
            | Self::NoTerminal
            | Self::ManPages { .. } => None,
        }
    }

    fn exit(&self) -> Exit {
        match self {
            Self::Filter(_)
            | Self::ImageFilter(_)
            | Self::Namespace(_)
            | Self::Audit(AuditError::Query(_))
            | Self::Daemon(
                DaemonError::Config(_)
                | DaemonError::UnknownPolicy(_)
                | DaemonError::Connect(ConnectError::BadAddress(_))
                | DaemonError::Docker(DockerError::BadAddress(_) | DockerError::Unencrypted(_)),
            )
            | Self::Protection(_)
            | Self::Collector { .. }
            | Self::Connect(ConnectError::BadAddress(_))
            | Self::Docker(DockerError::BadAddress(_) | DockerError::Unencrypted(_))
            | Self::Scope(_)
            | Self::NotWithHost(_)
            | Self::OnlyOnceWithHost
            | Self::NothingForwarded
            | Self::NoTerminal
            | Self::SeveralRegistries(_)
            | Self::Password(_)
            | Self::Host(
                HostError::Address(_)
                | HostError::Refused {
                    kind: ErrorKind::Invalid,
                    ..
                },
            )
            | Self::Health(HealthError::Address(_))
            | Self::NothingHeld(_) => Exit::Usage,
            Self::Daemon(DaemonError::Forward(error)) if error.is_usage() => Exit::Usage,
            Self::LeftToDaemon(exit) | Self::Stopped(exit) => *exit,
            Self::Start { source, .. } => Exit::OfCommand(code_of_start(source)),
            Self::Run(RunError::Busy(_) | RunError::Inhibited(_))
            | Self::Host(HostError::Refused {
                kind: ErrorKind::Busy | ErrorKind::Inhibited,
                ..
            }) => Exit::Busy,
            Self::Run(RunError::TargetNotMet(_))
            | Self::Host(HostError::Refused {
                kind: ErrorKind::TargetNotMet,
                ..
            }) => Exit::TargetNotMet,
            Self::Compose(_)
            | Self::Write { .. }
            | Self::Docker(_)
            | Self::Connect(_)
            | Self::Daemon(_)
            | Self::TooManyPlans(_)
            | Self::Host(_)
            | Self::Health(_)
            | Self::Audit(_)
            | Self::LastUse(_)
            | Self::LastUseNotReported
            | Self::Run(_)
            | Self::Output(_)
            | Self::Listen(_)
            | Self::Timeline { .. }
            | Self::ManPages { .. } => Exit::Failed,
        }
    }
}

/// What to do where nothing says when images were used.
const NO_LAST_USE: &str = "`reclaim serve` records it: run it, and use --host \
    unix:///run/reclaim/reclaim.sock; the file of one that is stopped can be read by root, or by who may \
    read it";

/// Returns a hint that names the keys of filters.
fn accepted_filters() -> String {
    let docker = PRUNE_FILTER_KEYS.join(", ");
    let own = IMAGE_FILTER_KEYS.join(", ");
    format!("accepted filters are {docker}, {own}")
}

/// Returns a hint that suggests similar names.
fn suggestion(error: &NotFound) -> Option<String> {
    let near: Vec<String> = match error {
        NotFound::Unknown { near, .. } => near.clone(),
        NotFound::Ambiguous { found, .. } => found.iter().map(ToString::to_string).collect(),
    };
    (!near.is_empty()).then(|| format!("did you mean {}?", near.join(", ")))
}

/// Prints the help, the version or what is wrong with the arguments. For a monitoring system, status 2 of
/// `reclaim check` would mean that a disk is full.
pub(crate) fn usage(error: &clap::Error) -> ExitCode {
    // There is nowhere else to write to.
    drop(error.print());
    if !error.use_stderr() {
        return Exit::Done.into();
    }
    let command = Cli::command().ignore_errors(true);
    let parsed = command.try_get_matches_from(std::env::args_os());
    let is_check = parsed.is_ok_and(|it| it.subcommand_name() == Some("check"));
    if is_check {
        return Exit::Checked(CheckState::Unknown.status()).into();
    }
    Exit::Usage.into()
}

/// Prints the error of a command that could not start, and returns its exit status.
pub(crate) fn fail(error: &(dyn Error + 'static)) -> ExitCode {
    output::message(format!("error: {}", chain(error)));
    Exit::Failed.into()
}
