//! Reads the scalars of the two upper levels of a YAML document.
//!
//! Everything else is skipped event by event, so the cost is linear in the length of the document.
//! Aliases and merge keys on these levels are refused: the kubelet resolves them, and this reader
//! does not.

use std::collections::{BTreeMap, BTreeSet};

use saphyr_parser::{Event, Parser};

/// Scalars by the key of their map, `""` for the document itself, and their own key.
#[derive(Debug, Default)]
pub(super) struct Scalars {
    values: BTreeMap<(String, String), String>,
    maps: BTreeSet<String>,
}

impl Scalars {
    /// Returns a value as written; `None` if it is empty or null.
    pub(super) fn get(&self, map: &str, key: &str) -> Option<&str> {
        let found = self.values.get(&(map.to_owned(), key.to_owned()))?;
        Some(found.as_str()).filter(|it| !it.is_empty() && *it != "null" && *it != "~")
    }

    /// Whether the document has a map of that key.
    pub(super) fn has_map(&self, key: &str) -> bool {
        self.maps.contains(key)
    }
}

/// A map or sequence that the reader is inside of.
#[derive(Debug)]
struct Open {
    is_map: bool,
    /// The key whose value comes next, in a map.
    key: Option<String>,
}

/// Reads the first document of a text.
pub(super) fn scalars(text: &str) -> Result<Scalars, String> {
    let mut found = Scalars::default();
    let mut open: Vec<Open> = Vec::new();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| {
            let line = error.marker().line();
            format!("it is not YAML: {} (line {line})", error.info())
        })?;
        let line = span.start.line();
        match event {
            Event::Scalar(text, ..) => scalar(&mut open, text.into_owned(), &mut found, line)?,
            Event::MappingStart(..) => begin(&mut open, true, &mut found),
            Event::SequenceStart(..) => begin(&mut open, false, &mut found),
            Event::MappingEnd | Event::SequenceEnd => {
                open.pop();
                value_ends(&mut open);
            }
            Event::Alias(_) if open.len() <= 2 => {
                return Err(format!("a value is an alias (line {line})"));
            }
            Event::Alias(_) => {
                // An alias as a key counts as a value here; the kubelet's parser refuses it.
                value_ends(&mut open);
            }
            Event::DocumentEnd => break,
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) => {}
        }
    }
    Ok(found)
}

fn begin(open: &mut Vec<Open>, is_map: bool, found: &mut Scalars) {
    if let [Open { key: Some(key), .. }] = open.as_slice()
        && is_map
    {
        found.maps.insert(key.clone());
    }
    open.push(Open { is_map, key: None });
}

fn scalar(open: &mut [Open], text: String, found: &mut Scalars, line: usize) -> Result<(), String> {
    let depth = open.len();
    let map = match open {
        [Open { key: Some(key), .. }, _] => key.clone(),
        _ => String::new(),
    };
    let Some(Open { is_map: true, key }) = open.last_mut() else {
        return Ok(());
    };
    let Some(name) = key.take() else {
        *key = Some(text);
        return Ok(());
    };
    if depth <= 2 {
        let place = (map, name);
        if found.values.contains_key(&place) {
            return Err(format!("duplicate key `{}` (line {line})", place.1));
        }
        found.values.insert(place, text);
    }
    Ok(())
}

/// Ends a value that is not a scalar: a key follows.
fn value_ends(open: &mut [Open]) {
    if let Some(Open { is_map: true, key }) = open.last_mut() {
        *key = None;
    }
}
