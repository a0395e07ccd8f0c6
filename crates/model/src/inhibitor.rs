//! Commands that keep policies, or every removal, from running.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::names::Namespace;

/// What an inhibitor keeps from running.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InhibitScope {
    /// Runs of policies.
    Policies,
    /// Every run that removes something: policies, prunes and removals by name.
    All,
}

/// A command that keeps policies, or every removal, from running while it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inhibitor {
    /// What it keeps from running.
    pub what: InhibitScope,
    /// The command, without its arguments, which may be secret.
    pub command: String,
    /// The process that waits for the command, if the lease names it.
    pub pid: Option<u32>,
    /// The user of that process, if the lease names it.
    pub uid: Option<u32>,
    /// The reason, if one was given.
    pub why: Option<String>,
    /// When it began, if the lease names it.
    pub since: Option<Timestamp>,
    /// When its lease expires, unless it is renewed; `None` is never.
    pub until: Option<Timestamp>,
    /// The namespace of its lease. It inhibits runs in all namespaces.
    pub namespace: Namespace,
    /// The ID of its lease.
    pub lease: String,
}

impl InhibitScope {
    /// Returns its name in JSON and in the label of the lease.
    pub fn word(self) -> &'static str {
        match self {
            Self::Policies => "policies",
            Self::All => "all",
        }
    }

    /// Parses the label of a lease. Another word may be of a newer version, and inhibits everything.
    pub fn of_label(word: &str) -> Self {
        if word == Self::Policies.word() {
            Self::Policies
        } else {
            Self::All
        }
    }
}

/// Says what is inhibited, by which command, and why.
impl fmt::Display for Inhibitor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.what {
            InhibitScope::Policies => "policies",
            InhibitScope::All => "removals",
        };
        write!(formatter, "{what} are inhibited by `{}`", self.command)?;
        match (self.pid, self.uid) {
            (Some(pid), Some(uid)) => write!(formatter, " (process {pid} of user {uid})")?,
            (Some(pid), None) => write!(formatter, " (process {pid})")?,
            (None, _) => {}
        }
        if let Some(since) = self.since {
            write!(formatter, " since {since:.0}")?;
        }
        if let Some(until) = self.until {
            write!(formatter, ", at least until {until:.0} unless it ends")?;
        }
        match &self.why {
            Some(why) => write!(formatter, ": {why}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_is_inhibited_by_whom_until_when_and_why() {
        let inhibitor = Inhibitor {
            what: InhibitScope::Policies,
            command: "make".to_owned(),
            pid: Some(12),
            uid: Some(1000),
            why: Some("nightly build".to_owned()),
            since: "2026-01-02T03:04:05.6Z".parse().ok(),
            until: "2026-01-02T03:09:05Z".parse().ok(),
            namespace: "default".parse().unwrap(),
            lease: "reclaim.inhibit.1.1".to_owned(),
        };
        assert_eq!(
            inhibitor.to_string(),
            "policies are inhibited by `make` (process 12 of user 1000) since \
             2026-01-02T03:04:05Z, at least until 2026-01-02T03:09:05Z unless it ends: nightly \
             build"
        );
        let bare = Inhibitor {
            what: InhibitScope::All,
            pid: None,
            why: None,
            since: None,
            until: None,
            ..inhibitor
        };
        assert_eq!(bare.to_string(), "removals are inhibited by `make`");
    }

    #[test]
    fn an_unknown_scope_inhibits_everything() {
        for scope in [InhibitScope::Policies, InhibitScope::All] {
            assert_eq!(InhibitScope::of_label(scope.word()), scope);
            assert_eq!(
                serde_json::to_string(&scope).unwrap(),
                format!("\"{}\"", scope.word())
            );
        }
        assert_eq!(InhibitScope::of_label("images"), InhibitScope::All);
    }
}
