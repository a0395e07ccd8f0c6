//! The Docker Engine that requests are forwarded to.

use std::fmt;
use std::io;
use std::path::Path;

use reclaim_engine::{DockerAddress, DockerStream};

/// A connection to the engine.
pub(super) type EngineStream = DockerStream;

/// The address of an engine on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineAddress(DockerAddress);

/// An address to which requests are not forwarded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "cannot forward requests to `{0}`; accepted are unix:///PATH, and tcp://HOST:PORT with a loopback \
     address, because images, credentials and output would cross the network unencrypted"
)]
pub struct EngineAddressError(String);

impl EngineAddress {
    /// Returns the path of the engine's socket, if it has one.
    pub(super) fn socket(&self) -> Option<&Path> {
        self.0.socket()
    }

    pub(super) async fn connect(&self) -> io::Result<EngineStream> {
        self.0.connect().await
    }
}

impl TryFrom<DockerAddress> for EngineAddress {
    type Error = EngineAddressError;

    fn try_from(address: DockerAddress) -> Result<Self, EngineAddressError> {
        if address.is_local() {
            Ok(Self(address))
        } else {
            Err(EngineAddressError(address.to_string()))
        }
    }
}

impl fmt::Display for EngineAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_only_addresses_on_this_machine() {
        let address = |text: &str| EngineAddress::try_from(text.parse::<DockerAddress>().unwrap());
        for text in ["unix:///run/docker.sock", "tcp://127.0.0.1:2375"] {
            assert_eq!(address(text).unwrap().to_string(), text);
        }
        for text in ["tcp://10.0.0.1:2375", "tcp://0.0.0.0:2375"] {
            let error = address(text).unwrap_err().to_string();
            assert!(error.contains(&format!("`{text}`")), "{error}");
            assert!(error.contains("unix:///PATH"), "{error}");
        }
    }
}
