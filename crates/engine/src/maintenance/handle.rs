//! What a caretaker can be asked for, from beside its loop.
//!
//! Runs that are asked for take their turn between the caretaker's own: it makes them itself, by
//! the duties that it has at that moment. Explanations change nothing, and are made beside it.

use std::sync::Arc;

use reclaim_model::{Mode, PolicyName};
use tokio::sync::{mpsc, watch};

use super::caretaker::Duties;
use super::explain::PolicyForecast;
use super::history::{RunHistory, RunRecord};
use super::outcome::PolicyRun;
use crate::engine::RunError;
use crate::policy::{Policy, UnknownPolicy};

/// How many may wait for their turn; who comes later waits to wait.
const WAITING: usize = 16;

/// Why a caretaker could not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// A policy was named that is not among its duties.
    #[error(transparent)]
    UnknownPolicy(#[from] UnknownPolicy),
    /// Nothing could be judged.
    #[error(transparent)]
    Run(#[from] RunError),
    /// It came to its end before all that was asked for was done.
    #[error("the daemon is stopping: not every policy ran")]
    Stopped,
}

/// A way to ask a caretaker. Clones ask the same one.
#[derive(Debug, Clone)]
pub struct CaretakerHandle {
    asks: mpsc::Sender<Ask>,
    duties: watch::Receiver<Duties>,
    history: Arc<RunHistory>,
}

/// The caretaker's end.
#[derive(Debug)]
pub(super) struct Desk {
    /// One of its own is kept, so that there is always somebody who could ask.
    handle: CaretakerHandle,
    asks: mpsc::Receiver<Ask>,
    duties: watch::Sender<Duties>,
}

/// Runs that somebody asked for.
#[derive(Debug)]
pub(super) struct Ask {
    /// Which policies; all if there is none.
    pub(super) names: Vec<PolicyName>,
    /// [`Mode::DryRun`] if nothing is to be changed, whatever the policies say.
    pub(super) mode: Mode,
    told: mpsc::UnboundedSender<Result<PolicyRun, AskError>>,
    is_done: bool,
}

/// The runs that were asked for, each when it has ended.
#[derive(Debug)]
pub struct AskedRuns {
    told: mpsc::UnboundedReceiver<Result<PolicyRun, AskError>>,
}

impl CaretakerHandle {
    /// Has policies run once, now or after the run that is under way: those of these names, or
    /// all. With [`Mode::DryRun`] nothing is changed; otherwise each is as its policy has it.
    ///
    /// Runs go on to their end if nobody listens any more.
    ///
    /// # Errors
    ///
    /// If a name is unknown, or the caretaker has come to its end.
    pub async fn run(&self, names: Vec<PolicyName>, mode: Mode) -> Result<AskedRuns, AskError> {
        // Asked again when it is its turn: said at once, nobody has to wait for it.
        Policy::chosen(&self.duties.borrow().policies, &names)?;
        let (told, hears) = mpsc::unbounded_channel();
        let ask = Ask {
            names,
            mode,
            told,
            is_done: false,
        };
        let asked = self.asks.send(ask).await;
        asked.map_err(|_| AskError::Stopped)?;
        Ok(AskedRuns { told: hears })
    }

    /// Says of each policy, of these names or all, what it is and what it would do at this moment.
    ///
    /// Cancellation safe: it only reads.
    ///
    /// # Errors
    ///
    /// If a name is unknown, or the store cannot be read whole.
    pub async fn explain(
        &self,
        names: &[PolicyName],
    ) -> Result<Vec<(Policy, PolicyForecast)>, AskError> {
        let Duties {
            maintenance,
            policies,
        } = self.duties.borrow().clone();
        let chosen = Policy::chosen(&policies, names)?;
        let forecasts = maintenance.explain(&chosen).await?;
        Ok(chosen.into_iter().cloned().zip(forecasts).collect())
    }

    /// Returns the runs that are remembered, oldest first.
    pub fn history(&self) -> Vec<RunRecord> {
        self.history.runs()
    }
}

impl AskedRuns {
    /// Waits for the end of the next run; `None` when all have ended.
    ///
    /// # Errors
    ///
    /// [`AskError`] if that is why there is none any more.
    pub async fn next(&mut self) -> Result<Option<PolicyRun>, AskError> {
        self.told.recv().await.transpose()
    }
}

impl Desk {
    pub(super) fn new(duties: Duties, history: Arc<RunHistory>) -> Self {
        let (ask, asks) = mpsc::channel(WAITING);
        let (duties, published) = watch::channel(duties);
        Self {
            handle: CaretakerHandle {
                asks: ask,
                duties: published,
                history,
            },
            asks,
            duties,
        }
    }

    pub(super) fn handle(&self) -> CaretakerHandle {
        self.handle.clone()
    }

    /// Says what is worked by from here on.
    pub(super) fn publish(&self, duties: Duties) {
        self.duties.send_replace(duties);
    }

    /// Waits for somebody who asks. Cancellation safe: nobody is lost.
    pub(super) async fn next(&mut self) -> Option<Ask> {
        self.asks.recv().await
    }
}

impl Ask {
    /// Tells of a run. Nobody may be listening any more.
    pub(super) fn tell(&self, run: PolicyRun) {
        drop(self.told.send(Ok(run)));
    }

    /// All that was asked for is done.
    pub(super) fn done(mut self) {
        self.is_done = true;
    }

    /// Ends it with an error.
    pub(super) fn fail(mut self, error: AskError) {
        self.is_done = true;
        drop(self.told.send(Err(error)));
    }
}

impl Drop for Ask {
    fn drop(&mut self) {
        // Whoever waits must not take this end for that of all runs.
        if !self.is_done {
            drop(self.told.send(Err(AskError::Stopped)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked() -> (Ask, AskedRuns) {
        let (told, hears) = mpsc::unbounded_channel();
        let ask = Ask {
            names: Vec::new(),
            mode: Mode::Apply,
            told,
            is_done: false,
        };
        (ask, AskedRuns { told: hears })
    }

    #[tokio::test]
    async fn an_end_before_all_is_done_is_told() {
        let (ask, mut runs) = asked();
        drop(ask);
        assert!(matches!(runs.next().await, Err(AskError::Stopped)));
        assert!(matches!(runs.next().await, Ok(None)));

        let (ask, mut runs) = asked();
        ask.done();
        assert!(matches!(runs.next().await, Ok(None)));
    }
}
