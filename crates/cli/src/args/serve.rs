//! Arguments of `reclaim serve` and `reclaim health`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use reclaim_api::docker::forward::Answered;
use reclaim_api::listen::{Address, AddressError, SocketAccess, TlsFiles};
use reclaim_daemon::HostOptions;
use reclaim_daemon::config::duration_within;

use super::Globals;
use super::how::PaceArgs;

/// The default address of the daemon.
pub(crate) const DEFAULT_LISTEN: &str = "unix:///run/reclaim/reclaim.sock";

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Listen on `unix:///PATH`, `tcp://IP:PORT` (mutual TLS), or `fd://` (systemd)
    ///
    /// Repeatable. Every client that can connect can remove images, unless `[access]` of the
    /// configuration says otherwise.
    #[arg(long, value_name = "ADDRESS", default_value = DEFAULT_LISTEN)]
    pub(crate) listen: Vec<Address>,

    /// Permissions of Unix sockets, in octal: 600, 620, 640 or 660
    ///
    /// [default: 660; with --forward, those of the Docker socket]
    #[arg(long, value_name = "MODE", value_parser = mode)]
    socket_mode: Option<u32>,

    /// Group of Unix sockets, by name or number
    ///
    /// [default: the daemon's group; with --forward, that of the Docker socket]
    #[arg(long, value_name = "GROUP")]
    socket_group: Option<String>,

    /// Listen here, too, and refuse every request that changes something
    ///
    /// `unix:///PATH` or `tcp://IP:PORT` (mutual TLS); repeatable. Root is limited as well, and
    /// nothing is forwarded. Of the sockets of `fd://`, those with
    /// `FileDescriptorName=read-only` are read-only.
    #[arg(long, value_name = "ADDRESS", value_parser = read_only_address)]
    pub(crate) read_only_listen: Vec<Address>,

    /// Permissions of read-only Unix sockets, in octal: 600, 620, 640 or 660 [default: 660]
    #[arg(long, value_name = "MODE", value_parser = mode, requires = "read_only_listen")]
    read_only_mode: Option<u32>,

    /// Group of read-only Unix sockets, by name or number [default: the daemon's group]
    #[arg(long, value_name = "GROUP", requires = "read_only_listen")]
    read_only_group: Option<String>,

    /// Server certificate and chain for TCP, as PEM
    #[arg(long, value_name = "FILE", requires_all = ["tls_key", "tls_ca"])]
    tls_cert: Option<PathBuf>,

    /// Private key of --tls-cert, as PEM
    #[arg(long, value_name = "FILE", requires_all = ["tls_cert", "tls_ca"])]
    tls_key: Option<PathBuf>,

    /// CA certificate that verifies clients over TCP, as PEM
    #[arg(long, value_name = "FILE", requires_all = ["tls_cert", "tls_key"])]
    tls_ca: Option<PathBuf>,

    /// Certificates of clients that are revoked (CRL), as PEM
    ///
    /// Repeatable. With this option each CA of a client's chain needs a list that has not expired. The
    /// daemon reads all TLS files again on SIGHUP and within 5 seconds after they change.
    #[arg(long, value_name = "FILE", requires = "tls_ca")]
    tls_crl: Vec<PathBuf>,

    /// Forward other requests of Docker's API to the engine of --docker
    ///
    /// `docker`, Compose and buildx then work as a whole with `DOCKER_HOST` at the socket of this
    /// daemon, and prunes of images are Reclaim's. Every client that can connect is then root on this
    /// host, as for Docker's own socket. So only Unix sockets forward, and the daemon does not start
    /// if one of them is open to users for whom the Docker socket is not.
    #[arg(long)]
    pub(crate) forward: bool,

    /// Answer these requests, too, and do not forward them: remove, list, inspect, history, df
    ///
    /// Separated by commas. Prunes of images are always answered. [default: as configured, else
    /// prune]
    #[arg(long, value_name = "REQUESTS", value_delimiter = ',')]
    pub(crate) forward_except: Option<Vec<Answered>>,

    #[command(flatten)]
    pub(crate) host: HostArgs,

    #[command(flatten)]
    pub(crate) pace: PaceArgs,
}

#[derive(Debug, Args)]
pub(crate) struct HealthArgs {
    /// Check only that the daemon answers, even if containerd does not
    #[arg(long)]
    pub(crate) live: bool,

