//! Which lists must be whole, and what a list that cannot be had leaves behind.

use std::time::Duration;

use reclaim_model::{Gap, List};

use crate::error::StoreError;

/// The waits between tries of a list that another try may bring. Short: whoever observes tries
/// again, too, while containerd itself is away.
const WAITS: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(400)];

/// What a list that cannot be had means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Strictness {
    /// Nothing can be decided without it: it fails the observation.
    Whole,
    /// It is a gap.
    Gaps,
}

impl Strictness {
    /// The lists of a namespace whose images are evaluated must be whole.
    pub(super) fn of(is_evaluated: bool) -> Self {
        if is_evaluated {
            Self::Whole
        } else {
            Self::Gaps
        }
    }
}

/// Makes a list, or enters into `gaps` that it cannot be had: then it is empty.
///
/// # Errors
///
/// If containerd is away, or the list must be whole and is not.
pub(super) async fn listed<T: Default, F>(
    list: List,
    strictness: Strictness,
    call: impl Fn() -> F,
    gaps: &mut Vec<Gap>,
) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    if strictness == Strictness::Whole {
        return call().await;
    }
    match patient(call).await {
        Err(error) if !error.is_from_transport() => {
            let why = reclaim_model::chain(&error);
            gaps.push(Gap::List { list, why });
            Ok(T::default())
        }
        listed => listed,
    }
}

/// Makes a call again while its error may pass by itself, a few times. One that had no answer in
/// time has been waited for long enough.
pub(crate) async fn patient<T, F>(call: impl Fn() -> F) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    let mut waits = WAITS.into_iter();
    loop {
        let error = match call().await {
            Ok(listed) => return Ok(listed),
            Err(error) => error,
        };
        let may_pass = error.is_passing() && !error.is_from_transport() && !error.is_timeout();
        match waits.next().filter(|_| may_pass) {
            Some(wait) => tokio::time::sleep(wait).await,
            None => return Err(error),
        }
    }
}
