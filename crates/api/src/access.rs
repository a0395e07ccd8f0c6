//! Who may request what: the role that each request needs, and the roles of clients.
//!
//! Each API declares the needed role with its routes, so that no route is without one. A client's
//! role follows from the lists of the configuration ([`AccessLists`]), from its socket or certificate,
//! and from the listener. It is evaluated for each request, so changed lists apply to open
//! connections, too.

mod client;
mod lists;
mod refusal;
mod table;

use std::fmt;
use std::sync::Arc;

use http::Extensions;
use reclaim_model::Peer;

pub(crate) use client::{Client, Entrance};
pub(crate) use lists::SocketOwner;
pub use lists::{Access, AccessLists, Grantee, InvalidGrantee, UnknownGroup};
pub(crate) use refusal::{Needed, Refusal};
pub use table::{Api, Method, methods};

/// What a client may request. Each role includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Requests that change nothing, such as plans, lists, disk usage and history.
    Read,
    /// Prunes and removals, runs of policies, and registrations of containers.
    Prune,
    /// Undo, release, pins, what is forwarded to a Docker Engine, and lifting `[protect]`.
    Admin,
}

impl Role {
    /// All roles, in ascending order.
    pub const ALL: [Self; 3] = [Self::Read, Self::Prune, Self::Admin];

    /// Returns the name of the role.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Prune => "prune",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

/// What the sender of a request may do. Each request of a listener has it as an extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rights {
    /// The role; `None` for a client that may only check health.
    pub(crate) role: Option<Role>,
    /// Whether it may lift the protection of images.
    pub(crate) may_lift: bool,
    /// Whether the listener is read-only.
    pub(crate) is_read_only: bool,
}

impl Rights {
    /// The rights of a client to which no list applies: everything but lifting the protection.
    pub(crate) const UNLISTED: Self = Self {
        role: Some(Role::Admin),
        may_lift: false,
        is_read_only: false,
    };

    /// The rights of a client that is not on the list.
    pub(crate) const NONE: Self = Self {
        role: None,
        may_lift: false,
        is_read_only: false,
    };

    /// The rights of a client that has been given this role.
    pub(crate) fn given(role: Role) -> Self {
        Self {
            role: Some(role),
            may_lift: role == Role::Admin,
            is_read_only: false,
        }
    }

    /// Returns the rights of the sender of a request. A server of another program, in which a router is
    /// mounted, decides itself who can connect.
    pub(crate) fn of(extensions: &Extensions) -> Self {
        extensions.get().copied().unwrap_or(Self::UNLISTED)
    }

    /// Whether the rights include a role; `None` is what everyone may request.
    pub(crate) fn include(self, needed: Option<Role>) -> bool {
        needed.is_none_or(|needed| self.role.is_some_and(|role| role >= needed))
    }

    /// Returns the greater of two.
    fn max(self, other: Self) -> Self {
        let key = |rights: Self| (rights.role, rights.may_lift);
        if key(other) > key(self) { other } else { self }
    }

    /// Returns the rights on a read-only listener.
    fn read_only(self) -> Self {
        Self {
            role: self.role.map(|role| role.min(Role::Read)),
            may_lift: false,
            is_read_only: true,
        }
    }
}

/// Refuses a request whose sender lacks the role that it needs; without one everyone may make it.
pub(crate) fn check(needed: Option<Role>, extensions: &Extensions) -> Result<(), Refusal> {
    let Some(role) = needed else {
        return Ok(());
    };
    let unknown = Arc::default();
    let peer = extensions.get::<Arc<Peer>>().unwrap_or(&unknown);
    Refusal::check(Needed::Role(role), Rights::of(extensions), peer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_includes_lower_ones_and_a_read_only_listener_only_reads() {
        for role in Role::ALL {
            let rights = Rights::given(role);
            for needed in Role::ALL {
                assert_eq!(rights.include(Some(needed)), needed <= role);
                let on_read_only = rights.read_only().include(Some(needed));
                assert_eq!(on_read_only, needed == Role::Read);
            }
            assert!(!rights.read_only().may_lift);
        }
        assert!(Rights::NONE.include(None) && !Rights::NONE.include(Some(Role::Read)));
        assert!(!Rights::NONE.read_only().include(Some(Role::Read)));
        assert!(!Rights::UNLISTED.may_lift && Rights::UNLISTED.include(Some(Role::Admin)));
    }
}
