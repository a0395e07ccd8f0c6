//! The sender of a request.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::PolicyName;

/// The sender of a request that changes something, as far as this host can see.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    /// The way by which the request arrived.
    pub entry_point: EntryPoint,
    /// The client.
    #[serde(flatten)]
    pub peer: Peer,
    /// The policy that wanted the change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<PolicyName>,
    /// The name that the client's program gave itself, of HTTP's `User-Agent`: a claim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
}

/// The way by which a request arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryPoint {
    /// A command that works without a daemon.
    CommandLine,
    /// The JSON API.
    Json,
    /// The gRPC API.
    Grpc,
    /// Docker's API.
    Docker,
    /// A schedule of the daemon.
    Schedule,
    /// A program that embeds the engine.
    Embedded,
}

/// The client of a connection, as the system reports it. Empty if it is unknown.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// The process on this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<PeerProcess>,
    /// The certificate that the client proved to own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<PeerCertificate>,
    /// The address of the client's host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<IpAddr>,
}

/// A process, by the credentials of its socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerProcess {
    /// Its user's ID.
    pub uid: u32,
    /// Its group's ID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gid: Option<u32>,
    /// Its process ID when it connected. Unknown if it is in another PID namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    /// The name of its command: a hint, because a process can change its own, and another process
    /// can get its ID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
}

/// The names in a client's certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerCertificate {
    /// The subject, in the form of RFC 4514, such as `CN=ci,O=Example`.
    pub subject: String,
    /// The common name, if the subject has exactly one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub common_name: Option<String>,
    /// The alternative names of the subject, each after its kind, such as `DNS:ci.example`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alternative_names: Vec<String>,
}

impl Caller {
    /// The caller at an entry point of which nothing else is known.
    pub fn new(entry_point: EntryPoint) -> Self {
        Self {
            entry_point,
            peer: Peer::default(),
            policy: None,
            user_agent: None,
        }
    }

    /// Sets the client.
    #[must_use]
    pub fn with_peer(mut self, peer: Peer) -> Self {
        self.peer = peer;
        self
    }

    /// Sets the policy.
    #[must_use]
    pub fn with_policy(mut self, policy: PolicyName) -> Self {
        self.policy = Some(policy);
        self
    }
}

impl EntryPoint {
    /// All of them, in order.
    pub const ALL: [Self; 6] = [
        Self::CommandLine,
        Self::Json,
        Self::Grpc,
        Self::Docker,
        Self::Schedule,
        Self::Embedded,
    ];

    /// Returns its name in JSON and in the log.
    pub fn word(self) -> &'static str {
        match self {
            Self::CommandLine => "command_line",
            Self::Json => "json",
            Self::Grpc => "grpc",
            Self::Docker => "docker",
            Self::Schedule => "schedule",
            Self::Embedded => "embedded",
        }
    }
}

impl Peer {
    /// Whether it is a process of root on this machine.
    pub fn is_root(&self) -> bool {
        self.process
            .as_ref()
            .is_some_and(|process| process.uid == 0)
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.process, &self.host) {
            (Some(process), _) => write!(formatter, "a process of user {}", process.uid),
            (None, Some(host)) => write!(formatter, "a client at {host}"),
            (None, None) => formatter.write_str("an unknown client"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_process_of_user_0_is_root() {
        let process = |uid| PeerProcess {
            uid,
            gid: None,
            pid: None,
            command: None,
        };
        let host = Some(IpAddr::from([10, 0, 0, 1]));
        for (process, host, is_root, text) in [
            (Some(process(0)), None, true, "a process of user 0"),
            (Some(process(1000)), None, false, "a process of user 1000"),
            (None, host, false, "a client at 10.0.0.1"),
            (None, None, false, "an unknown client"),
        ] {
            let peer = Peer {
                process,
                host,
                ..Peer::default()
            };
            assert_eq!((peer.is_root(), peer.to_string().as_str()), (is_root, text));
        }
    }

    #[test]
    fn a_caller_keeps_its_form() {
        const FULL: &str = concat!(
            r#"{"entry_point":"docker","process":{"uid":1000,"gid":50,"pid":7,"command":"docker"},"#,
            r#""certificate":{"subject":"CN=ci","common_name":"ci","alternative_names":["DNS:ci"]},"#,
            r#""host":"10.0.0.1","policy":"pressure","user_agent":"Docker-Client/28.5.2"}"#,
        );
        for text in [FULL, r#"{"entry_point":"schedule"}"#] {
            let caller: Caller = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_string(&caller).unwrap(), text);
        }
        for entry_point in EntryPoint::ALL {
            let json = serde_json::to_value(entry_point).unwrap();
            assert_eq!(json, entry_point.word());
        }
    }
}
