//! Holders: what needs a thing, and how it is shown.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How many characters of an ID people compare, as docker shows it.
const SHORT_ID: usize = 12;

/// How many hexadecimal digits a whole ID has, or a digest: SHA-256, SHA-384 and SHA-512.
const WHOLE_IDS: [usize; 3] = [64, 96, 128];

/// A container, lease or other object that needs an image or a part of one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Holder {
    /// What it is.
    pub kind: HolderKind,
    /// Its ID, key or name.
    pub id: String,
    /// Its role, if there is evidence for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<HolderRole>,
}

/// What a [`Holder`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HolderKind {
    /// A container, by ID.
    Container,
    /// A lease, by ID.
    Lease,
    /// A snapshot that is a root by its own label, as `snapshotter/key`.
    Snapshot,
    /// A blob that is a root by its own label, by digest.
    Content,
    /// A sandbox record.
    Sandbox,
    /// Another image record, by name.
    Image,
    /// A rule of the configuration, by its key.
    Rule,
    /// A label of the record itself, by its key.
    Label,
    /// A snapshotter whose snapshots cannot be listed, by name.
    Snapshotter,
}

/// The role of a [`Holder`], most of all of a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HolderRole {
    /// A container with a record of its own.
    Container,
    /// A container that does not run.
    StoppedContainer,
    /// A pull or import that is writing content.
    Pull,
    /// A pull or import that is not writing: between two steps, or dead.
    UnfinishedPull,
    /// A record of a build cache.
    BuildCache,
    /// A view of an image that nerdctl made for a container that does not exist.
    LeakedImageMount,
}

impl Holder {
    /// Creates a holder without a role.
    pub fn new(kind: HolderKind, id: impl Into<String>) -> Self {
        Self {
            kind,
            id: id.into(),
            role: None,
        }
    }

    /// Returns what it is, as people read it.
    pub fn what(&self) -> &'static str {
        match (self.role, self.kind) {
            (Some(role), _) => role.text(),
            (None, HolderKind::Container) => "container",
            (None, HolderKind::Lease) => "lease",
            (None, HolderKind::Snapshot) => "snapshot",
            (None, HolderKind::Content) => "content",
            (None, HolderKind::Sandbox) => "sandbox",
            (None, HolderKind::Image) => "image",
            (None, HolderKind::Rule) => "rule",
            (None, HolderKind::Label) => "label",
            (None, HolderKind::Snapshotter) => "snapshotter",
        }
    }
}

impl HolderRole {
    /// Returns the role as people read it.
    pub fn text(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::StoppedContainer => "stopped container",
            Self::Pull => "pull in progress",
            Self::UnfinishedPull => "unfinished pull",
            Self::BuildCache => "build cache",
            Self::LeakedImageMount => "leaked image mount",
        }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.what(), self.id)
    }
}

/// Shortens every ID and digest in a text to the characters that people compare.
///
/// Only a word with the number of hexadecimal digits of a whole ID is shortened.
pub fn shortened(text: &str) -> String {
    let mut shortened = String::with_capacity(text.len());
    let is_end = |it: char| !it.is_ascii_alphanumeric();
    for part in text.split_inclusive(is_end) {
        let word = part.trim_end_matches(is_end);
        let is_digit = |it: u8| matches!(it, b'0'..=b'9' | b'a'..=b'f');
        if WHOLE_IDS.contains(&word.len()) && word.bytes().all(is_digit) {
            shortened.push_str(&word[..SHORT_ID]);
            shortened.push_str(&part[word.len()..]);
        } else {
            shortened.push_str(part);
        }
    }
    shortened
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_holder_says_what_it_is() {
        for (kind, words) in [
            (HolderKind::Container, "container x"),
            (HolderKind::Lease, "lease x"),
            (HolderKind::Snapshot, "snapshot x"),
            (HolderKind::Content, "content x"),
            (HolderKind::Sandbox, "sandbox x"),
            (HolderKind::Image, "image x"),
            (HolderKind::Rule, "rule x"),
            (HolderKind::Label, "label x"),
        ] {
            assert_eq!(Holder::new(kind, "x").to_string(), words);
        }
        for (role, words) in [
            (HolderRole::Container, "container x"),
            (HolderRole::StoppedContainer, "stopped container x"),
            (HolderRole::Pull, "pull in progress x"),
            (HolderRole::UnfinishedPull, "unfinished pull x"),
            (HolderRole::BuildCache, "build cache x"),
            (HolderRole::LeakedImageMount, "leaked image mount x"),
        ] {
            let holder = Holder {
                role: Some(role),
                ..Holder::new(HolderKind::Lease, "x")
            };
            assert_eq!(holder.to_string(), words);
        }
    }

    #[test]
    fn only_whole_ids_are_cut_short() {
        let id = "0123456789abcdef".repeat(4);
        for (text, expected) in [
            (format!("lease {id}"), "lease 0123456789ab".to_owned()),
            (
                format!("overlayfs/{id}-init"),
                "overlayfs/0123456789ab-init".to_owned(),
            ),
            (
                format!("`sha256:{id}`, sha256:{id}: é"),
                "`sha256:0123456789ab`, sha256:0123456789ab: é".to_owned(),
            ),
            (id.repeat(2), "0123456789ab".to_owned()),
            (format!("{id}0"), format!("{id}0")),
            (id[1..].to_owned(), id[1..].to_owned()),
            (id.to_uppercase(), id.to_uppercase()),
            (String::new(), String::new()),
        ] {
            assert_eq!(shortened(&text), expected);
        }
    }
}
