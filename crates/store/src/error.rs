//! What can go wrong between us and containerd, by class.

use std::io::ErrorKind;
use std::path::PathBuf;

use reclaim_model::Namespace;
use tonic::{Code, Status};

/// What a caller can do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// It may work when tried again.
    Retry,
    /// What was asked for is not there.
    Gone,
    /// The server understood and will not.
    Refused,
    /// Nothing more can be expected of this server.
    Broken,
    /// Somebody stopped it.
    Cancelled,
}

/// A call that failed, with what it was about.
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
    /// The server's own answer, or the transport's.
    #[error("{} ({})", status.message(), code_words(status.code()))]
    Status {
        /// As tonic has it.
        status: Box<Status>,
    },
    /// The server answered with something that makes no sense.
    #[error("the answer has no {missing}")]
    Incomplete {
        /// The part without which the answer cannot be used.
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

    /// Returns what the caller can do about it.
    pub fn class(&self) -> Class {
        match &self.source {
            CallError::Status { status } => class_of(status),
            CallError::Incomplete { missing: _ } => Class::Broken,
        }
    }

    /// Whether it may pass by itself.
    pub fn is_passing(&self) -> bool {
        self.class() == Class::Retry
    }

    /// Whether the server's filesystem has no room left for what was to be written.
    ///
    /// Source: containerd passes the kernel's text on; of its code it makes `Unknown`, or
    /// `ResourceExhausted` where it knows it.
    pub fn is_out_of_space(&self) -> bool {
        match &self.source {
            CallError::Status { status } => {
                status.code() == Code::ResourceExhausted || is_about_space(status.message())
            }
            CallError::Incomplete { missing: _ } => false,
        }
    }

    /// Whether the server's answer never came: the connection was lost.
    pub fn is_from_transport(&self) -> bool {
        matches!(&self.source, CallError::Status { status } if is_from_transport(status))
    }

    /// Whether there was no answer in time.
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

/// Whether the connection made the status up, because the server's answer never came. Only
/// then does it carry an error below it.
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

fn code_words(code: Code) -> &'static str {
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

/// Why containerd could not be reached at an address.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The address is of no kind that we connect to.
    #[error("address is not a path or `unix://` and a path: `{0}`")]
    BadAddress(String),
    /// The path does not exist.
    #[error("there is no socket `{}`; is containerd running?", .0.display())]
    Missing(PathBuf),
    /// We may not open it.
    #[error("permission to open socket `{}` is denied; it usually needs root", .0.display())]
    Denied(PathBuf),
    /// The path is not a socket, or nobody listens there.
    #[error("open socket `{}`", path.display())]
    Unusable {
        /// The socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Somebody listens, and does not answer.
    #[error("no answer from containerd at `{}` within {_1} s", .0.display())]
    Silent(PathBuf, u64),
    /// Somebody listens, but does not speak containerd's API.
    #[error("what listens at `{}` is not containerd: {why}", path.display())]
    NotContainerd {
        /// The socket.
        path: PathBuf,
        /// What it answered.
        why: String,
    },
}

impl ConnectError {
    /// Whether containerd may be there later: it is starting, or restarting, or hangs.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Missing(_) | Self::Silent(..) => true,
            Self::Unusable { path: _, source } => source.kind() == ErrorKind::ConnectionRefused,
            Self::BadAddress(_) | Self::Denied(_) | Self::NotContainerd { .. } => false,
        }
    }
}
