//! Why the cluster lock could not be acquired.

use std::time::Duration;

/// Why the cluster lock could not be acquired. The daemon skips the run and tries again when the
/// run is next due.
#[derive(Debug, thiserror::Error)]
pub enum ClusterLockError {
    /// The caller cancelled the wait.
    #[error("stopped waiting for the cluster lock")]
    Cancelled,
    /// There is neither a service account of a pod nor a kubeconfig.
    #[error("find the cluster's API server")]
    NoCluster {
        /// What was tried, and why it failed.
        #[source]
        source: kube::config::InferConfigError,
    },
    /// The client for the API server cannot be created, for instance because its certificate cannot
    /// be read.
    #[error("create a client for the cluster's API server")]
    NoClient {
        /// The cause.
        #[source]
        source: kube::Error,
    },
    /// The API server denied permission.
    #[error(
        "{verb} `{lease}`: permission to get, list, create, update and delete leases is required"
    )]
    Forbidden {
        /// What was tried.
        verb: &'static str,
        /// Namespace and name.
        lease: String,
        /// The server's message.
        #[source]
        source: Cause,
    },
    /// The API server refused the call, for instance because the namespace does not exist.
    #[error("{verb} `{lease}`")]
    Refused {
        /// What was tried.
        verb: &'static str,
        /// Namespace and name.
        lease: String,
        /// The server's message.
        #[source]
        source: Cause,
    },
    /// The API server failed, or cannot be reached.
    #[error("{verb} `{lease}`")]
    Unavailable {
        /// What was tried.
        verb: &'static str,
        /// Namespace and name.
        lease: String,
        /// The message of the server or the transport.
        #[source]
        source: Cause,
    },
    /// The API server did not answer in time.
    #[error("{verb} `{lease}`: no answer within {} s", .after.as_secs_f32())]
    NoAnswer {
        /// What was tried.
        verb: &'static str,
        /// Namespace and name.
        lease: String,
        /// The timeout.
        after: Duration,
    },
}

/// The message of the API server, or of the client if the server sent none.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Returns the status of a failed call, or 0 if the server sent none, and the message without the text
/// that the client adds to the server's.
pub(crate) fn status_and_cause(error: kube::Error) -> (u16, Cause) {
    if let kube::Error::Api(status) = error {
        (status.code, status)
    } else {
        (0, Box::new(error))
    }
}

impl ClusterLockError {
    /// Classifies the error of a call.
    pub(crate) fn of_call(verb: &'static str, lease: String, error: kube::Error) -> Self {
        let (code, source) = status_and_cause(error);
        match code {
            401 | 403 => Self::Forbidden {
                verb,
                lease,
                source,
            },
            // "Too many requests" is transient.
            429 => Self::Unavailable {
                verb,
                lease,
                source,
            },
            400..500 => Self::Refused {
                verb,
                lease,
                source,
            },
            _ => Self::Unavailable {
                verb,
                lease,
                source,
            },
        }
    }

    /// Whether a retry may succeed soon.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::NoAnswer { .. } | Self::Unavailable { .. } => true,
            Self::Cancelled
            | Self::NoCluster { .. }
            | Self::NoClient { .. }
            | Self::Refused { .. }
            | Self::Forbidden { .. } => false,
        }
    }
}
