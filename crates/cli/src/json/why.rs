//! The JSON form of `reclaim why`.

use jiff::Timestamp;
use reclaim_model::{Holder, KeepReason, Namespace, RemoveReason};
use reclaim_plan::{Answer, Fate, Held, ImageVerdict, Thing};
use serde::Serialize;

use super::{VERSION, render};

#[derive(Serialize)]
struct AnswersJson<'a> {
    version: u32,
    answers: Vec<AnswerJson<'a>>,
}

#[derive(Serialize)]
struct AnswerJson<'a> {
    namespace: &'a Namespace,
    thing: &'a Thing,
    holders: Vec<HeldJson<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verdicts: Option<VerdictsJson<'a>>,
    fate: FateJson<'a>,
    warnings: &'a [String],
}

#[derive(Serialize)]
struct HeldJson<'a> {
    namespace: &'a Namespace,
    holder: &'a Holder,
    until: Option<Timestamp>,
    chain: &'a [Thing],
    #[serde(skip_serializing_if = "Option::is_none")]
    prune_all: Option<VerdictJson<'a>>,
}

#[derive(Serialize)]
struct VerdictsJson<'a> {
    prune: VerdictJson<'a>,
    prune_all: VerdictJson<'a>,
}

#[derive(Serialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
enum VerdictJson<'a> {
    Remove {
        reason: RemoveReason,
    },
    Keep {
        reason: KeepReason,
        holders: &'a [Holder],
    },
}

#[derive(Serialize)]
#[serde(tag = "fate", rename_all = "snake_case")]
enum FateJson<'a> {
    Held,
    Unused,
    Expires { at: Timestamp, holder: &'a Holder },
    NextCollection,
}

/// Renders answers as one object and a newline.
pub(crate) fn answers(answers: &[Answer]) -> String {
    render(&AnswersJson {
        version: VERSION,
        answers: answers.iter().map(answer).collect(),
    })
}

fn answer(answer: &Answer) -> AnswerJson<'_> {
    let verdicts = answer.verdicts.as_ref();
    AnswerJson {
        namespace: &answer.namespace,
        thing: &answer.thing,
        holders: answer.held.iter().map(held).collect(),
        verdicts: verdicts.map(|[plain, all]| VerdictsJson {
            prune: verdict(plain),
            prune_all: verdict(all),
        }),
        fate: match &answer.fate {
            Fate::Held => FateJson::Held,
            Fate::Unused => FateJson::Unused,
            Fate::Expires(at, holder) => FateJson::Expires { at: *at, holder },
            Fate::NextCollection => FateJson::NextCollection,
        },
        warnings: &answer.warnings,
    }
}

fn held(held: &Held) -> HeldJson<'_> {
    HeldJson {
        namespace: &held.namespace,
        holder: &held.holder,
        until: held.until,
        chain: &held.chain,
        prune_all: held.verdict.as_ref().map(verdict),
    }
}

fn verdict(verdict: &ImageVerdict) -> VerdictJson<'_> {
    match verdict {
        Ok(reason) => VerdictJson::Remove { reason: *reason },
        Err((reason, holders)) => VerdictJson::Keep {
            reason: *reason,
            holders,
        },
    }
}
