//! Expected differences between the lines that the two sides print, each with its reason.

use std::collections::BTreeSet;

use crate::command::Output;

/// The side that prints a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Docker,
    Reclaim,
    /// Both, with different values.
    Both,
}

/// Lines with a common beginning that are not the same on both sides.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Difference {
    pub(crate) side: Side,
    /// The beginning of the lines, with each run of blanks as one.
    pub(crate) begins: &'static str,
    pub(crate) why: &'static str,
    /// Whether they differ on every machine: then it is an error if they do not.
    pub(crate) everywhere: bool,
}

pub(crate) const fn docker(begins: &'static str, why: &'static str) -> Difference {
    of(Side::Docker, begins, why)
}

pub(crate) const fn ours(begins: &'static str, why: &'static str) -> Difference {
    of(Side::Reclaim, begins, why)
}

pub(crate) const fn both(begins: &'static str, why: &'static str) -> Difference {
    of(Side::Both, begins, why)
}

const fn of(side: Side, begins: &'static str, why: &'static str) -> Difference {
    Difference {
        side,
        begins,
        why,
        everywhere: true,
    }
}

/// Marks a difference that only some machines have.
pub(crate) const fn somewhere(difference: Difference) -> Difference {
    Difference {
        everywhere: false,
        ..difference
    }
}

/// Asserts that both sides have the same lines in any order, except those of the expected
/// differences, and that all expected differences exist.
pub(crate) fn agree(case: &str, theirs: &[String], mine: &[String], list: &[Difference]) {
    let only = |these: &[String], those: &[String]| -> Vec<String> {
        let mut others = those.to_vec();
        let mut rest = these.to_vec();
        rest.retain(|line| match others.iter().position(|other| other == line) {
            Some(at) => {
                others.swap_remove(at);
                false
            }
            None => true,
        });
        rest
    };
    let sides = [
        (Side::Docker, only(theirs, mine)),
        (Side::Reclaim, only(mine, theirs)),
    ];
    let mut seen = BTreeSet::new();
    for (side, lines) in &sides {
        for line in lines {
            let is_expected = |difference: &Difference| {
                (difference.side == *side || difference.side == Side::Both)
                    && line.starts_with(difference.begins)
            };
            let at = list.iter().position(is_expected).unwrap_or_else(|| {
                panic!("{case}: unexpected, only on the side {side:?}: {line:?}\n{sides:#?}")
            });
            seen.insert((at, *side == Side::Docker));
        }
    }
    for (at, difference) in list.iter().enumerate() {
        assert!(!difference.why.is_empty(), "{case}: {difference:?}");
        let is_there = match difference.side {
            Side::Docker => seen.contains(&(at, true)),
            Side::Reclaim => seen.contains(&(at, false)),
            Side::Both => seen.contains(&(at, true)) && seen.contains(&(at, false)),
        };
        assert!(
            is_there || !difference.everywhere,
            "{case}: no such difference: {difference:?}\n{sides:#?}"
        );
    }
}

/// Returns the lines of both outputs, with each run of blanks as one.
pub(crate) fn lines(output: &Output) -> Vec<String> {
    output
        .stdout
        .lines()
        .chain(output.stderr.lines())
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .filter(|line| !line.is_empty())
        .collect()
}
