//! Refused requests.

use std::fmt;

use reclaim_model::Peer;
use tracing::warn;

use super::{Rights, Role};

/// What a refused request needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Needed {
    /// A role.
    Role(Role),
    /// To lift the protection of images.
    Lift,
}

/// A request whose sender may not make it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    needed: Needed,
    rights: Rights,
    peer: Box<Peer>,
}

impl Refusal {
    /// Refuses a request that needs more than the rights of its sender, and logs that.
    pub(crate) fn check(needed: Needed, rights: Rights, peer: &Peer) -> Result<(), Self> {
        let is_allowed = match needed {
            Needed::Role(role) => rights.include(Some(role)),
            Needed::Lift => rights.may_lift,
        };
        if is_allowed {
            return Ok(());
        }
        let refusal = Self {
            needed,
            rights,
            peer: Box::new(peer.clone()),
        };
        match needed {
            Needed::Role(role) => warn!(%peer, needs = %role, "refused a request"),
            Needed::Lift => warn!(%peer, "refused to lift the protection of images"),
        }
        Err(refusal)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            needed,
            rights,
            peer,
        } = self;
        match needed {
            Needed::Lift => write!(
                formatter,
                "lift_protection: accepted only from root on the daemon's Unix socket, and from \
                 clients that access.admin lists; this request is from {peer}"
            ),
            Needed::Role(needed) if rights.is_read_only && rights.role.is_some() => {
                write!(
                    formatter,
                    "the request needs the role `{needed}`, and this socket is read-only"
                )
            }
            Needed::Role(needed) => match rights.role {
                Some(role) => write!(
                    formatter,
                    "the request needs the role `{needed}`, and {peer} has the role `{role}` by \
                     [access] of the configuration"
                ),
                None => write!(
                    formatter,
                    "the request needs the role `{needed}`, and [access] of the configuration does \
                     not list {peer}"
                ),
            },
        }
    }
}

impl std::error::Error for Refusal {}
