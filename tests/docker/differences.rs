//! The lines that one side prints and the other does not: each is listed, with the reason.

use std::collections::BTreeSet;

use crate::command::Said;

/// On which side lines are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Docker,
    Ours,
    /// On both, with another value.
    Both,
}

/// Lines that begin alike and are not the same on both sides.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Difference {
    pub(crate) side: Side,
    /// How they begin, each run of blanks being one.
    pub(crate) begins: &'static str,
    pub(crate) why: &'static str,
    /// Whether every machine has them. What all have must be there, or it is taken off the list.
    pub(crate) everywhere: bool,
}

pub(crate) const fn docker(begins: &'static str, why: &'static str) -> Difference {
    of(Side::Docker, begins, why)
}

pub(crate) const fn ours(begins: &'static str, why: &'static str) -> Difference {
    of(Side::Ours, begins, why)
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

/// A difference that some machines have.
pub(crate) const fn somewhere(difference: Difference) -> Difference {
    Difference {
        everywhere: false,
        ..difference
    }
}

/// Demands that the lines of both are the same, in any order, but for those on the list; and that
/// the list has no others.
pub(crate) fn agree(case: &str, theirs: &[String], mine: &[String], list: &[Difference]) {
    let only = |these: &[String], those: &[String]| -> Vec<String> {
        let mut others = those.to_vec();
        let rest = these.iter().filter(|line| {
            let found = others.iter().position(|other| other == *line);
            found.is_none_or(|at| {
                others.swap_remove(at);
                false
            })
        });
        rest.cloned().collect()
    };
    let sides = [
        (Side::Docker, only(theirs, mine)),
        (Side::Ours, only(mine, theirs)),
    ];
    let mut seen = BTreeSet::new();
    for (side, lines) in &sides {
        for line in lines {
            let listed = list.iter().position(|difference| {
                (difference.side == *side || difference.side == Side::Both)
                    && line.starts_with(difference.begins)
            });
            let listed = listed.unwrap_or_else(|| {
                panic!("{case}: not listed, on the side {side:?}: {line:?}\n{sides:#?}")
            });
            seen.insert((listed, *side == Side::Docker));
        }
    }
    for (at, difference) in list.iter().enumerate() {
        assert!(!difference.why.is_empty(), "{case}: {difference:?}");
        let is_there = match difference.side {
            Side::Docker => seen.contains(&(at, true)),
            Side::Ours => seen.contains(&(at, false)),
            Side::Both => seen.contains(&(at, true)) && seen.contains(&(at, false)),
        };
        assert!(
            is_there || !difference.everywhere,
            "{case}: no such difference: {difference:?}\n{sides:#?}"
        );
    }
}

/// What was printed, to both outputs, line by line, with each run of blanks as one.
pub(crate) fn lines(said: &Said) -> Vec<String> {
    let lines = said.stdout.lines().chain(said.stderr.lines());
    let lines = lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    lines.filter(|line| !line.is_empty()).collect()
}
