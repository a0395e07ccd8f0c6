//! The events of a random history.

use proptest::prelude::*;

const NAMES: u8 = 5;
const TARGETS: u8 = 4;
const CONTAINERS: u8 = 3;

/// An event of a random history.
#[derive(Debug, Clone)]
pub(super) enum Act {
    Pull {
        name: u8,
        target: u8,
    },
    RemoveByOthers {
        name: u8,
    },
    Create {
        container: u8,
        name: u8,
    },
    Work {
        container: u8,
    },
    Delete {
        container: u8,
    },
    /// A run removes those of these names that are present and unused.
    Run {
        names: Vec<u8>,
    },
    /// An undo restores the oldest removed name; `kept` if the server keeps the creation time.
    Undo {
        kept: bool,
    },
    Scan,
    /// The process is killed after a save and started again.
    Restart,
    Disconnect,
    Connect,
    Wait {
        minutes: u32,
    },
    Jump {
        days: i16,
    },
}

/// Generates an event. Clocks jump only if `jumps`.
pub(super) fn act(jumps: bool) -> impl Strategy<Value = Act> {
    let jump = if jumps { -400..400_i16 } else { 0..1 };
    prop_oneof![
        6 => (0..NAMES, 0..TARGETS).prop_map(|(name, target)| Act::Pull { name, target }),
        2 => (0..NAMES).prop_map(|name| Act::RemoveByOthers { name }),
        4 => (0..CONTAINERS, 0..NAMES)
            .prop_map(|(container, name)| Act::Create { container, name }),
        2 => (0..CONTAINERS).prop_map(|container| Act::Work { container }),
        3 => (0..CONTAINERS).prop_map(|container| Act::Delete { container }),
        4 => prop::collection::vec(0..NAMES, 1..4).prop_map(|names| Act::Run { names }),
        1 => any::<bool>().prop_map(|kept| Act::Undo { kept }),
        3 => Just(Act::Scan),
        1 => Just(Act::Restart),
        1 => Just(Act::Disconnect),
        2 => Just(Act::Connect),
        3 => (0..3_000_u32).prop_map(|minutes| Act::Wait { minutes }),
        1 => jump.prop_map(|days| Act::Jump { days }),
    ]
}
