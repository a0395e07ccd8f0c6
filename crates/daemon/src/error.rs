//! Errors of a daemon.

use std::io;
use std::path::PathBuf;

use reclaim_api::access::UnknownGroup;
use reclaim_api::docker::forward::ForwardError;
use reclaim_api::grpc::DescribeError;
use reclaim_api::listen::ListenError;
use reclaim_engine::DockerError;
use reclaim_maintenance::{HistoryError, IndexError, UnknownPolicy};
use reclaim_store::ConnectError;

use crate::config::ConfigError;

/// Why a daemon cannot start, or a policy cannot run.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The configuration cannot be read, or is invalid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// containerd cannot be reached.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The address of a Docker Engine is invalid.
    #[error(transparent)]
    Docker(#[from] DockerError),
    /// Requests cannot be forwarded to the Docker Engine.
    #[error(transparent)]
    Forward(#[from] ForwardError),
    /// The registered containers cannot be read.
    #[error("read registered containers in `{}`", directory.display())]
    State {
        /// Their directory.
        directory: PathBuf,
        /// The cause.
        #[source]
        error: io::Error,
    },
    /// The index of last use cannot be read or written.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The history of policy runs cannot be read.
    #[error(transparent)]
    RunHistory(#[from] HistoryError),
    /// A policy was named that does not exist.
    #[error(transparent)]
    UnknownPolicy(#[from] UnknownPolicy),
    /// A server cannot listen.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// A group in `[access]` cannot be used.
    #[error(transparent)]
    Access(#[from] UnknownGroup),
    /// The gRPC services cannot be described to clients.
    #[error("describe the gRPC services")]
    Describe(#[from] DescribeError),
    /// The certificates for sending events cannot be read.
    #[error("read the system's certificates, which events.url needs")]
    Certificates(#[source] io::Error),
    /// SIGHUP cannot be handled.
    #[error("handle SIGHUP")]
    Signal(#[source] io::Error),
}
