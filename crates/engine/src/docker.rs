//! Connections to Docker Engines.

mod calls;
mod connection;
mod containers;
mod tls;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use bollard_stubs::models::SystemVersion;

pub use connection::{DockerAddress, DockerAnswer, DockerStream};
pub use containers::DockerContainers;
pub use tls::DockerTls;

/// The timeout of a call, in seconds. Removing one image collects garbage, and measuring volumes reads
/// all of them, so both take long.
const TIMEOUT: u64 = 600;

/// How long an engine may take to list its containers. A run waits for it with the guard taken. The
/// list is in an engine's memory, so an engine that takes longer hangs.
const LIST_TIME: Duration = Duration::from_secs(60);

/// Why a request to a Docker Engine failed.
#[derive(Debug, thiserror::Error)]
pub enum DockerError {
    /// The address has an unknown form.
    #[error(
        "`{0}` is not an address of a Docker Engine; accepted are unix:///PATH and tcp://HOST:PORT"
    )]
    BadAddress(String),
    /// The address is not of this machine, and there are no certificates.
    #[error(
        "a connection to the Docker Engine at `{0}` needs TLS, because the address is not a loopback \
         address; name a directory with ca.pem, cert.pem and key.pem (--docker-tls)"
    )]
    Unencrypted(String),
    /// A certificate or a key cannot be used.
    #[error("read the certificate or key `{}`", path.display())]
    Certificates {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Nothing accepts connections at the address.
    #[error("connect to the Docker Engine at {address}")]
    Connect {
        /// The address.
        address: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The response did not arrive in time.
    #[error("the Docker Engine at {address} did not answer within {seconds} s")]
    Silent {
        /// The address.
        address: String,
        /// The limit, in seconds.
        seconds: u64,
    },
    /// There is no whole response.
    #[error("no response from the Docker Engine at {address}")]
    NoAnswer {
        /// The address.
        address: String,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// What answers at the address is not a Docker Engine.
    #[error("no Docker Engine answers at {0}")]
    NotDocker(String),
    /// The engine answered with an error.
    #[error("{operation}: Docker responded with status code {status}: {message}")]
    Refused {
        /// The requested operation.
        operation: &'static str,
        /// The status of the response.
        status: u16,
        /// The message of the engine.
        message: String,
    },
    /// The response has another form than the API defines.
    #[error("{operation}: cannot read the response of Docker")]
    Form {
        /// The requested operation.
        operation: &'static str,
        /// The cause.
        #[source]
        source: serde_json::Error,
    },
}

impl DockerError {
    /// Returns the status of a response with an error.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            Self::BadAddress(_)
            | Self::Unencrypted(_)
            | Self::Certificates { .. }
            | Self::Connect { .. }
            | Self::Silent { .. }
            | Self::NoAnswer { .. }
            | Self::NotDocker(_)
            | Self::Form { .. } => None,
        }
    }
}

/// One Docker Engine, which answered when this was created.
#[derive(Debug, Clone)]
pub struct DockerEngine {
    address: DockerAddress,
    version: SystemVersion,
}

impl DockerEngine {
    /// Checks that an engine answers at `address`.
    ///
    /// # Errors
    ///
    /// [`DockerError`] if no engine answers.
    pub async fn connect(address: &DockerAddress) -> Result<Self, DockerError> {
        let answer = address.get("/version", LIST_TIME).await?;
        let version = serde_json::from_slice(&answer.body).ok();
        let version = version.filter(|version: &SystemVersion| version.api_version.is_some());
        let version = version.ok_or_else(|| DockerError::NotDocker(address.to_string()))?;
        Ok(Self {
            address: address.clone(),
            version,
        })
    }

    /// Returns the address of the engine.
    pub fn address(&self) -> &DockerAddress {
        &self.address
    }

    /// Returns the oldest and the newest version of the API that the engine has, if it reports them.
    pub fn api_versions(&self) -> [Option<&str>; 2] {
        let SystemVersion {
            min_api_version,
            api_version,
            ..
        } = &self.version;
        [min_api_version.as_deref(), api_version.as_deref()]
    }

    /// Sends a GET request to the path, and returns the response as it is.
    ///
    /// # Errors
    ///
    /// If there is no whole response in ten minutes. A response with an error is not an error.
    pub async fn get(&self, path: &str) -> Result<DockerAnswer, DockerError> {
        self.address.get(path, Duration::from_secs(TIMEOUT)).await
    }
}
