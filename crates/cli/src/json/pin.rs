//! What came of pins.

use reclaim_model::{Digest, Namespace, NotPinned, NotRemoved, PinAction, PinOutcome, PinRequest};
use serde::Serialize;

#[derive(Serialize)]
pub(super) struct PinsJson<'a> {
    version: u32,
    namespace: &'a Namespace,
    action: &'static str,
    images: Vec<PinJson<'a>>,
}

#[derive(Serialize)]
struct PinJson<'a> {
    name: &'a str,
    target: Option<&'a Digest>,
    changed: &'a [String],
    unchanged: &'a [String],
    problem: Option<&'static str>,
    message: Option<String>,
}

pub(super) fn of<'a>(request: &'a PinRequest, outcomes: &'a [PinOutcome]) -> PinsJson<'a> {
    PinsJson {
        version: super::VERSION,
        namespace: &request.namespace,
        action: match request.action {
            PinAction::Pin => "pin",
            PinAction::Unpin | PinAction::UnpinAny => "unpin",
        },
        images: outcomes.iter().map(image).collect(),
    }
}

fn image(outcome: &PinOutcome) -> PinJson<'_> {
    let PinOutcome { name, outcome } = outcome;
    let change = outcome.as_ref().ok();
    let error = outcome.as_ref().err();
    PinJson {
        name,
        target: change.map(|it| &it.target),
        changed: change.map_or(&[][..], |it| &it.changed),
        unchanged: change.map_or(&[][..], |it| &it.unchanged),
        problem: error.map(problem),
        message: error.map(ToString::to_string),
    }
}

fn problem(error: &NotPinned) -> &'static str {
    match error {
        NotPinned::NotFound(NotRemoved::Blank | NotRemoved::Reference(_)) => "bad_name",
        NotPinned::NotFound(NotRemoved::Ambiguous) => "ambiguous",
        NotPinned::NotFound(NotRemoved::NoSuchImage(_)) => "no_such_image",
        NotPinned::Others(_) => "not_ours",
        NotPinned::Changed(_) => "changed",
        // The others do not come of looking a name up.
        NotPinned::NotFound(
            NotRemoved::Conflict(_)
            | NotRemoved::Changed
            | NotRemoved::Cancelled
            | NotRemoved::Failed(_),
        )
        | NotPinned::Failed(_) => "failed",
    }
}
