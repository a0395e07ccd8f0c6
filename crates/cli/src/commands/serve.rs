//! `reclaim serve` and `reclaim health`.

use reclaim_api::docker::forward::{EngineAddress, ForwardError};
use reclaim_api::health::{Check, check};
use reclaim_daemon::{DaemonError, ForwardOptions, Host, Patience, ServeOptions};
use reclaim_model::Namespace;

use crate::args::Globals;
use crate::args::serve::{DEFAULT_LISTEN, HealthArgs, ServeArgs};
use crate::commands::open_host;
use crate::exit::{CommandError, Exit};
use crate::output;
use crate::signals::{STOPPING, stop_on_signals};

/// The namespace of a Docker Engine's images.
const MOBY: &str = "moby";

pub(crate) async fn serve(globals: &Globals, args: &ServeArgs) -> Result<Exit, CommandError> {
    let namespace = namespace(globals, args)?;
    let host = open_host("serve", globals, &args.host, Patience::Waits).await?;
    let options = ServeOptions {
        namespace,
        listen: args.listen.clone(),
        access: args.access(),
        read_only: args.read_only_listen.clone(),
        read_only_access: args.read_only_access(),
        tls: args.tls(),
        run: args.pace.options(),
        forward: forward(args, &host)?,
    };
    let stop = stop_on_signals(Some(STOPPING))?;
    reclaim_daemon::serve(host, options, &stop.token).await?;
    Ok(Exit::Done)
}

/// Returns what is forwarded, by the options and the configuration.
fn forward(args: &ServeArgs, host: &Host) -> Result<Option<ForwardOptions>, CommandError> {
    let config = &host.config.forward;
    if !args.forward && !config.enabled {
        return match args.forward_except {
            Some(_) => Err(CommandError::NothingForwarded),
            None => Ok(None),
        };
    }
    let except = args.forward_except.as_ref().unwrap_or(&config.except);
    let failed = |error: ForwardError| CommandError::Daemon(DaemonError::Forward(error));
    let engines = host.docker.as_ref().map_or(&[][..], |it| it.addresses());
    let [engine] = engines else {
        return Err(failed(ForwardError::Engines(engines.len())));
    };
    let engine = EngineAddress::try_from(engine.clone());
    Ok(Some(ForwardOptions {
        engine: engine.map_err(|error| failed(ForwardError::Address(error)))?,
        except: except.clone(),
    }))
}

/// Returns the namespace of requests that name none: `moby` with a Docker Engine, unless the options
/// name another.
fn namespace(globals: &Globals, args: &ServeArgs) -> Result<Namespace, CommandError> {
    let (namespace, is_explicit) = globals.namespace()?;
    if is_explicit || args.host.docker.is_empty() {
        return Ok(namespace);
    }
    Ok(MOBY.parse()?)
}

pub(crate) async fn health(globals: &Globals, args: &HealthArgs) -> Result<Exit, CommandError> {
    let address = globals.host().unwrap_or(DEFAULT_LISTEN);
    let what = if args.live { Check::Live } else { Check::Ready };
    let answer = check(address, what, args.timeout).await?;
    output::data_line(answer)?;
    Ok(Exit::Done)
}
