//! Plans that were shown and may be applied.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use reclaim_engine::Preview;
use reclaim_model::PruneRequest;
use uuid::Uuid;

/// How many plans are kept. Each has a whole inventory.
const MAX_PLANS: usize = 8;

/// How long a plan is kept.
const MAX_AGE: SignedDuration = SignedDuration::from_mins(15);

/// A plan with what it was made for.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) request: PruneRequest,
    pub(super) preview: Preview,
}

/// The plans, oldest first.
#[derive(Debug, Default)]
pub(super) struct Plans {
    plans: Mutex<VecDeque<(String, Timestamp, Kept)>>,
}

impl Plans {
    /// Keeps a plan. Returns its ID, and until when it is kept at most.
    pub(super) fn keep(&self, kept: Kept) -> (String, Timestamp) {
        let id = Uuid::now_v7().to_string();
        let now = reclaim_engine::now();
        let expires = now.saturating_add(MAX_AGE).unwrap_or(Timestamp::MAX);
        let mut plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        plans.retain(|(_, expires, _)| *expires > now);
        while plans.len() >= MAX_PLANS {
            plans.pop_front();
        }
        plans.push_back((id.clone(), expires, kept));
        (id, expires)
    }

    /// Takes a plan, which can be applied once.
    pub(super) fn take(&self, id: &str) -> Option<Kept> {
        let now = reclaim_engine::now();
        let mut plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        let at = plans.iter().position(|(it, _, _)| it == id)?;
        let (_, expires, kept) = plans.remove(at)?;
        (expires > now).then_some(kept)
    }
}
