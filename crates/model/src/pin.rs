//! Pins: the labels by which an image is kept from every removal, and what comes of setting them.
//!
//! There are two. One is the CRI plugin's, which the kubelet and everybody else respect, and it
//! alone decides. The other says that Reclaim set the first, and when: a pin that Reclaim did not
//! set is not removed without force.

use serde::{Deserialize, Serialize};

use crate::form::{self, Problem};
use crate::{Digest, ImageRecord, Namespace, NotRemoved};

/// Label by which the CRI plugin marks an image that must not be removed.
pub const PIN_LABEL: &str = "io.cri-containerd.pinned";

/// The value of [`PIN_LABEL`] that counts; any other is no pin.
pub const PIN_VALUE: &str = "pinned";

/// Label beside [`PIN_LABEL`] where Reclaim has put it, with the time at which it did.
pub const OUR_PIN_LABEL: &str = "reclaim/pinned";

/// Whose pin an image has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Pin {
    /// Reclaim has put it.
    #[serde(rename = "reclaim")]
    Ours,
    /// The CRI plugin, or a person by hand.
    #[serde(rename = "other")]
    Others,
}

impl Pin {
    /// Returns the label that shows it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Ours => OUR_PIN_LABEL,
            Self::Others => PIN_LABEL,
        }
    }
}

impl ImageRecord {
    /// Returns whose pin the record has, if it has one.
    pub fn pin(&self) -> Option<Pin> {
        let is_pinned = self.labels.get(PIN_LABEL).is_some_and(|it| it == PIN_VALUE);
        is_pinned.then(|| {
            if self.labels.contains_key(OUR_PIN_LABEL) {
                Pin::Ours
            } else {
                Pin::Others
            }
        })
    }

    /// Whether the image is pinned, by Reclaim or anything else.
    pub fn is_pinned(&self) -> bool {
        self.pin().is_some()
    }
}

/// What to do about pins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PinAction {
    /// Set them.
    Pin,
    /// Take those away that are ours.
    Unpin,
    /// Remove them, also those that Reclaim did not set.
    UnpinAny,
}

/// Images to pin or unpin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PinRequest {
    /// Where.
    pub namespace: Namespace,
    /// What to do.
    pub action: PinAction,
    /// Names, digests, or beginnings of digests, as typed.
    pub names: Vec<String>,
    /// Whether a namespace that is not there is one without images, rather than an error.
    #[serde(default)]
    pub may_lack_namespace: bool,
    /// Whether to wait for a run to end that is under way, rather than to give up.
    #[serde(default)]
    pub wait: bool,
}

/// The result of pinning or unpinning one name.
///
/// Invariant: it has either a `target` or an `error`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinOutcome {
    /// As typed.
    pub name: String,
    /// What the records point at.
    pub target: Option<Digest>,
    /// The records that were pinned or unpinned, by their full names.
    pub changed: Vec<String>,
    /// The records that were as wanted before.
    pub unchanged: Vec<String>,
    /// Why the pin was not changed, or not of every record.
    #[serde(flatten, with = "form::problem")]
    pub error: Option<NotPinned>,
}

impl PinOutcome {
    /// Returns the result for a name that could not be pinned or unpinned.
    pub fn failed(name: impl Into<String>, error: NotPinned) -> Self {
        Self {
            name: name.into(),
            target: None,
            changed: Vec::new(),
            unchanged: Vec::new(),
            error: Some(error),
        }
    }
}

/// The results of pinning or unpinning some names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pins {
    /// The namespace.
    pub namespace: Namespace,
    /// [`PinAction::Pin`] or [`PinAction::Unpin`].
    pub action: PinAction,
    /// One for each name that was given.
    pub images: Vec<PinOutcome>,
}

impl Pins {
    /// Returns the results of a request.
    pub fn new(request: &PinRequest, images: Vec<PinOutcome>) -> Self {
        Self {
            namespace: request.namespace.clone(),
            action: match request.action {
                PinAction::Pin => PinAction::Pin,
                PinAction::Unpin | PinAction::UnpinAny => PinAction::Unpin,
            },
            images,
        }
    }
}

/// Why the pin of an image could not be changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NotPinned {
    /// The name means no image, or several.
    #[error("{0}")]
    NotFound(NotRemoved),
    /// The pin is not ours; the image in its familiar form is carried here.
    #[error(
        "{0} was not pinned by reclaim: containerd's CRI plugin may need it to start pods (must \
         be forced)"
    )]
    Others(String),
    /// The name was moved to another image meanwhile.
    #[error("{0} now points to a different image; retry")]
    Changed(String),
    /// A record could not be written: the error with its causes.
    #[error("{0}")]
    Failed(String),
}

impl Problem for NotPinned {
    fn problem(&self) -> &'static str {
        match self {
            Self::NotFound(error) => error.problem(),
            Self::Others(_) => "not_ours",
            Self::Changed(_) => "changed",
            Self::Failed(_) => "failed",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{GcLabels, Target};

    fn record(labels: &[(&str, &str)]) -> ImageRecord {
        let digest = format!("sha256:{}", "a7".repeat(32));
        ImageRecord {
            name: "docker.io/library/app:1".to_owned(),
            target: Target {
                media_type: String::new(),
                digest: digest.parse().unwrap(),
                size: 1,
                annotations: BTreeMap::new(),
            },
            labels: labels
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
            created_at: None,
            updated_at: None,
            gc: GcLabels::default(),
            expires: None,
        }
    }

    #[test]
    fn the_plugins_label_decides_and_ours_says_whose_it_is() {
        let theirs = (PIN_LABEL, "pinned");
        let ours = (OUR_PIN_LABEL, "2026-01-02T03:04:05Z");
        for (labels, pin, told_by) in [
            (&[][..], None, None),
            (&[theirs], Some(Pin::Others), Some(PIN_LABEL)),
            (&[theirs, ours], Some(Pin::Ours), Some(OUR_PIN_LABEL)),
            // Another tool removed the pin and left our label.
            (&[ours], None, None),
            (&[(PIN_LABEL, "no")], None, None),
        ] {
            let record = record(labels);
            assert_eq!(record.pin(), pin, "{labels:?}");
            assert_eq!(record.pin().map(Pin::label), told_by, "{labels:?}");
            assert_eq!(record.is_pinned(), pin.is_some(), "{labels:?}");
        }
    }
}