    /// Time to wait for the answer, 100ms to 1m
    #[arg(long, value_name = "DURATION", default_value = "3s", value_parser = timeout)]
    pub(crate) timeout: Duration,
}

/// Options of processes that run policies: Docker Engines and the state directory.
#[derive(Debug, Args)]
pub(crate) struct HostArgs {
    /// Keep the images of this Docker Engine's containers
    ///
    /// `unix:///PATH` or `tcp://HOST:PORT`; repeatable. containerd does not list Docker's stopped
    /// containers. While an engine does not answer, nothing is pruned. With this option, the
    /// default namespace of `serve` is `moby`.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) docker: Vec<String>,

    /// Use TLS for --docker tcp://…, with ca.pem, cert.pem and key.pem in this directory
    ///
    /// The files that `DOCKER_CERT_PATH` names for Docker. Needed for an address that is not a loopback
    /// address.
    #[arg(long, value_name = "DIR", requires = "docker")]
    docker_tls: Option<PathBuf>,

    /// Prune Docker's namespaces without asking a Docker Engine
    ///
    /// Stopped containers are then found by their leases and snapshots.
    #[arg(long, conflicts_with = "docker")]
    pub(crate) trust_leases: bool,

    /// State directory of the daemon [default: as configured, else /var/lib/reclaim]
    #[arg(long, value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
}

impl HostArgs {
    /// Returns the options of a host on which policies run.
    pub(crate) fn options(&self, globals: &Globals) -> HostOptions {
        HostOptions {
            config: globals.config(),
            address: globals.named_address().map(ToOwned::to_owned),
            is_remote: globals.remote,
            docker: self.docker.clone(),
            docker_tls: self.docker_tls.clone(),
            trust_leases: self.trust_leases,
            state: self.state.clone(),
        }
    }

    /// Returns one of these options that was given, if any.
    pub(crate) fn first_given(&self) -> Option<&'static str> {
        let options = [
            ("--docker", !self.docker.is_empty()),
            ("--docker-tls", self.docker_tls.is_some()),
            ("--trust-leases", self.trust_leases),
            ("--state", self.state.is_some()),
        ];
        let given = options.into_iter().find(|(_, is_given)| *is_given);
        given.map(|(option, _)| option)
    }
}

impl ServeArgs {
    /// Returns the mode and group of Unix sockets.
    pub(crate) fn access(&self) -> SocketAccess {
        SocketAccess {
            mode: self.socket_mode,
            group: self.socket_group.clone(),
        }
    }

    /// Returns the mode and group of read-only Unix sockets.
    pub(crate) fn read_only_access(&self) -> SocketAccess {
        SocketAccess {
            mode: self.read_only_mode,
            group: self.read_only_group.clone(),
        }
    }

    /// Returns the files for mutual TLS, if they were given.
    pub(crate) fn tls(&self) -> Option<TlsFiles> {
        Some(TlsFiles {
            certificate: self.tls_cert.clone()?,
            key: self.tls_key.clone()?,
            authority: self.tls_ca.clone()?,
            revoked: self.tls_crl.clone(),
        })
    }
}

/// Parses the address of a read-only listener.
fn read_only_address(text: &str) -> Result<Address, String> {
    match text
        .parse()
        .map_err(|error: AddressError| error.to_string())?
    {
        Address::Systemd => Err("systemd's sockets are read-only if they have \
             FileDescriptorName=read-only; pass them by --listen fd://"
            .to_owned()),
        address @ (Address::Unix(_) | Address::Tcp(_)) => Ok(address),
    }
}

/// Parses how long to wait for an answer.
pub(super) fn timeout(text: &str) -> Result<Duration, String> {
    const SHORTEST: Duration = Duration::from_millis(100);
    const LONGEST: Duration = Duration::from_secs(60);
    duration_within(text, &(SHORTEST..=LONGEST))
}

/// Parses permissions of a socket. Execute bits have no meaning on a socket; world-writable is
/// refused.
fn mode(text: &str) -> Result<u32, String> {
    const ACCEPTED: u32 = 0o660;
    u32::from_str_radix(text, 8)
        .ok()
        .filter(|mode| mode & !ACCEPTED == 0 && mode & 0o600 == 0o600)
        .ok_or_else(|| "accepted are 600, 620, 640 and 660".to_owned())
}
