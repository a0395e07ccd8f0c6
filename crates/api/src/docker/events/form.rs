//! The encoding of events.
//!
//! Up to 1.51 an event has more keys, which repeat others. The content type of the stream is the one
//! that the client prefers by name, if it names any.
//!
//! Source: moby, `daemon/server/router/system/system_routes.go`.

use bytes::Bytes;
use http::HeaderMap;
use http::header::ACCEPT;
use serde::Serialize;

use crate::docker::event_log::Event;
use crate::docker::version::ApiVersion;

const LINES: &str = "application/jsonl";
const SEQUENCE: &str = "application/json-seq";

/// The content types that a client can request. If it prefers several equally, the first is used.
const TYPES: [&str; 3] = [LINES, "application/x-ndjson", SEQUENCE];

/// Begins each event of a [`SEQUENCE`], by RFC 7464.
const RECORD_SEPARATOR: u8 = 0x1e;

/// The first version without the keys that repeat others.
const NO_LEGACY_KEYS_SINCE: &str = "1.52";

/// The encoding of the events of one client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Form {
    has_legacy_keys: bool,
    /// The content type of the stream.
    pub(super) content_type: &'static str,
}

/// An event up to 1.51.
#[derive(Serialize)]
struct LegacyEvent<'a> {
    status: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    id: &'a str,
    #[serde(flatten)]
    event: &'a Event,
}

impl Form {
    pub(super) fn of(version: &ApiVersion, headers: &HeaderMap) -> Self {
        let has_legacy_keys = !version.is_at_least(NO_LEGACY_KEYS_SINCE);
        let default = if has_legacy_keys {
            "application/json"
        } else {
            LINES
        };
        Self {
            has_legacy_keys,
            content_type: preferred_type(headers).unwrap_or(default),
        }
    }

    /// Encodes an event and ends the line.
    pub(super) fn write(self, event: &Event) -> Option<Bytes> {
        let mut line = if self.content_type == SEQUENCE {
            vec![RECORD_SEPARATOR]
        } else {
            Vec::new()
        };
        let encoded = if self.has_legacy_keys {
            let legacy = LegacyEvent {
                status: event.action,
                id: &event.actor.id,
                event,
            };
            serde_json::to_writer(&mut line, &legacy)
        } else {
            serde_json::to_writer(&mut line, event)
        };
        encoded.ok()?;
        line.push(b'\n');
        Some(line.into())
    }
}

/// Returns the supported content type that the client names with the greatest weight. Wildcards do
/// not count.
fn preferred_type(headers: &HeaderMap) -> Option<&'static str> {
    let accepted: Vec<(&str, f64)> = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|header| header.to_str().ok())
        .flat_map(|header| header.split(','))
        .map(media_range)
        .collect();
    let mut best: Option<(&'static str, f64)> = None;
    for offer in TYPES {
        for (name, weight) in &accepted {
            if *name == offer && *weight > best.map_or(0.0, |(_, weight)| weight) {
                best = Some((offer, *weight));
            }
        }
    }
    best.map(|(offer, _)| offer)
}

/// Parses `type;q=0.5`. An invalid weight is 0.
fn media_range(range: &str) -> (&str, f64) {
    let mut parts = range.split(';').map(str::trim);
    let name = parts.next().unwrap_or_default();
    let weight = parts.find_map(|part| part.strip_prefix("q="));
    (name, weight.map_or(1.0, |text| text.parse().unwrap_or(0.0)))
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
    fn uses_the_content_type_that_the_client_prefers() {
        assert_eq!(content_type("1.51", &[]), "application/json");
        assert_eq!(content_type("1.52", &[]), "application/jsonl");
        assert_eq!(content_type("1.52", &["*/*"]), "application/jsonl");
        // The header of Docker's client from 29 on.
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
