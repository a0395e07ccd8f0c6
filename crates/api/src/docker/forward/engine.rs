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
     address, because a client of the Docker Engine is root where it runs"
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
    fn accepts_addresses_on_this_machine() {
        for text in ["unix:///run/docker.sock", "tcp://127.0.0.1:2375"] {
            let address = DockerAddress::new(text, None).unwrap();
            let address = EngineAddress::try_from(address).unwrap();
            assert_eq!(address.to_string(), text);
        }
    }
}
