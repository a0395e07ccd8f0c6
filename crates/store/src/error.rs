//! Errors of calls to containerd, and their classes.

use std::io::ErrorKind;
use std::path::PathBuf;

use reclaim_model::Namespace;
use tonic::{Code, Status};

/// The class of an error: what a caller can do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// A retry may succeed.
    Retry,
    /// The subject of the call does not exist.
    Gone,
    /// The server understood the call and refused it.
    Refused,
    /// The server failed, and a retry would fail again.
    Broken,
    /// The call was cancelled.
    Cancelled,
}

/// A call that failed, with its operation and subject.
#[derive(Debug, thiserror::Error)]
#[error("{operation}{}", place(namespace.as_ref(), subject.as_deref()))]
pub struct StoreError {
    operation: &'static str,
    namespace: Option<Namespace>,
    subject: Option<String>,
    #[source]
    source: CallError,
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The status that the server or the transport reported.
    #[error("{} ({})", status.message(), code_text(status.code()))]
    Status {
        /// The status.
        status: Box<Status>,
    },
    /// A part of the answer is missing.
    #[error("the answer has no {missing}")]
    Incomplete {
        /// The missing part.
        missing: &'static str,
    },
}

impl StoreError {
    pub(crate) fn new(operation: &'static str, status: Status) -> Self {
        Self {
            operation,
            namespace: None,
            subject: None,
            source: CallError::Status {
                status: Box::new(status),
            },
        }
    }

    pub(crate) fn incomplete(operation: &'static str, missing: &'static str) -> Self {
        Self {
            operation,
            namespace: None,
            subject: None,
            source: CallError::Incomplete { missing },
        }
    }

    pub(crate) fn within(mut self, namespace: &Namespace) -> Self {
        self.namespace = Some(namespace.clone());
        self
    }

    pub(crate) fn about(mut self, subject: &(impl ToString + ?Sized)) -> Self {
        self.subject = Some(subject.to_string());
        self
    }

    /// Returns the class of the error.
    pub fn class(&self) -> Class {
        match &self.source {
            CallError::Status { status } => class_of(status),
            CallError::Incomplete { missing: _ } => Class::Broken,
        }
    }

    /// Whether a retry may succeed.
    pub fn is_transient(&self) -> bool {
        self.class() == Class::Retry
    }

    /// Whether the server's filesystem has no room left for a write.
    ///
    /// Source: containerd passes the kernel's text on, with the code `Unknown`, or
    /// `ResourceExhausted` if it recognizes the error.
    pub fn is_out_of_space(&self) -> bool {
        match &self.source {
            CallError::Status { status } => {
                status.code() == Code::ResourceExhausted || is_about_space(status.message())
            }
            CallError::Incomplete { missing: _ } => false,
        }
    }

    /// Whether the connection was lost before the server answered.
    pub fn is_from_transport(&self) -> bool {
        matches!(&self.source, CallError::Status { status } if is_from_transport(status))
    }

    /// Whether the server did not answer in time.
    pub fn is_timeout(&self) -> bool {
        self.code() == Some(Code::DeadlineExceeded)
    }

    pub(crate) fn code(&self) -> Option<Code> {
        match &self.source {
            CallError::Status { status } => Some(status.code()),
            CallError::Incomplete { missing: _ } => None,
        }
    }
}

/// Whether the transport made the status, because the server did not answer. Only such a status
/// has a source.
fn is_from_transport(status: &Status) -> bool {
    std::error::Error::source(status).is_some()
}

fn is_about_space(message: &str) -> bool {
    ["no space left on device", "disk quota exceeded"]
        .iter()
        .any(|text| message.contains(text))
}

fn place(namespace: Option<&Namespace>, subject: Option<&str>) -> String {
    let subject = subject.map(|subject| format!(" `{subject}`"));
    let namespace = namespace.map(|namespace| format!(" in namespace `{namespace}`"));
    [subject, namespace].into_iter().flatten().collect()
}

pub(crate) fn class_of(status: &Status) -> Class {
    if is_from_transport(status) {
        return Class::Retry;
    }
    match status.code() {
        Code::Unavailable | Code::Aborted | Code::DeadlineExceeded => Class::Retry,
        Code::NotFound => Class::Gone,
        Code::AlreadyExists
        | Code::FailedPrecondition
        | Code::InvalidArgument
        | Code::OutOfRange
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::Unauthenticated
        | Code::Unimplemented => Class::Refused,
        Code::Cancelled => Class::Cancelled,
        Code::Ok | Code::Unknown | Code::Internal | Code::DataLoss => Class::Broken,
    }
}

fn code_text(code: Code) -> &'static str {
    match code {
        Code::Ok => "ok",
        Code::Cancelled => "cancelled",
        Code::Unknown => "unknown error",
        Code::InvalidArgument => "invalid argument",
        Code::DeadlineExceeded => "deadline exceeded",
        Code::NotFound => "not found",
        Code::AlreadyExists => "already exists",
        Code::PermissionDenied => "permission denied",
        Code::ResourceExhausted => "resource exhausted",
        Code::FailedPrecondition => "failed precondition",
        Code::Aborted => "aborted",
        Code::OutOfRange => "out of range",
        Code::Unimplemented => "not implemented",
        Code::Internal => "internal error",
        Code::Unavailable => "unavailable",
        Code::DataLoss => "data loss",
        Code::Unauthenticated => "not authenticated",
    }
}

/// Why a connection to containerd failed.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The address is neither a path nor `unix://` and a path.
    #[error("invalid containerd address `{0}`: expected a path, or `unix://` and a path")]
    BadAddress(String),
    /// The socket does not exist.
    #[error("connect to containerd: socket `{}` does not exist; is containerd running?", .0.display())]
    Missing(PathBuf),
    /// This process may not open the socket.
    #[error("connect to containerd: permission denied for socket `{}`; run as root", .0.display())]
    Denied(PathBuf),
    /// The path is not a socket, or no process listens there.
    #[error("connect to containerd: open socket `{}`", path.display())]
    Unusable {
        /// The socket.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// A process listens, and does not answer.
    #[error("no answer from containerd at `{}` within {_1} s", .0.display())]
    Silent(PathBuf, u64),
    /// A process listens, but does not speak containerd's API.
    #[error("connect to containerd: the server at `{}` is not containerd: {why}", path.display())]
    NotContainerd {
        /// The socket.
        path: PathBuf,
        /// The server's answer.
        why: String,
    },
}

impl ConnectError {
    /// Whether a retry may succeed: containerd may be starting, restarting or hanging.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Missing(_) | Self::Silent(..) => true,
            Self::Unusable { path: _, source } => source.kind() == ErrorKind::ConnectionRefused,
            Self::BadAddress(_) | Self::Denied(_) | Self::NotContainerd { .. } => false,
        }
    }
}
