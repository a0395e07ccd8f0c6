//! The words of `reclaim serve`.

use std::path::PathBuf;

use clap::Args;
use reclaim_api::listen::{Address, SocketAccess, TlsFiles};
use reclaim_daemon::HostOptions;

use super::Globals;
use super::how::PaceArgs;
use crate::exit::CommandError;

/// Where the daemon listens unless told otherwise.
pub(crate) const DEFAULT_LISTEN: &str = "unix:///run/reclaim/reclaim.sock";

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Where to listen: `unix:///PATH`, `tcp://IP:PORT` with mutual TLS, or `fd://` for systemd
    ///
    /// May be given several times. Whoever can connect can remove images.
    #[arg(long, value_name = "ADDRESS", default_value = DEFAULT_LISTEN)]
    pub(crate) listen: Vec<Address>,

    /// Permissions of Unix sockets, in octal
    #[arg(long, value_name = "MODE", default_value = "660", value_parser = mode)]
    socket_mode: u32,

    /// Group that Unix sockets are given to, by name or number [default: the daemon's own]
    #[arg(long, value_name = "GROUP")]
    socket_group: Option<String>,

    /// Certificate that is shown to clients over TCP, with its chain, as PEM
    #[arg(long, value_name = "FILE", requires_all = ["tls_key", "tls_ca"])]
    tls_cert: Option<PathBuf>,

    /// Key of --tls-cert, as PEM
    #[arg(long, value_name = "FILE", requires_all = ["tls_cert", "tls_ca"])]
    tls_key: Option<PathBuf>,

    /// Authority that signs the certificates of clients over TCP, as PEM
    #[arg(long, value_name = "FILE", requires_all = ["tls_cert", "tls_key"])]
    tls_ca: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) host: HostArgs,

    #[command(flatten)]
    pub(crate) pace: PaceArgs,
}

/// What a process has to know of its host before it removes anything by itself.
#[derive(Debug, Args)]
pub(crate) struct HostArgs {
    /// Docker Engine whose containers keep their images: `unix:///PATH` or `tcp://HOST:PORT`
    ///
    /// Its stopped containers are in no list of containerd's. May be given several times. While one
    /// does not answer, nothing is pruned. A `serve` without --namespace is for the namespace
    /// `moby` then.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) docker: Vec<String>,

    /// Prune Docker's namespaces without asking a Docker Engine
    ///
    /// Leases and snapshots then speak for the containers that do not run.
    #[arg(long, conflicts_with = "docker")]
    pub(crate) trust_leases: bool,

    /// Where the daemon keeps what it must know after a restart [default: /var/lib/reclaim, or what
    /// the configuration says]
    #[arg(long, value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
}

impl HostArgs {
    /// Returns the options of a host on which policies run.
    pub(crate) fn options(&self, globals: &Globals) -> HostOptions {
        HostOptions {
            config: globals.config().map(ToOwned::to_owned),
            address: globals.named_address().map(ToOwned::to_owned),
            is_remote: globals.remote,
            docker: self.docker.clone(),
            trust_leases: self.trust_leases,
            state: self.state.clone(),
        }
    }

    /// Refuses what is said of a host where a daemon is asked that knows its own.
    pub(crate) fn demand_none(&self) -> Result<(), CommandError> {
        let said = [
            ("--docker", !self.docker.is_empty()),
            ("--trust-leases", self.trust_leases),
            ("--state", self.state.is_some()),
        ];
        match said.into_iter().find(|(_, is_said)| *is_said) {
            Some((option, _)) => Err(CommandError::NotWithHost(option)),
            None => Ok(()),
        }
    }
}

impl ServeArgs {
    /// Returns who may use Unix sockets.
    pub(crate) fn access(&self) -> SocketAccess {
        SocketAccess {
            mode: self.socket_mode,
            group: self.socket_group.clone(),
        }
    }

    /// Returns what mutual TLS needs, if it was given.
    pub(crate) fn tls(&self) -> Option<TlsFiles> {
        Some(TlsFiles {
            certificate: self.tls_cert.clone()?,
            key: self.tls_key.clone()?,
            authority: self.tls_ca.clone()?,
        })
    }
}

/// Parses permissions of a socket. To run it makes no sense, and all may not write.
fn mode(text: &str) -> Result<u32, String> {
    const ACCEPTED: u32 = 0o660;
    let mode = u32::from_str_radix(text, 8).ok();
    let mode = mode.filter(|mode| mode & !ACCEPTED == 0 && mode & 0o600 == 0o600);
    mode.ok_or_else(|| "accepted are 600, 620, 640 and 660".to_owned())
}
