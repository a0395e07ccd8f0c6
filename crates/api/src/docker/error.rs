//! Errors as Docker's clients expect them.

use http::StatusCode;
use reclaim_engine::RunError;
use reclaim_model::{FilterError, NotRemoved, chain};

use crate::access::Refusal;

/// The error while a prune runs. Docker's text; clients compare it.
pub(super) const BUSY: &str = "a prune operation is already running";

/// An error response: its status and its message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ApiError {
    pub(super) status: StatusCode,
    pub(super) message: String,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
        }
    }

    /// An error of the request itself.
    pub(super) fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    pub(super) fn busy() -> Self {
        Self::new(StatusCode::CONFLICT, BUSY)
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        Self::new(StatusCode::FORBIDDEN, refusal.to_string())
    }
}

impl From<FilterError> for ApiError {
    fn from(error: FilterError) -> Self {
        Self::bad(error.to_string())
    }
}

impl From<RunError> for ApiError {
    fn from(error: RunError) -> Self {
        let status = match &error {
            RunError::Busy(_) => return Self::busy(),
            RunError::Filter(_) => StatusCode::BAD_REQUEST,
            RunError::Containers { .. } | RunError::Cancelled | RunError::Ended => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            RunError::Check(_) | RunError::Inhibited(_) => StatusCode::CONFLICT,
            RunError::UnknownNamespace { .. }
            | RunError::NotFound(_)
            | RunError::UnknownRun { .. }
            | RunError::ContentGone { .. }
            | RunError::NotInRun { .. } => StatusCode::NOT_FOUND,
            RunError::Store(error) if error.is_transient() => StatusCode::SERVICE_UNAVAILABLE,
            RunError::DiskFull(_) => StatusCode::INSUFFICIENT_STORAGE,
            RunError::Store(_) | RunError::TargetNotMet(_) | RunError::UnknownFilesystem { .. } => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
        };
        Self::new(status, chain(&error))
    }
}

impl From<NotRemoved> for ApiError {
    fn from(error: NotRemoved) -> Self {
        let status = match &error {
            NotRemoved::Blank | NotRemoved::Reference(_) => StatusCode::BAD_REQUEST,
            NotRemoved::NoSuchImage(_) | NotRemoved::Ambiguous => StatusCode::NOT_FOUND,
            NotRemoved::Conflict(_) | NotRemoved::NoSuchPlatform { .. } => StatusCode::CONFLICT,
            NotRemoved::Cancelled => StatusCode::SERVICE_UNAVAILABLE,
            NotRemoved::Changed | NotRemoved::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, error.to_string())
    }
}
