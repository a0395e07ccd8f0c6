//! Why a daemon did not do what it was asked for.

use prost::Message;
use reclaim_model::UsageByColumn;
use tonic::Status;

use crate::grpc::error::ErrorKind;
use crate::grpc::proto;
use crate::grpc::wire::WireError;

/// Why a daemon could not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The address is of no kind that is known.
    #[error("`{0}` is no address of a daemon; accepted is unix:///PATH")]
    Address(String),
    /// Nobody answers there.
    #[error("connect to the daemon at {address}")]
    Connect {
        /// Where.
        address: String,
        /// Why.
        #[source]
        source: tonic::transport::Error,
    },
    /// It answered with an error, whose text has all of it.
    #[error("{message}")]
    Refused {
        /// Which.
        kind: ErrorKind,
        /// In words.
        message: String,
        /// Where the bytes are that cannot be freed, if that is the error.
        account: Option<UsageByColumn>,
    },
    /// It is of another version, and its answer means nothing here.
    #[error("the daemon's answer is not understood: {0}")]
    Answer(#[from] WireError),
    /// It went away in the middle.
    #[error("the daemon's answer ends too early")]
    CutShort,
}

impl From<Status> for HostError {
    fn from(status: Status) -> Self {
        let account = proto::Account::decode(status.details()).ok();
        let kind = ErrorKind::of(&status);
        let account = account.filter(|_| kind == ErrorKind::TargetNotMet);
        Self::Refused {
            kind,
            message: status.message().to_owned(),
            account: account.and_then(|it| it.try_into().ok()),
        }
    }
}
