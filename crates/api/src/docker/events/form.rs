//! How events are written.
//!
//! Up to 1.51 each has three more keys, which say what others say. The type of the stream is what
//! the client asks for by name, if it does.
//!
//! Source: moby, `daemon/server/router/system/system_routes.go`.

use bytes::Bytes;
use http::HeaderMap;
use http::header::ACCEPT;
use serde::Serialize;

use super::Event;
use crate::docker::version::ApiVersion;

const LINES: &str = "application/jsonl";
const SEQUENCE: &str = "application/json-seq";

/// The types that can be asked for; of those that are wanted as much, the first.
const TYPES: [&str; 3] = [LINES, "application/x-ndjson", SEQUENCE];

/// Begins each event of a [`SEQUENCE`], by RFC 7464.
const RECORD_SEPARATOR: u8 = 0x1e;

/// From here on events are without the keys that say what others say.
const TERSE: &str = "1.52";

/// How one client has its events written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Form {
    is_terse: bool,
    /// The type of the stream.
    pub(super) content_type: &'static str,
}

/// An event as up to 1.51.
#[derive(Serialize)]
struct Doubled<'a> {
    status: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    id: &'a str,
    #[serde(flatten)]
    event: &'a Event,
}

impl Form {
    pub(super) fn of(version: &ApiVersion, headers: &HeaderMap) -> Self {
        let is_terse = version.is_at_least(TERSE);
        let otherwise = if is_terse { LINES } else { "application/json" };
        Self {
            is_terse,
            content_type: asked_type(headers).unwrap_or(otherwise),
        }
    }

    /// Writes an event and ends the line.
    pub(super) fn write(self, event: &Event) -> Option<Bytes> {
        let mut line = if self.content_type == SEQUENCE {
            vec![RECORD_SEPARATOR]
        } else {
            Vec::new()
        };
        let written = if self.is_terse {
            serde_json::to_writer(&mut line, event)
        } else {
            let doubled = Doubled {
                status: event.action,
                id: &event.actor.id,
                event,
            };
            serde_json::to_writer(&mut line, &doubled)
        };
        written.ok()?;
        line.push(b'\n');
        Some(line.into())
    }
}

/// The type that is named by the client, and wanted most. Wildcards name nothing.
fn asked_type(headers: &HeaderMap) -> Option<&'static str> {
    let texts = headers.get_all(ACCEPT).iter();
    let texts = texts.filter_map(|it| it.to_str().ok());
    let wanted: Vec<(&str, f64)> = texts.flat_map(|it| it.split(',')).map(weighed).collect();
    let mut best: Option<(&'static str, f64)> = None;
    for offer in TYPES {
        for (name, weight) in &wanted {
            if *name == offer && *weight > best.map_or(0.0, |(_, weight)| weight) {
                best = Some((offer, *weight));
            }
        }
    }
    best.map(|(offer, _)| offer)
}

/// Reads `type;q=0.5`. A weight that is none counts for nothing.
fn weighed(range: &str) -> (&str, f64) {
    let mut parts = range.split(';').map(str::trim);
    let name = parts.next().unwrap_or_default();
    let weight = parts.find_map(|it| it.strip_prefix("q="));
    (name, weight.map_or(1.0, |it| it.parse().unwrap_or(0.0)))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn content_type(version: &str, accept: &[&'static str]) -> &'static str {
        let mut headers = HeaderMap::new();
        for accept in accept {
            headers.append(ACCEPT, HeaderValue::from_static(accept));
        }
        Form::of(&ApiVersion::parse(version), &headers).content_type
    }

    #[test]
    fn answers_in_the_type_that_is_wanted_most() {
        assert_eq!(content_type("1.51", &[]), "application/json");
        assert_eq!(content_type("1.52", &[]), "application/jsonl");
        assert_eq!(content_type("1.52", &["*/*"]), "application/jsonl");
        // As Docker's client asks from 29 on.
        let client = [
            "application/jsonl",
            "application/x-ndjson;q=0.9",
            "application/json-seq;q=0.5",
        ];
        assert_eq!(content_type("1.52", &client), "application/jsonl");
        let older = ["application/x-ndjson, application/json-seq;q=0.5"];
        assert_eq!(content_type("1.51", &older), "application/x-ndjson");
        let sequence = ["application/json-seq, application/x-ndjson; q=0.2"];
        assert_eq!(content_type("1.52", &sequence), "application/json-seq");
        for refused in ["application/x-ndjson;q=0", "application/x-ndjson;q=x", ";"] {
            assert_eq!(content_type("1.52", &[refused]), "application/jsonl");
        }
    }
}
