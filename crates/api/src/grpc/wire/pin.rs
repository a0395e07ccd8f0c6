//! What came of pins.

use reclaim_model::{NotPinned, PinChange, PinOutcome};

use super::named::not_removed;
use super::{WireError, parsed};
use crate::grpc::proto;
use proto::not_pinned::Why;
use proto::pin_outcome::Outcome;

impl From<&PinOutcome> for proto::PinOutcome {
    fn from(outcome: &PinOutcome) -> Self {
        Self {
            name: outcome.name.clone(),
            outcome: Some(match &outcome.outcome {
                Ok(change) => Outcome::Change(change.into()),
                Err(error) => Outcome::NotPinned(error.into()),
            }),
        }
    }
}

impl TryFrom<proto::PinOutcome> for PinOutcome {
    type Error = WireError;

    fn try_from(message: proto::PinOutcome) -> Result<Self, WireError> {
        let outcome = message
            .outcome
            .ok_or_else(|| WireError::missing("outcome"))?;
        Ok(Self {
            outcome: match outcome {
                Outcome::Change(change) => Ok(change.try_into()?),
                Outcome::NotPinned(error) => Err(not_pinned(error, &message.name)?),
            },
            name: message.name,
        })
    }
}

impl From<&PinChange> for proto::PinChange {
    fn from(change: &PinChange) -> Self {
        Self {
            target: change.target.to_string(),
            changed: change.changed.clone(),
            unchanged: change.unchanged.clone(),
        }
    }
}

impl TryFrom<proto::PinChange> for PinChange {
    type Error = WireError;

    fn try_from(message: proto::PinChange) -> Result<Self, WireError> {
        Ok(Self {
            target: parsed("target", &message.target)?,
            changed: message.changed,
            unchanged: message.unchanged,
        })
    }
}

impl From<&NotPinned> for proto::NotPinned {
    fn from(error: &NotPinned) -> Self {
        Self {
            why: Some(match error {
                NotPinned::NotFound(error) => Why::NotFound(error.into()),
                NotPinned::Others(image) => Why::Others(image.clone()),
                NotPinned::Changed(image) => Why::Changed(image.clone()),
                NotPinned::Failed(error) => Why::Failed(error.clone()),
            }),
        }
    }
}

/// `name` is what was asked for.
fn not_pinned(message: proto::NotPinned, name: &str) -> Result<NotPinned, WireError> {
    let why = message.why.ok_or_else(|| WireError::missing("why"))?;
    Ok(match why {
        Why::NotFound(error) => NotPinned::NotFound(not_removed(error, name)?),
        Why::Others(image) => NotPinned::Others(image),
        Why::Changed(image) => NotPinned::Changed(image),
        Why::Failed(error) => NotPinned::Failed(error),
    })
}
