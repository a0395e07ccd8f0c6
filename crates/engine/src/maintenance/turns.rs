//! Waiting for one's turn among other hosts, before a policy changes anything.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

/// Who says when this host may remove images: nodes of a cluster take turns, so that they do not
/// all collect, and later pull, at once.
///
/// A turn is courtesy, not safety: what must not happen twice on one host is guarded on it.
#[async_trait]
pub trait HostTurns: fmt::Debug + Send + Sync {
    /// Waits until it is this host's turn.
    ///
    /// # Errors
    ///
    /// If that cannot be known, or `cancel` came first. The policy does not run then.
    async fn take(
        &self,
        cancel: &CancellationToken,
    ) -> Result<Box<dyn HostTurn>, Box<dyn Error + Send + Sync>>;
}

/// The turn of this host, until it is given back or lost.
#[async_trait]
pub trait HostTurn: Send + Sync {
    /// Is cancelled when the turn is lost: then this host should come to an end.
    fn lost(&self) -> CancellationToken;

    /// Lets the next one have its turn.
    async fn give_back(self: Box<Self>);
}

/// The turn of a run, if hosts take turns at all.
pub(super) struct Taken {
    turn: Option<Box<dyn HostTurn>>,
    /// What stops the run: whoever asked for it, or the loss of the turn.
    pub(super) cancel: CancellationToken,
    _lost: Option<tokio::task::JoinHandle<()>>,
}

impl Taken {
    /// Takes the turn, where there are any.
    pub(super) async fn new(
        turns: Option<&Arc<dyn HostTurns>>,
        cancel: &CancellationToken,
    ) -> Result<Self, Box<dyn Error + Send + Sync>> {
        let child = cancel.child_token();
        let Some(turns) = turns else {
            return Ok(Self {
                turn: None,
                cancel: child,
                _lost: None,
            });
        };
        let turn = turns.take(cancel).await?;
        let (lost, stop) = (turn.lost(), child.clone());
        let watching = tokio::spawn(async move {
            tokio::select! {
                () = lost.cancelled() => stop.cancel(),
                () = stop.cancelled() => {}
            }
        });
        Ok(Self {
            turn: Some(turn),
            cancel: child,
            _lost: Some(watching),
        })
    }

    /// Gives it back.
    pub(super) async fn give_back(self) {
        self.cancel.cancel();
        if let Some(turn) = self.turn {
            turn.give_back().await;
        }
    }
}
