//! Conditional references: `containerd.io/gc.cond.*`, from containerd 2.3 on.
//!
//! The holder's label names a snapshot and the condition; the snapshot's own label says when it
//! was used: `gc.cond.snapshot.overlayfs: usedat<72h|key` keeps `key` as long as its
//! `gc.cond.value-usedat` is less than 72 hours ago.
//!
//! Source: containerd `core/metadata/gc.go` at v2.3.4, `startGCContext` and `scanRoots`.

use jiff::{SignedDuration, Timestamp};

use crate::gc_labels::parse_expiry;
use crate::{SnapshotId, parse_go_duration};

/// The conditional labels of one object; few objects have any.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConditionalLabels {
    /// `gc.cond.snapshot*`: what this object keeps on a condition. Counts for images and content.
    pub refs: Vec<ConditionalRef>,
    /// `gc.cond.value-usedat*`: when this object was used. Counts for snapshots.
    pub used_at: Vec<Timestamp>,
}

/// A reference to a snapshot that holds while one of its times of use meets the condition.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConditionalRef {
    /// What it refers to.
    pub snapshot: SnapshotId,
    /// The condition.
    pub condition: UsedAt,
}

/// How long ago a snapshot must have been used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum UsedAt {
    /// Less than this long ago.
    Within(SignedDuration),
    /// More than this long ago.
    LongerAgoThan(SignedDuration),
}

impl UsedAt {
    /// Whether a use at that moment meets the condition at `now`.
    pub fn is_met(self, used_at: Timestamp, now: Timestamp) -> bool {
        let age = now.duration_since(used_at);
        match self {
            Self::Within(limit) => age < limit,
            Self::LongerAgoThan(limit) => age > limit,
        }
    }
}

impl ConditionalLabels {
    /// Adds the label `gc.cond.<rest>`, if containerd understands it.
    pub(crate) fn add(&mut self, rest: &str, value: &str) {
        if let Some(named) = rest.strip_prefix("snapshot") {
            self.refs.extend(references(named, value));
        } else if rest.starts_with("value-usedat") {
            self.used_at.extend(parse_expiry(value));
        }
    }

    /// Sorts: a label map has no order.
    pub(crate) fn sort(&mut self) {
        self.refs.sort_unstable();
        self.used_at.sort_unstable();
    }

    /// Whether the object has no conditional labels.
    pub(crate) fn is_empty(&self) -> bool {
        self.refs.is_empty() && self.used_at.is_empty()
    }
}

/// Reads `<condition>,<condition>…|<key>`; each condition that is understood becomes a reference,
/// and others are ignored.
fn references(named: &str, value: &str) -> Vec<ConditionalRef> {
    let named = named.trim_start_matches(['.', '/']);
    let snapshotter = named.split('/').next().unwrap_or(named);
    let Some((conditions, key)) = value.split_once('|') else {
        return Vec::new();
    };
    let conditions = conditions.split(',').filter_map(condition);
    let references = conditions.map(|condition| ConditionalRef {
        snapshot: SnapshotId::new(snapshotter, key),
        condition,
    });
    references.collect()
}

/// Reads `usedat<72h` or `usedat>72h`. `<=` and `=` are operators too, but not for times.
fn condition(text: &str) -> Option<UsedAt> {
    let comparison = text.strip_prefix("usedat")?;
    if let Some(limit) = comparison.strip_prefix('<') {
        parse_go_duration(limit).ok().map(UsedAt::Within)
    } else {
        let limit = comparison.strip_prefix('>')?;
        parse_go_duration(limit).ok().map(UsedAt::LongerAgoThan)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(rest: &str, value: &str) -> ConditionalLabels {
        let mut labels = ConditionalLabels::default();
        labels.add(rest, value);
        labels
    }

    #[test]
    fn reads_every_spelling_that_containerd_follows() {
        let expected = ConditionalRef {
            snapshot: SnapshotId::new("overlayfs", "a|b/c"),
            condition: UsedAt::Within(SignedDuration::from_hours(72)),
        };
        for rest in [
            "snapshot.overlayfs",
            "snapshot/overlayfs/x",
            "snapshotoverlayfs",
        ] {
            for value in ["usedat<72h|a|b/c", "other>1,usedat<72h,usedat|a|b/c"] {
                let found = parsed(rest, value).refs;
                assert_eq!(found, std::slice::from_ref(&expected), "{rest} {value}");
            }
        }
        for rest in ["value-usedat", "value-usedat.x", "value-usedats"] {
            assert_eq!(parsed(rest, "2026-01-02T03:04:05Z").used_at.len(), 1);
        }
    }

    #[test]
    fn ignores_what_containerd_ignores() {
        for value in [
            "usedat<72h",
            "usedat<=72h|key",
            "usedat=72h|key",
            "usedat!=72h|key",
            "usedat<3d|key",
            " usedat<72h|key",
            "usedat|key",
            "|key",
            "",
        ] {
            assert_eq!(
                parsed("snapshot.native", value),
                ConditionalLabels::default()
            );
        }
        assert_eq!(parsed("value", "2026-01-02T03:04:05Z").used_at, []);
        assert_eq!(parsed("value-usedat", "yesterday").used_at, []);
    }

    #[test]
    fn neither_condition_is_met_at_the_very_limit() {
        let hour = SignedDuration::from_hours(1);
        let now: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        let met = |condition: UsedAt, age| condition.is_met(now - age, now);
        let second = SignedDuration::from_secs(1);
        assert!(met(UsedAt::Within(hour), hour - second));
        assert!(!met(UsedAt::Within(hour), hour));
        assert!(!met(UsedAt::LongerAgoThan(hour), hour));
        assert!(met(UsedAt::LongerAgoThan(hour), hour + second));
    }

    #[test]
    fn one_of_either_kind_is_not_nothing() {
        assert!(ConditionalLabels::default().is_empty());
        assert!(!parsed("snapshot.native", "usedat<72h|key").is_empty());
        assert!(!parsed("value-usedat", "2026-01-02T03:04:05Z").is_empty());
    }

    #[test]
    fn the_order_of_labels_does_not_matter() {
        let sorted = |labels: &[(&str, &str)]| {
            let mut found = ConditionalLabels::default();
            for (rest, value) in labels {
                found.add(rest, value);
            }
            found.sort();
            found
        };
        let mut labels = [
            ("snapshot.native", "usedat<72h|a"),
            ("snapshot.native/x", "usedat<72h|b"),
            ("value-usedat", "2026-01-02T03:04:05Z"),
            ("value-usedat.x", "2025-01-02T03:04:05Z"),
        ];
        let expected = sorted(&labels);
        labels.reverse();
        assert_eq!(sorted(&labels), expected);
    }
}
