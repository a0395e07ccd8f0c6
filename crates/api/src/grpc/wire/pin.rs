//! What came of pins.

use reclaim_model::{NotPinned, PinOutcome};

use crate::grpc::proto;
use proto::not_pinned::Why;
use proto::pin_outcome::Outcome;

impl From<&PinOutcome> for proto::PinOutcome {
    fn from(outcome: &PinOutcome) -> Self {
        Self {
            name: outcome.name.clone(),
            outcome: Some(match &outcome.error {
                None => Outcome::Change(proto::PinChange {
                    target: outcome
                        .target
                        .as_ref()
                        .map(ToString::to_string)
                        .unwrap_or_default(),
                    changed: outcome.changed.clone(),
                    unchanged: outcome.unchanged.clone(),
                }),
                Some(error) => Outcome::NotPinned(error.into()),
            }),
        }
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
