//! Why there is no turn.

use std::time::Duration;

/// Why there is no turn. None of them is a reason to end the daemon: the run is left out, and
/// tried again when it is due again.
#[derive(Debug, thiserror::Error)]
pub enum TurnError {
    /// Whoever waited was told to stop.
    #[error("stopped waiting for this node's turn")]
    Cancelled,
    /// There is neither a service account of a pod nor a kubeconfig.
    #[error("find the cluster's API server")]
    NoCluster {
        /// What was looked for, and why it was not found.
        #[source]
        source: kube::config::InferConfigError,
    },
    /// The API server's client cannot be made: its certificate cannot be read, for instance.
    #[error("make a client of the cluster's API server")]
    NoClient {
        /// Why not.
        #[source]
        source: kube::Error,
    },
    /// The service account may not.
    #[error("{verb} lease `{lease}`: it takes the right to get, create and update leases")]
    Forbidden {
        /// What was tried.
        verb: &'static str,
        /// Namespace and name.
        lease: String,
        /// The server's own words.
        #[source]
        source: Cause,
    },
    /// The API server has understood, and says no: there is no such namespace, for instance.
    #[error("{verb} lease `{lease}`")]
    Refused {
        /// What was tried.
        verb: &'static str,
        /// Namespace and name.
        lease: String,
        /// The server's own words.
        #[source]
        source: Cause,
    },
    /// The API server has trouble of its own, or nothing is there to answer.
    #[error("{verb} lease `{lease}`")]
    Trouble {
        /// What was tried.
        verb: &'static str,
        /// Namespace and name.
        lease: String,
        /// The server's own words, or the transport's.
        #[source]
        source: Cause,
    },
    /// The API server does not answer in time.
    #[error("{verb} lease `{lease}`: no answer within {} s", .after.as_secs_f32())]
    NoAnswer {
        /// What was tried.
        verb: &'static str,
        /// Namespace and name.
        lease: String,
        /// How long was waited.
        after: Duration,
    },
}

/// The words of the API server, or of the client where it had none.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

impl TurnError {
    /// Sorts what went wrong with a call.
    pub(crate) fn of_call(verb: &'static str, lease: String, error: kube::Error) -> Self {
        // Its own words, without those that the client puts around them.
        let (code, source): (u16, Cause) = if let kube::Error::Api(status) = error {
            (status.code, status)
        } else {
            (0, Box::new(error))
        };
        match code {
            401 | 403 => Self::Forbidden {
                verb,
                lease,
                source,
            },
            // "Too many requests" passes.
            429 => Self::Trouble {
                verb,
                lease,
                source,
            },
            400..500 => Self::Refused {
                verb,
                lease,
                source,
            },
            _ => Self::Trouble {
                verb,
                lease,
                source,
            },
        }
    }

    /// Whether trying again soon makes sense. What the API server refuses it refuses again.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::NoAnswer { .. } | Self::Trouble { .. } => true,
            Self::Cancelled
            | Self::NoCluster { .. }
            | Self::NoClient { .. }
            | Self::Refused { .. }
            | Self::Forbidden { .. } => false,
        }
    }
}
