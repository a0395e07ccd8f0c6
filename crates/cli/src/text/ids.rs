//! IDs, digests and lists of holders: as much of them as people compare, or all.

use std::fmt::Write;

use reclaim_model::{Digest, Holder, LeftHolder, Namespace, RefuseReason, shortened};

use super::on_one_line;

/// How many holders of one thing are named.
const NAMED: usize = 3;

/// How much is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ids {
    /// The first 12 digits, and three holders.
    Short,
    /// Everything (`--no-trunc`).
    Whole,
}

impl Ids {
    /// Shows a text, on one line, with the IDs and digests in it.
    pub(crate) fn show(self, text: &str) -> String {
        let text = on_one_line(text);
        match self {
            Self::Short => shortened(&text),
            Self::Whole => text,
        }
    }

    /// Shows a digest in a column of its own.
    pub(super) fn digest(self, digest: &Digest) -> String {
        match self {
            Self::Short => shortened(&digest.hex()),
            Self::Whole => digest.to_string(),
        }
    }

    /// How many of a list are shown, of which `at_most` are enough.
    pub(super) fn shown(self, at_most: usize) -> usize {
        match self {
            Self::Short => at_most,
            Self::Whole => usize::MAX,
        }
    }

    /// Shows one holder.
    pub(super) fn holder(self, holder: &Holder) -> String {
        self.show(&holder.to_string())
    }

    /// Shows who holds something: three and a number.
    pub(super) fn holders<'h>(self, holders: impl IntoIterator<Item = &'h Holder>) -> String {
        self.listed(holders.into_iter().map(|holder| (holder, String::new())))
    }

    /// As [`Self::holders`], with the namespace of those that are not `here`.
    pub(super) fn holders_in(self, holders: &[LeftHolder], here: &Namespace) -> String {
        let holders = holders.iter().map(|LeftHolder { namespace, holder }| {
            let elsewhere = (namespace != here).then(|| format!(" in namespace `{namespace}`"));
            (holder, elsewhere.unwrap_or_default())
        });
        self.listed(holders)
    }

    /// Lists holders, each with what follows it. What they are is said where it changes.
    fn listed<'h>(self, holders: impl Iterator<Item = (&'h Holder, String)>) -> String {
        let mut shown: Vec<(&Holder, String)> = Vec::new();
        for (holder, after) in holders {
            // A container and its lease are one.
            let is_same = |(other, of_other): &(&Holder, String)| {
                other.what() == holder.what() && other.id == holder.id && *of_other == after
            };
            if !shown.iter().any(is_same) {
                shown.push((holder, after));
            }
        }
        let mut text = String::new();
        let mut what = "";
        for (holder, after) in shown.iter().take(self.shown(NAMED)) {
            text.push_str(if text.is_empty() { "" } else { ", " });
            if holder.what() != what {
                what = holder.what();
                text.push_str(what);
                text.push(' ');
            }
            text.push_str(&self.show(&holder.id));
            text.push_str(after);
        }
        if let Some(more) = shown.len().checked_sub(NAMED).filter(|it| *it > 0)
            && self == Self::Short
        {
            write!(text, " and {more} more").expect("writing to a string does not fail");
        }
        text
    }

    /// Says why a step was refused.
    pub(super) fn refusal(self, reason: &RefuseReason) -> String {
        match reason {
            RefuseReason::MustStay { reason, holders } if !holders.is_empty() => {
                format!("{} now, {}", reason.text(), self.holders(holders))
            }
            RefuseReason::MustStay { .. }
            | RefuseReason::TargetMoved
            | RefuseReason::AlreadyGone
            | RefuseReason::Cancelled
            | RefuseReason::OutOfTime => self.show(&reason.to_string()),
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
    fn three_holders_are_named_and_the_rest_counted() {
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
            assert_eq!(Ids::Short.holders(&containers(holders)), short);
        }
        let whole = Ids::Whole.holders(&containers("abcd"));
        let expected = ["a", "b", "c", "d"].map(|it| it.repeat(64)).join(", ");
        assert_eq!(whole, format!("container {expected}"));
    }

    #[test]
    fn a_container_and_its_lease_are_one_holder() {
        let lease = |role| Holder {
            role,
            ..Holder::new(HolderKind::Lease, id('a'))
        };
        let mut holders = containers("a");
        holders.push(lease(Some(HolderRole::Container)));
        assert_eq!(Ids::Short.holders(&holders), "container aaaaaaaaaaaa");
        holders.push(lease(Some(HolderRole::StoppedContainer)));
        holders.push(lease(None));
        assert_eq!(
            Ids::Short.holders(&holders),
            "container aaaaaaaaaaaa, stopped container aaaaaaaaaaaa, lease aaaaaaaaaaaa"
        );
    }

    #[test]
    fn a_holder_elsewhere_has_its_namespace() {
        let namespace = |name: &str| name.parse::<Namespace>().unwrap();
        let held = |name: &str, holder: Holder| LeftHolder {
            namespace: namespace(name),
            holder,
        };
        let [a, b]: [Holder; 2] = containers("ab").try_into().unwrap();
        let holders = [held("here", a.clone()), held("there", a), held("there", b)];
        assert_eq!(
            Ids::Short.holders_in(&holders, &namespace("here")),
            "container aaaaaaaaaaaa, aaaaaaaaaaaa in namespace `there`, bbbbbbbbbbbb in namespace \
             `there`"
        );
    }

    #[test]
    fn a_refusal_names_holders_as_all_else_does() {
        let reason = RefuseReason::MustStay {
            reason: KeepReason::InUse,
            holders: containers("abcd"),
        };
        let expected = "in use now, container aaaaaaaaaaaa, bbbbbbbbbbbb, cccccccccccc and 1 more";
        assert_eq!(Ids::Short.refusal(&reason), expected);
        let pinned = RefuseReason::MustStay {
            reason: KeepReason::Pinned,
            holders: Vec::new(),
        };
        assert_eq!(Ids::Short.refusal(&pinned), "pinned now");
    }
}
