//! What came of pins, in words.

use reclaim_model::{PinAction, PinOutcome, familiar_name};

use super::add_line;

/// Renders the records that were changed, as docker renders removals.
pub(crate) fn changes(action: PinAction, outcomes: &[PinOutcome]) -> String {
    let done = match action {
        PinAction::Pin => "Pinned",
        PinAction::Unpin | PinAction::UnpinAny => "Unpinned",
    };
    let mut text = String::new();
    for name in outcomes.iter().flat_map(|outcome| &outcome.changed) {
        add_line(&mut text, format_args!("{done}: {}", familiar_name(name)));
    }
    text
}

/// Says that there was nothing to do for a name.
pub(crate) fn unchanged(action: PinAction, name: &str) -> String {
    match action {
        PinAction::Pin => format!("{name} was pinned before"),
        PinAction::Unpin | PinAction::UnpinAny => format!("{name} was not pinned"),
    }
}
