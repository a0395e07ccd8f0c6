//! Errors as gRPC has them.
//!
//! The code says what a client can do about it; the metadata key `reclaim-error` names the error,
//! for clients that distinguish more.

use std::fmt;

use prost::Message;
use reclaim_engine::RunError;
use tonic::metadata::{AsciiMetadataValue, MetadataMap};
use tonic::{Code, Status};

use super::proto;
use crate::service::{ErrorKind, ServiceError};

/// The metadata key that names the error.
const KEY: &str = "reclaim-error";

/// Says that a field of the request is wrong, and what is accepted.
pub(super) fn invalid(field: &str, problem: impl fmt::Display) -> Status {
    status(&ServiceError::invalid(field, problem))
}

/// Returns the status of an error.
pub(super) fn status(error: &ServiceError) -> Status {
    let run_error = error.run_error();
    let (name, code) = match (error.kind(), error, run_error) {
        (ErrorKind::Busy, ..) => ("busy", Code::Aborted),
        (ErrorKind::Inhibited, ..) => ("inhibited", Code::FailedPrecondition),
        (ErrorKind::TargetNotMet, ..) => ("target-not-met", Code::FailedPrecondition),
        (ErrorKind::Check, ..) => ("check", Code::FailedPrecondition),
        // An unknown policy.
        (ErrorKind::Invalid, ServiceError::Policy(_), _) => ("invalid", Code::NotFound),
        (ErrorKind::Invalid, ..) => ("invalid", Code::InvalidArgument),
        (ErrorKind::Denied, ..) => ("denied", Code::PermissionDenied),
        (ErrorKind::NotFound, ..) => ("other", Code::NotFound),
        (ErrorKind::Unavailable, ..) => ("other", Code::Unavailable),
        (ErrorKind::Other, _, Some(RunError::UnknownFilesystem { .. })) => {
            ("other", Code::FailedPrecondition)
        }
        (ErrorKind::Other, _, Some(RunError::DiskFull(_))) => ("other", Code::ResourceExhausted),
        (ErrorKind::Other, ..) => ("other", Code::Internal),
    };
    let details = match run_error {
        Some(RunError::TargetNotMet(unmet)) => proto::Account::from(&unmet.usage).encode_to_vec(),
        _ => Vec::new(),
    };
    let mut metadata = MetadataMap::new();
    metadata.insert(KEY, AsciiMetadataValue::from_static(name));
    Status::with_details_and_metadata(code, error.text(), details.into(), metadata)
}
