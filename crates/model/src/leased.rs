//! What only leases hold: the bytes that removing images does not free.

use jiff::Timestamp;

use crate::{Freed, Holder, SnapshotSizes};

/// What leases of others hold and nothing else needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Leased {
    /// All of it, each blob and snapshot once.
    pub things: Freed,
    /// Each lease that holds a part of it, sorted. What several hold is with each of them.
    pub leases: Vec<LeaseHolding>,
}

/// A lease, and what it holds that no container and no image needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseHolding {
    /// The lease.
    pub lease: Holder,
    /// When it was created; `None` if the server does not say.
    pub since: Option<Timestamp>,
    /// When it expires; `None` is never.
    pub until: Option<Timestamp>,
    /// What it holds.
    pub things: Freed,
}

impl Leased {
    /// As [`Freed::measure`], of all that is listed.
    pub fn measure(&mut self, bytes: &SnapshotSizes) {
        self.things.measure(bytes);
        for holding in &mut self.leases {
            holding.things.measure(bytes);
        }
    }
}
