//! The `reclaim` command: it parses arguments, calls the engine or a daemon, and prints the result.
//!
//! Each module uses only those above it:
//!
//! ```text
//! text, output, progress    rendering for people; printing; the progress bar
//! ncdu                      the form of ncdu
//! args                      command-line arguments
//! exit, signals             errors and exit statuses; SIGINT and SIGTERM
//! logging, backend          the log and spans; the engine in this process, or a daemon
//! browse                    the screen
//! docker_config             credentials that `docker login` wrote
//! commands                  one function per command
//! ```

mod args;
mod backend;
mod browse;
mod commands;
mod docker_config;
mod exit;
#[cfg(test)]
mod json_forms;
mod logging;
mod ncdu;
mod output;
mod progress;
mod signals;
mod text;
mod trial_page;

use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory, FromArgMatches};

use args::image::ImageCommand;
use args::maintain::PolicyCommand;
use args::project::ProjectCommand;
use args::{Cli, Command};
use exit::Exit;

/// The allocator of the static binaries: that of musl has one lock for all threads.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let matches = match Cli::command().try_get_matches() {
        Ok(matches) => matches,
        Err(error) => return exit::usage(&error),
    };
    let mut cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => return exit::usage(&error.format(&mut Cli::command())),
    };
    cli.globals.note_origin(&matches);
    output::set_colours(cli.globals.colours());
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return exit::fail(&error),
    };
    let exit = runtime.block_on(run(cli));
    // Blocking work, such as a read from a filesystem that hangs, must not keep the process alive.
    runtime.shutdown_timeout(Duration::from_secs(1));
    exit.into()
}

async fn run(cli: Cli) -> Exit {
    let Cli { globals, command } = cli;
    // A probe runs every few seconds, so it must not wait for a collector of spans.
    let is_probe = matches!(command, Command::Health(_) | Command::Check(_));
    let logging = (!is_probe).then(|| logging::init(&globals));
    let _logging = match logging.transpose() {
        Ok(logging) => logging,
        Err(error) => return error.report(),
    };
    if let Some(millis) = globals.test_deadline {
        reclaim_engine::set_deadline_for_test(Duration::from_millis(millis));
    }
    let done = match command {
        Command::Image(ImageCommand::Prune(args)) => commands::prune::run(&globals, &args).await,
        Command::Image(ImageCommand::Slim(args)) => commands::slim::run(&globals, &args).await,
        Command::Image(ImageCommand::Restore(args)) => {
            Box::pin(commands::restore::run(&globals, &args)).await
        }
        Command::Image(ImageCommand::Rm(args)) => commands::rm::run(&globals, &args).await,
        Command::Image(ImageCommand::Ls(args)) => commands::show::ls(&globals, &args).await,
        Command::Project(ProjectCommand::Prune(args)) => {
            // Boxed, because it is the largest.
            Box::pin(commands::project::prune::run(&globals, &args)).await
        }
        Command::Project(ProjectCommand::Ls(args)) => commands::project::ls(&globals, &args).await,
        Command::Pin(args) => commands::pin::pin(&globals, &args).await,
        Command::Unpin(args) => commands::pin::unpin(&globals, &args).await,
        Command::Df(args) => commands::show::df(&globals, &args).await,
        Command::Check(args) => Box::pin(commands::check::run(&globals, &args)).await,
        Command::Ui(args) => commands::ui::ui(&globals, &args).await,
        Command::Browse(args) => browse::browse(&globals, &args).await,
        Command::Why(args) => commands::show::why(&globals, &args).await,
        Command::History(args) => commands::undo::history(&globals, &args).await,
        Command::Undo(args) => commands::undo::undo(&globals, &args).await,
        Command::Serve(args) => commands::serve::serve(&globals, &args).await,
        Command::Maintain(args) => Box::pin(commands::maintain::run(&globals, &args)).await,
        Command::Policy(PolicyCommand::Explain(args)) => {
            commands::policy::explain(&globals, &args).await
        }
        Command::Policy(PolicyCommand::History(args)) => {
            commands::policy::history(&globals, &args).await
        }
        Command::Policy(PolicyCommand::Try(args)) => {
            commands::policy::try_file(&globals, &args).await
        }
        Command::Inhibit(args) => commands::inhibit::run(&globals, &args).await,
        Command::Config(command) => commands::config::run(&globals, command).await,
        Command::Release(args) => commands::undo::release(&globals, &args).await,
        Command::Health(args) => commands::serve::health(&globals, &args).await,
        Command::Completions(args) => commands::manual::completions(&args),
        Command::ManPages(args) => commands::manual::man_pages(&args),
    };
    done.unwrap_or_else(|error| error.report())
}
