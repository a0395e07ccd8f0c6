//! The images of a namespace, each with its size and what a prune does with it.
//!
//! The JSON form of each type is its form in `docs/json.md`, under `reclaim image ls`.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Digest, ImageSize, KeepReason, Namespace, Pin, PlatformLayers, RemoveReason};

/// The images of a namespace, as they were at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageList {
    /// The namespace.
    pub namespace: Namespace,
    /// The moment, by the clock of the process that listed them; ages are shown relative to it. Not
    /// in JSON, so that equal lists are equal.
    #[serde(skip)]
    pub observed_at: Timestamp,
    /// One for each record, sorted by name.
    pub images: Vec<ListedImage>,
    /// What could not be seen, for a person.
    pub warnings: Vec<String>,
}

/// An image record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedImage {
    /// The record's name.
    pub name: String,
    /// What it points at.
    pub target: Digest,
    /// What its target occupies.
    #[serde(flatten)]
    pub size: ImageSize,
    /// Which layers of its platforms are here, sorted by manifest; empty if it has none, or in the
    /// answer of an older daemon.
    #[serde(default)]
    pub layers: Vec<PlatformLayers>,
    /// When the record was made, if containerd knows it.
    pub created: Option<Timestamp>,
    /// When it was last used, by the clock of [`ImageList::observed_at`]: the time of the list if it is
    /// in use. `None` if nothing recorded it, or in the answer of an older daemon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used: Option<Timestamp>,
    /// Who pinned it, if anything did.
    pub pinned: Option<Pin>,
    /// What a prune of all unused images does with it.
    #[serde(flatten, with = "verdict")]
    pub verdict: Result<RemoveReason, KeepReason>,
}

impl ListedImage {
    /// Returns what a prune of all unused images does with it, in a word.
    pub fn verdict_word(&self) -> &'static str {
        match self.verdict {
            Ok(reason) => removal_word(reason),
            Err(reason) => keep_word(reason),
        }
    }
}

fn removal_word(reason: RemoveReason) -> &'static str {
    match reason {
        RemoveReason::Dangling => "dangling",
        RemoveReason::Unused => "unused",
        RemoveReason::Torn => "torn",
        // The others are reasons of removals by name.
        RemoveReason::Duplicate
        | RemoveReason::Named
        | RemoveReason::Replaced
        | RemoveReason::Parent
        | RemoveReason::Dependent => "duplicate",
    }
}

fn keep_word(reason: KeepReason) -> &'static str {
    match reason {
        KeepReason::InUse | KeepReason::CriGroup => "used",
        KeepReason::Pinned => "pinned",
        KeepReason::Unreadable => "unreadable",
        KeepReason::UsageUnknown => "unknown",
        // Most of these need a filter, a name or a policy.
        KeepReason::Unholdable
        | KeepReason::NotDangling
        | KeepReason::TooRecent
        | KeepReason::LabelFilter
        | KeepReason::NotNeeded
        | KeepReason::NotConfirmed
        | KeepReason::NotNamed
        | KeepReason::NotForced
        | KeepReason::Protected
        | KeepReason::RuleFilter
        | KeepReason::LastCopy
        | KeepReason::TooYoung
        | KeepReason::UsedRecently
        | KeepReason::Repulled
        | KeepReason::Newest
        | KeepReason::Capped
        | KeepReason::DependentStays
        | KeepReason::SharedPart
        | KeepReason::LayersMissing
        | KeepReason::NotUnpacked
        | KeepReason::LastPlatform
        | KeepReason::DockerLayers
        | KeepReason::RegistryMirror
        | KeepReason::NothingToFree => "kept",
    }
}

/// A verdict as a word (`verdict`) and its reason (`reason`), which says which of both it is: no
/// reason to remove has the name of a reason to keep.
mod verdict {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{keep_word, removal_word};
    use crate::{KeepReason, RemoveReason};

    #[derive(Serialize)]
    struct Written {
        verdict: &'static str,
        reason: Reason,
    }

    #[derive(Deserialize)]
    struct Read {
        reason: Reason,
    }

    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Reason {
        Remove(RemoveReason),
        Keep(KeepReason),
    }

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
    pub(super) fn serialize<S: Serializer>(
        verdict: &Result<RemoveReason, KeepReason>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let written = match *verdict {
            Ok(reason) => Written {
                verdict: removal_word(reason),
                reason: Reason::Remove(reason),
            },
            Err(reason) => Written {
                verdict: keep_word(reason),
                reason: Reason::Keep(reason),
            },
        };
        written.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Result<RemoveReason, KeepReason>, D::Error> {
        Ok(match Read::deserialize(deserializer)?.reason {
            Reason::Remove(reason) => Ok(reason),
            Reason::Keep(reason) => Err(reason),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_verdict_is_a_word_and_its_reason() {
        for (verdict, word, reason) in [
            (Ok(RemoveReason::Dangling), "dangling", "dangling"),
            (Ok(RemoveReason::Unused), "unused", "unused"),
            (Ok(RemoveReason::Torn), "torn", "torn"),
            (Ok(RemoveReason::Duplicate), "duplicate", "duplicate"),
            (Err(KeepReason::InUse), "used", "in_use"),
            (Err(KeepReason::CriGroup), "used", "cri_group"),
            (Err(KeepReason::Pinned), "pinned", "pinned"),
            (Err(KeepReason::Unreadable), "unreadable", "unreadable"),
            (Err(KeepReason::UsageUnknown), "unknown", "usage_unknown"),
            (Err(KeepReason::Unholdable), "kept", "unholdable"),
            (Err(KeepReason::DependentStays), "kept", "dependent_stays"),
        ] {
            let image = ListedImage {
                name: "app:1".to_owned(),
                target: Digest::Sha256([1; 32]),
                size: ImageSize::default(),
                layers: Vec::new(),
                created: None,
                last_used: None,
                pinned: None,
                verdict,
            };
            assert_eq!(image.verdict_word(), word);
            let form = serde_json::to_value(&image).unwrap();
            assert_eq!(form["verdict"], json!(word));
            assert_eq!(form["reason"], json!(reason));
            assert_eq!(serde_json::from_value::<ListedImage>(form).unwrap(), image);
        }
    }
}
