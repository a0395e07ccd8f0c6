//! Which lists must be complete, and what a failed list becomes.

use std::time::Duration;

use reclaim_model::{Gap, List};
use tonic::Code;

use crate::error::{Class, StoreError};

/// The pauses between attempts. Short: while containerd is away, the caller retries as well.
const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(400)];

/// What a list that fails means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Strictness {
    /// It fails the observation: nothing can be decided without the list.
    Whole,
    /// It is a gap.
    Gaps,
}

impl Strictness {
    /// Returns [`Self::Whole`] for a namespace whose images are evaluated.
    pub(super) fn of(is_evaluated: bool) -> Self {
        if is_evaluated {
            Self::Whole
        } else {
            Self::Gaps
        }
    }
}

/// Calls for a list. If that fails, it adds a gap to `gaps` and returns an empty list.
///
/// # Errors
///
/// If containerd is away, or the list must be complete and is not.
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
    match with_retries(call).await {
        Err(error) if !error.is_from_transport() => {
            let why = reclaim_model::chain(&error);
            gaps.push(Gap::List { list, why });
            Ok(T::default())
        }
        listed => listed,
    }
}

/// Makes a call whose failure is a gap, and retries it a few times after any error: the next
/// attempt may succeed, and a gap keeps more than needed. It does not retry after a timeout, nor
/// if the subject is gone or the call not implemented.
pub(crate) async fn with_retries<T, F>(call: impl Fn() -> F) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    let mut pauses = PAUSES.into_iter();
    loop {
        let error = match call().await {
            Ok(listed) => return Ok(listed),
            Err(error) => error,
        };
        let is_final = error.class() == Class::Gone || error.code() == Some(Code::Unimplemented);
        let is_lost = error.is_from_transport() || error.is_timeout();
        match pauses.next().filter(|_| !is_final && !is_lost) {
            Some(pause) => tokio::time::sleep(pause).await,
            None => return Err(error),
        }
    }
}
