//! Plans that were shown and may be applied.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use reclaim_engine::now;
use reclaim_model::{Plan, PruneRequest};
use uuid::Uuid;

/// How many plans a daemon keeps.
pub const MAX_PLANS: usize = 8;

/// How long a plan is kept.
const MAX_AGE: Duration = Duration::from_secs(15 * 60);

/// A plan with what it was made for. Not the inventory it was made from: of 100,000 images that
/// is most of a gigabyte, and applying a plan observes again.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) request: PruneRequest,
    pub(crate) plan: Plan,
}

/// The plans, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Plans {
    plans: Arc<Mutex<VecDeque<Entry>>>,
}

#[derive(Debug)]
struct Entry {
    id: String,
    expires: Timestamp,
    kept: Kept,
}

impl Plans {
    /// Keeps a plan until it expires, is taken, or too many others are kept. Returns its ID, and
    /// until when it is kept at most.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub(crate) fn keep(&self, kept: Kept) -> (String, Timestamp) {
        let id = Uuid::now_v7().to_string();
        let expires = now().saturating_add(MAX_AGE).unwrap_or(Timestamp::MAX);
        let entry = Entry {
            id: id.clone(),
            expires,
            kept,
        };
        {
            let mut plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
            while plans.len() >= MAX_PLANS {
                plans.pop_front();
            }
            plans.push_back(entry);
        }
        self.forget_later(id.clone());
        (id, expires)
    }

    /// Takes a plan, which can be applied once. It stays if `check` fails.
    pub(crate) fn take<E>(
        &self,
        id: &str,
        check: impl FnOnce(&Kept) -> Result<(), E>,
    ) -> Option<Result<Kept, E>> {
        let mut plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        let at = plans.iter().position(|it| it.id == id)?;
        if let Err(error) = check(&plans[at].kept) {
            return Some(Err(error));
        }
        let entry = plans.remove(at)?;
        // The clock of the timer stands still while the machine sleeps.
        (entry.expires > now()).then_some(Ok(entry.kept))
    }

    /// Frees the memory of a plan when it expires, although no request comes any more.
    fn forget_later(&self, id: String) {
        let plans = Arc::downgrade(&self.plans);
        tokio::spawn(async move {
            tokio::time::sleep(MAX_AGE).await;
            if let Some(plans) = plans.upgrade() {
                let mut plans = plans.lock().unwrap_or_else(PoisonError::into_inner);
                plans.retain(|it| it.id != id);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use reclaim_model::{Freed, Namespace, NotCounted};

    use super::*;

    fn kept() -> Kept {
        let namespace: Namespace = "default".parse().unwrap();
        Kept {
            plan: Plan {
                namespace: namespace.clone(),
                steps: Vec::new(),
                kept: Vec::new(),
                slimmed: Vec::new(),
                cuts: Vec::new(),
                named: Vec::new(),
                freed: Freed::default(),
                not_counted: NotCounted::default(),
                warnings: Vec::new(),
                target_free: None,
            },
            request: PruneRequest::dangling(namespace),
        }
    }

    fn take(plans: &Plans, id: &str) -> Option<Kept> {
        let taken = plans.take(id, |_| Ok::<_, Infallible>(()))?;
        taken.ok()
    }

    fn len(plans: &Plans) -> usize {
        plans.plans.lock().unwrap().len()
    }

    #[tokio::test(start_paused = true)]
    async fn a_plan_goes_when_it_expires_without_another_request() {
        let plans = Plans::default();
        let (first, _) = plans.keep(kept());
        tokio::time::sleep(MAX_AGE / 2).await;
        let (second, _) = plans.keep(kept());
        assert_eq!(len(&plans), 2);
        tokio::time::sleep(MAX_AGE / 2 + Duration::from_millis(1)).await;
        assert_eq!(len(&plans), 1);
        assert!(take(&plans, &first).is_none());
        assert!(
            plans
                .take(&second, |_| Err(()))
                .is_some_and(|it| it.is_err())
        );
        assert!(take(&plans, &second).is_some());
        assert!(take(&plans, &second).is_none());
    }

    #[tokio::test]
    async fn the_oldest_plan_makes_room() {
        let plans = Plans::default();
        let ids: Vec<String> = (0..=MAX_PLANS).map(|_| plans.keep(kept()).0).collect();
        assert_eq!(len(&plans), MAX_PLANS);
        assert!(take(&plans, &ids[0]).is_none());
        assert!(take(&plans, &ids[1]).is_some());
    }
}
