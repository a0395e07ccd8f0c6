//! Connections to Docker Engines.

mod containers;

use bollard::Docker;
use bollard::errors::Error as ApiError;

pub use containers::DockerContainers;

/// The timeout of a call, in seconds. Removing one image collects garbage, which takes long.
const TIMEOUT: u64 = 600;

/// Why a request to a Docker Engine failed.
#[derive(Debug, thiserror::Error)]
pub enum DockerError {
    /// The address has an unknown form.
    #[error(
        "`{0}` is not an address of a Docker Engine; accepted are unix:///PATH, and tcp://HOST:PORT \
         without TLS"
    )]
    BadAddress(String),
    /// No Docker API answers at the address.
    #[error("connect to the Docker Engine at {address}")]
    Connect {
        /// The address.
        address: String,
        /// The cause.
        #[source]
        source: ApiError,
    },
    /// The engine answered with an error.
    #[error("{operation}")]
    Call {
        /// The requested operation.
        operation: &'static str,
        /// The error of the engine.
        #[source]
        source: ApiError,
    },
}

/// A connection to one Docker Engine.
#[derive(Debug, Clone)]
pub struct DockerEngine {
    docker: Docker,
    address: String,
}

impl DockerEngine {
    /// Connects to the engine at `address`, in the form of `DOCKER_HOST`, and negotiates the API
    /// version.
    ///
    /// # Errors
    ///
    /// [`DockerError::BadAddress`], or [`DockerError::Connect`] if it does not answer.
    pub async fn connect(address: &str) -> Result<Self, DockerError> {
        let version = bollard::API_DEFAULT_VERSION;
        let connected = match check_address(address)? {
            Transport::Unix => Docker::connect_with_unix(address, TIMEOUT, version),
            Transport::Http => Docker::connect_with_http(address, TIMEOUT, version),
        };
        let failed = |source| DockerError::Connect {
            address: address.to_owned(),
            source,
        };
        let docker = connected.map_err(failed)?;
        let docker = docker.negotiate_version().await.map_err(failed)?;
        Ok(Self {
            docker,
            address: address.to_owned(),
        })
    }

    /// Returns the address of the engine.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Returns the client of its API.
    pub fn client(&self) -> &Docker {
        &self.docker
    }
}

/// The transport to an engine.
enum Transport {
    Unix,
    Http,
}

fn check_address(address: &str) -> Result<Transport, DockerError> {
    match address.split_once("://") {
        Some(("unix", path)) if !path.is_empty() => Ok(Transport::Unix),
        Some(("tcp" | "http", host)) if !host.is_empty() => Ok(Transport::Http),
        _ => Err(DockerError::BadAddress(address.to_owned())),
    }
}
