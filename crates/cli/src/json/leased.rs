//! What only leases hold.

use jiff::Timestamp;
use reclaim_model::{Amount, Holder, HolderRole, LeaseHolding, Leased};
use serde::Serialize;

#[derive(Serialize)]
pub(super) struct LeasedJson<'a> {
    #[serde(flatten)]
    all: Amount,
    leases: Vec<LeaseJson<'a>>,
}

#[derive(Serialize)]
struct LeaseJson<'a> {
    id: &'a str,
    role: Option<HolderRole>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    #[serde(flatten)]
    amount: Amount,
}

pub(super) fn of(leased: &Leased) -> LeasedJson<'_> {
    LeasedJson {
        all: leased.things.amount(),
        leases: leased.leases.iter().map(lease).collect(),
    }
}

fn lease(holding: &LeaseHolding) -> LeaseJson<'_> {
    let LeaseHolding {
        lease: Holder { id, role, kind: _ },
        since,
        until,
        things,
    } = holding;
    LeaseJson {
        id,
        role: *role,
        since: *since,
        until: *until,
        amount: things.amount(),
    }
}
