//! IDs, digests and lists of holders, shortened or in full.

use std::fmt::Write;

use reclaim_model::{Digest, Holder, LeftHolder, Namespace, RefuseReason, shortened};

/// How many holders of one thing are listed.
const MAX_HOLDERS: usize = 3;

/// Whether IDs and lists are shortened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Truncation {
    /// The first 12 digits of an ID, and three holders.
    On,
    /// Everything (`--no-trunc`).
    Off,
}

impl Truncation {
    /// Renders a text with the IDs and digests in it shortened.
    pub(crate) fn text(self, text: &str) -> String {
        match self {
            Self::On => shortened(text),
            Self::Off => text.to_owned(),
        }
    }

    /// Renders a digest for a column of digests.
    pub(super) fn digest(self, digest: &Digest) -> String {
        match self {
            Self::On => shortened(&digest.hex()),
            Self::Off => digest.to_string(),
        }
    }

    /// Returns how many entries of a list to show: `at_most`, or all.
    pub(super) fn limit(self, at_most: usize) -> usize {
        match self {
            Self::On => at_most,
            Self::Off => usize::MAX,
        }
    }

    /// Renders one holder.
    pub(super) fn holder(self, holder: &Holder) -> String {
        self.text(&holder.to_string())
    }

    /// Renders holders: three, and how many more there are.
    pub(super) fn holders<'h>(self, holders: impl IntoIterator<Item = &'h Holder>) -> String {
        self.list(holders.into_iter().map(|holder| (holder, String::new())))
    }

    /// Renders holders like [`Self::holders`], with the namespace of those that are not in `here`.
    pub(super) fn holders_in(self, holders: &[LeftHolder], here: &Namespace) -> String {
        let holders = holders.iter().map(|LeftHolder { namespace, holder }| {
            let elsewhere = (namespace != here).then(|| format!(" in namespace `{namespace}`"));
            (holder, elsewhere.unwrap_or_default())
        });
        self.list(holders)
    }

    /// Renders holders, each with a suffix. Successive holders of one kind share its name.
    fn list<'h>(self, holders: impl Iterator<Item = (&'h Holder, String)>) -> String {
        let mut shown: Vec<(&Holder, String)> = Vec::new();
        for (holder, suffix) in holders {
            // A container and its lease count once.
            let is_same = |(other, other_suffix): &(&Holder, String)| {
                other.what() == holder.what() && other.id == holder.id && *other_suffix == suffix
            };
            if !shown.iter().any(is_same) {
                shown.push((holder, suffix));
            }
        }
        let mut text = String::new();
        let mut what = "";
        for (holder, suffix) in shown.iter().take(self.limit(MAX_HOLDERS)) {
            text.push_str(if text.is_empty() { "" } else { ", " });
            if holder.what() != what {
                what = holder.what();
                text.push_str(what);
                text.push(' ');
            }
            text.push_str(&self.text(&holder.id));
            text.push_str(suffix);
        }
        let more = shown.len().saturating_sub(self.limit(MAX_HOLDERS));
        if more > 0 {
            write!(text, " and {more} more").expect("writing to a string does not fail");
        }
        text
    }

    /// Renders the reason why a step was refused.
    pub(super) fn refusal(self, reason: &RefuseReason) -> String {
        match reason {
            RefuseReason::MustStay { reason, holders } if !holders.is_empty() => {
                format!("{} now, {}", reason.text(), self.holders(holders))
            }
            RefuseReason::MustStay { .. }
            | RefuseReason::TargetMoved
            | RefuseReason::AlreadyGone
            | RefuseReason::PartsStay
            | RefuseReason::Cancelled
            | RefuseReason::OutOfTime => self.text(&reason.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use reclaim_model::{HolderKind, HolderRole, KeepReason};

    use super::*;

    fn id(digit: char) -> String {
        digit.to_string().repeat(64)
    }

    fn containers(ids: &str) -> Vec<Holder> {
        let ids = ids.chars().map(id);
        ids.map(|id| Holder::new(HolderKind::Container, id))
            .collect()
    }

    #[test]
    fn lists_three_holders_and_counts_the_rest() {
        for (holders, short) in [
            ("", ""),
            ("a", "container aaaaaaaaaaaa"),
            ("abc", "container aaaaaaaaaaaa, bbbbbbbbbbbb, cccccccccccc"),
            (
                "abcd",
                "container aaaaaaaaaaaa, bbbbbbbbbbbb, cccccccccccc and 1 more",
            ),
            (
                "abcdef",
                "container aaaaaaaaaaaa, bbbbbbbbbbbb, cccccccccccc and 3 more",
            ),
        ] {
            assert_eq!(Truncation::On.holders(&containers(holders)), short);
        }
        let whole = Truncation::Off.holders(&containers("abcd"));
        let expected = ["a", "b", "c", "d"].map(|it| it.repeat(64)).join(", ");
        assert_eq!(whole, format!("container {expected}"));
    }

    #[test]
    fn lists_a_container_and_its_lease_once() {
        let lease = |role| Holder {
            role,
            ..Holder::new(HolderKind::Lease, id('a'))
        };
        let mut holders = containers("a");
        holders.push(lease(Some(HolderRole::Container)));
        assert_eq!(Truncation::On.holders(&holders), "container aaaaaaaaaaaa");
        holders.push(lease(Some(HolderRole::StoppedContainer)));
        holders.push(lease(None));
        assert_eq!(
            Truncation::On.holders(&holders),
            "container aaaaaaaaaaaa, stopped container aaaaaaaaaaaa, lease aaaaaaaaaaaa"
        );
    }

    #[test]
    fn names_the_namespace_of_holders_elsewhere() {
        let namespace = |name: &str| name.parse::<Namespace>().unwrap();
        let held = |name: &str, holder: Holder| LeftHolder {
            namespace: namespace(name),
            holder,
        };
        let [a, b]: [Holder; 2] = containers("ab").try_into().unwrap();
        let holders = [held("here", a.clone()), held("there", a), held("there", b)];
        assert_eq!(
            Truncation::On.holders_in(&holders, &namespace("here")),
            "container aaaaaaaaaaaa, aaaaaaaaaaaa in namespace `there`, bbbbbbbbbbbb in namespace \
             `there`"
        );
    }

    #[test]
    fn lists_the_holders_of_a_refusal() {
        let reason = RefuseReason::MustStay {
            reason: KeepReason::InUse,
            holders: containers("abcd"),
        };
        let expected = "in use now, container aaaaaaaaaaaa, bbbbbbbbbbbb, cccccccccccc and 1 more";
        assert_eq!(Truncation::On.refusal(&reason), expected);
        let pinned = RefuseReason::MustStay {
            reason: KeepReason::Pinned,
            holders: Vec::new(),
        };
        assert_eq!(Truncation::On.refusal(&pinned), "pinned now");
    }
}
