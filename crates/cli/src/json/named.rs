//! What came of each name, where images were named.

use reclaim_model::{Digest, Named, NotRemoved, Row};
use serde::Serialize;

#[derive(Serialize)]
pub(super) struct NamedJson<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    services: &'a [String],
    untagged: Vec<&'a str>,
    deleted: Vec<&'a Digest>,
    problem: Option<&'static str>,
    message: Option<String>,
}

pub(super) fn of(named: &Named) -> NamedJson<'_> {
    let Named {
        name,
        services,
        outcome,
    } = named;
    let rows = outcome.as_ref().map_or(&[][..], |removal| &removal.rows);
    let error = outcome.as_ref().err();
    NamedJson {
        name,
        services,
        untagged: rows
            .iter()
            .filter_map(|row| match row {
                Row::Untagged(name) => Some(name.as_str()),
                Row::Deleted(_) => None,
            })
            .collect(),
        deleted: rows
            .iter()
            .filter_map(|row| match row {
                Row::Deleted(digest) => Some(digest),
                Row::Untagged(_) => None,
            })
            .collect(),
        problem: error.map(problem),
        message: error.map(ToString::to_string),
    }
}

fn problem(error: &NotRemoved) -> &'static str {
    match error {
        NotRemoved::Blank | NotRemoved::Reference(_) => "bad_name",
        NotRemoved::NoSuchImage(_) => "no_such_image",
        NotRemoved::Ambiguous => "ambiguous",
        NotRemoved::Conflict(_) => "conflict",
        NotRemoved::Changed => "changed",
        NotRemoved::Cancelled => "cancelled",
        NotRemoved::Failed(_) => "failed",
    }
}
