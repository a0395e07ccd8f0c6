//! Errors of the engine as gRPC has them.
//!
//! The code says what a client can do about it; the metadata key `reclaim-error` says which error
//! it is, for clients that tell more than that.

use prost::Message;
use reclaim_engine::RunError;
use reclaim_model::chain;
use tonic::metadata::{AsciiMetadataValue, MetadataMap};
use tonic::{Code, Status};

use super::proto;

/// The metadata key that names the error.
const KEY: &str = "reclaim-error";

/// Which error of a run it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// Another run has the guard.
    Busy,
    /// As much as was asked for cannot be freed.
    TargetNotMet,
    /// The plan did not pass its own check.
    Check,
    /// The request is wrong.
    Invalid,
    /// Anything else.
    Other,
}

const NAMES: [(ErrorKind, &str); 5] = [
    (ErrorKind::Busy, "busy"),
    (ErrorKind::TargetNotMet, "target-not-met"),
    (ErrorKind::Check, "check"),
    (ErrorKind::Invalid, "invalid"),
    (ErrorKind::Other, "other"),
];

impl ErrorKind {
    /// Reads the kind from an answer.
    pub(super) fn of(status: &Status) -> Self {
        let name = status.metadata().get(KEY).and_then(|it| it.to_str().ok());
        let kind = NAMES.iter().find(|(_, it)| Some(*it) == name);
        match (kind, status.code()) {
            (Some((kind, _)), _) => *kind,
            (None, Code::InvalidArgument) => Self::Invalid,
            (None, _) => Self::Other,
        }
    }

    fn name(self) -> &'static str {
        let name = NAMES.iter().find(|(kind, _)| *kind == self);
        name.map_or("other", |(_, name)| name)
    }
}

/// The request is wrong: which field, and what is accepted.
pub(super) fn invalid(field: &str, problem: impl std::fmt::Display) -> Status {
    named(
        ErrorKind::Invalid,
        Code::InvalidArgument,
        &format!("{field}: {problem}"),
        Vec::new(),
    )
}

/// An error of a run.
pub(super) fn status(error: &RunError) -> Status {
    let (kind, code) = match error {
        RunError::Busy(_) => (ErrorKind::Busy, Code::Aborted),
        RunError::UnknownNamespace { .. }
        | RunError::NotFound(_)
        | RunError::UnknownRun { .. }
        | RunError::ContentGone { .. }
        | RunError::NotInRun { .. } => (ErrorKind::Other, Code::NotFound),
        RunError::Check(_) => (ErrorKind::Check, Code::FailedPrecondition),
        RunError::TargetNotMet(_) => (ErrorKind::TargetNotMet, Code::FailedPrecondition),
        RunError::UnknownFilesystem { .. } => (ErrorKind::Other, Code::FailedPrecondition),
        RunError::Containers { .. } | RunError::Cancelled => (ErrorKind::Other, Code::Unavailable),
        RunError::DiskFull(_) => (ErrorKind::Other, Code::ResourceExhausted),
        RunError::Store(error) if error.is_transient() => (ErrorKind::Other, Code::Unavailable),
        RunError::Store(_) => (ErrorKind::Other, Code::Internal),
    };
    let details = match error {
        RunError::TargetNotMet(unmet) => proto::Account::from(&unmet.account).encode_to_vec(),
        RunError::Busy(_)
        | RunError::Cancelled
        | RunError::UnknownNamespace { .. }
        | RunError::NotFound(_)
        | RunError::UnknownRun { .. }
        | RunError::ContentGone { .. }
        | RunError::NotInRun { .. }
        | RunError::Check(_)
        | RunError::UnknownFilesystem { .. }
        | RunError::Containers { .. }
        | RunError::DiskFull(_)
        | RunError::Store(_) => Vec::new(),
    };
    named(kind, code, &chain(error), details)
}

/// An error of that kind.
pub(super) fn named(kind: ErrorKind, code: Code, message: &str, details: Vec<u8>) -> Status {
    let mut metadata = MetadataMap::new();
    metadata.insert(KEY, AsciiMetadataValue::from_static(kind.name()));
    Status::with_details_and_metadata(code, message, details.into(), metadata)
}
