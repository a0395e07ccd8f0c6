//! What only leases hold: the bytes that removing images does not free.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Freed, Holder, HolderKind, HolderRole, SnapshotSizes, form};

/// What only leases hold. Each blob and snapshot counts once in `things`, and with every lease that
/// holds it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leased {
    /// All of it.
    #[serde(flatten, with = "form::amount")]
    pub things: Freed,
    /// The leases, sorted by ID.
    pub leases: Vec<LeaseHolding>,
}

/// One lease, and what it holds of that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseHolding {
    /// The ID of the lease.
    pub id: String,
    /// What the lease is for, as far as there is evidence.
    pub role: Option<HolderRole>,
    /// When it was created; `None` if containerd does not say.
    pub since: Option<Timestamp>,
    /// When it expires; `None` if it never does.
    pub until: Option<Timestamp>,
    /// What it holds.
    #[serde(flatten, with = "form::amount")]
    pub things: Freed,
}

impl LeaseHolding {
    /// Returns the lease as a holder.
    pub fn holder(&self) -> Holder {
        Holder {
            role: self.role,
            ..Holder::new(HolderKind::Lease, &self.id)
        }
    }
}

impl Leased {
    /// Does what [`Freed::measure`] does, for everything that is listed.
    pub fn measure(&mut self, bytes: &SnapshotSizes) {
        self.things.measure(bytes);
        for holding in &mut self.leases {
            holding.things.measure(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FreedSnapshot, SnapshotId};

    #[test]
    fn measures_what_each_lease_holds_too() {
        let id = SnapshotId::new("native", "top");
        let mut sizes = SnapshotSizes::default();
        sizes.insert(id.clone(), 7);
        let things = Freed::new(Vec::new(), vec![FreedSnapshot { id, bytes: None }]);
        let lease = LeaseHolding {
            id: "pull".to_owned(),
            role: Some(HolderRole::Pull),
            since: None,
            until: None,
            things: things.clone(),
        };
        let holder = lease.holder();
        assert_eq!(
            (holder.kind, holder.role),
            (HolderKind::Lease, Some(HolderRole::Pull))
        );
        let mut leased = Leased {
            things,
            leases: vec![lease],
        };
        leased.measure(&sizes);
        assert_eq!(leased.things.amount().snapshot_bytes, 7);
        assert_eq!(leased.leases[0].things.amount().snapshot_bytes, 7);
    }
}
