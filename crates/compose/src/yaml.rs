//! YAML documents as trees.
//!
//! Nodes lie in one list and refer to each other by position, so an alias costs a number and a
//! tree of any depth is walked and dropped without recursion: files that double themselves by
//! aliases, or refer to themselves, are harmless. Merge keys (`<<`) are resolved while the tree
//! is built, within a bound.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Tag as ParsedTag};

use crate::error::{ComposeError, Place};

/// How many nodes and merged keys a file may have.
const MAX_NODES: usize = 500_000;

/// The key that merges other maps into its own.
const MERGE: &str = "<<";

/// A node, by its position.
pub(crate) type NodeId = usize;

/// A file: its documents.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    nodes: Vec<Node>,
    /// The root of each document.
    pub(crate) documents: Vec<NodeId>,
}

/// One value.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) value: Value,
    pub(crate) tag: Tag,
    /// From one on.
    pub(crate) line: usize,
}

/// What a value is.
#[derive(Debug)]
pub(crate) enum Value {
    Null,
    Text(String),
    /// A number or a truth value: its spelling.
    Other(String),
    List(Vec<NodeId>),
    Map(BTreeMap<String, NodeId>),
}

/// What a value does to the one that it is merged into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tag {
    None,
    /// `!reset`: takes it away.
    Reset,
    /// `!override`: stands in its place.
    Override,
}

impl Tree {
    /// Parses a file.
    pub(crate) fn parse(text: &str, place: &Place) -> Result<Self, ComposeError> {
        let mut builder = Builder {
            tree: Self::default(),
            open: Vec::new(),
            anchors: BTreeMap::new(),
            merged: 0,
            place,
        };
        for event in Parser::new_from_str(text) {
            let (event, span) = event.map_err(|error| {
                let place = place.clone().at(error.marker().line());
                place.invalid(format!("is not YAML: {}", error.info()))
            })?;
            builder.take(event, span.start.line())?;
        }
        Ok(builder.tree)
    }

    pub(crate) fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id]
    }

    /// Returns the value of a key; none if it is not a map, or has no such key.
    pub(crate) fn get(&self, map: NodeId, key: &str) -> Option<NodeId> {
        match &self.node(map).value {
            Value::Map(entries) => entries.get(key).copied(),
            Value::Null | Value::Text(_) | Value::Other(_) | Value::List(_) => None,
        }
    }
}

/// A collection that has begun and not ended.
#[derive(Debug)]
struct Open {
    id: NodeId,
    anchor: usize,
    /// The key whose value comes next, in a map.
    key: Option<String>,
    /// What is merged into a map, in order.
    merges: Vec<NodeId>,
}

struct Builder<'p> {
    tree: Tree,
    open: Vec<Open>,
    /// Collections are here from their end on: what refers to itself refers to nothing.
    anchors: BTreeMap<usize, NodeId>,
    merged: usize,
    place: &'p Place,
}

impl Builder<'_> {
    fn take(&mut self, event: Event<'_>, line: usize) -> Result<(), ComposeError> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let tag = tag.as_deref();
                let id = self.add(scalar(&text, style, tag), tag, line)?;
                self.anchors.insert(anchor, id);
                if self.expects_key() {
                    return self.take_key(text.into_owned(), line);
                }
                self.place_value(id, line)
            }
            Event::SequenceStart(anchor, tag) => {
                self.begin(Value::List(Vec::new()), anchor, tag.as_deref(), line)
            }
            Event::MappingStart(anchor, tag) => {
                self.begin(Value::Map(BTreeMap::new()), anchor, tag.as_deref(), line)
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(line),
            Event::Alias(anchor) => self.take_alias(anchor, line),
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => Ok(()),
        }
    }

    fn at(&self, line: usize) -> Place {
        self.place.clone().at(line)
    }

    fn add(
        &mut self,
        value: Value,
        tag: Option<&ParsedTag>,
        line: usize,
    ) -> Result<NodeId, ComposeError> {
        self.demand_room()?;
        let tag = match tag.map(|it| (&*it.handle, &*it.suffix)) {
            Some(("!", "reset")) => Tag::Reset,
            Some(("!", "override")) => Tag::Override,
            Some(_) | None => Tag::None,
        };
        self.tree.nodes.push(Node { value, tag, line });
        Ok(self.tree.nodes.len() - 1)
    }

    fn demand_room(&self) -> Result<(), ComposeError> {
        if self.tree.nodes.len() + self.merged < MAX_NODES {
            return Ok(());
        }
        let what = format!("has more than the {MAX_NODES} values that are accepted");
        Err(self.place.invalid(what))
    }

    fn begin(
        &mut self,
        value: Value,
        anchor: usize,
        tag: Option<&ParsedTag>,
        line: usize,
    ) -> Result<(), ComposeError> {
        if self.expects_key() {
            return Err(self.at(line).invalid("a key must be a text"));
        }
        let id = self.add(value, tag, line)?;
        self.open.push(Open {
            id,
            anchor,
            key: None,
            merges: Vec::new(),
        });
        Ok(())
    }

    fn end(&mut self, line: usize) -> Result<(), ComposeError> {
        let Some(Open {
            id, anchor, merges, ..
        }) = self.open.pop()
        else {
            return Ok(());
        };
        self.merge(id, &merges)?;
        self.anchors.insert(anchor, id);
        self.place_value(id, line)
    }

    fn expects_key(&self) -> bool {
        self.open.last().is_some_and(|open| {
            open.key.is_none() && matches!(self.tree.nodes[open.id].value, Value::Map(_))
        })
    }

    fn take_key(&mut self, key: String, line: usize) -> Result<(), ComposeError> {
        let Some(open) = self.open.last_mut() else {
            return Ok(());
        };
        if self.tree.get(open.id, &key).is_some() {
            let what = format!("key `{key}` is there already");
            return Err(self.at(line).invalid(what));
        }
        open.key = Some(key);
        Ok(())
    }

    fn take_alias(&mut self, anchor: usize, line: usize) -> Result<(), ComposeError> {
        let Some(id) = self.anchors.get(&anchor).copied() else {
            let what = "an alias is part of what it refers to";
            return Err(self.at(line).invalid(what));
        };
        if !self.expects_key() {
            return self.place_value(id, line);
        }
        match &self.tree.node(id).value {
            Value::Text(text) | Value::Other(text) => self.take_key(text.clone(), line),
            Value::Null | Value::List(_) | Value::Map(_) => {
                Err(self.at(line).invalid("a key must be a text"))
            }
        }
    }

    /// Puts a value where it belongs: under its key, into its list, or at the root.
    fn place_value(&mut self, id: NodeId, line: usize) -> Result<(), ComposeError> {
        let Some(open) = self.open.last_mut() else {
            self.tree.documents.push(id);
            return Ok(());
        };
        match &mut self.tree.nodes[open.id].value {
            Value::List(items) => items.push(id),
            Value::Map(entries) => match open.key.take() {
                Some(key) if key == MERGE => open.merges.push(id),
                Some(key) => {
                    entries.insert(key, id);
                }
                None => return Err(self.at(line).invalid("a key must be a text")),
            },
            Value::Null | Value::Text(_) | Value::Other(_) => {}
        }
        Ok(())
    }

    /// Adds what merge keys bring: what is there stays, and what comes first wins.
    fn merge(&mut self, map: NodeId, merges: &[NodeId]) -> Result<(), ComposeError> {
        let mut sources = Vec::new();
        for merge in merges {
            match &self.tree.node(*merge).value {
                Value::List(items) => sources.extend(items),
                Value::Null | Value::Text(_) | Value::Other(_) | Value::Map(_) => {
                    sources.push(*merge);
                }
            }
        }
        for source in sources {
            let Node { value, line, .. } = self.tree.node(source);
            let Value::Map(entries) = value else {
                let place = self.place.below(MERGE, *line);
                return Err(place.invalid("must be a map, or a list of maps"));
            };
            let entries = entries.clone();
            self.merged += entries.len() + 1;
            self.demand_room()?;
            if let Value::Map(own) = &mut self.tree.nodes[map].value {
                for (key, id) in entries {
                    own.entry(key).or_insert(id);
                }
            }
        }
        Ok(())
    }
}

/// What a scalar is, by YAML's core schema.
fn scalar(text: &str, style: ScalarStyle, tag: Option<&ParsedTag>) -> Value {
    let is_text = tag.is_some_and(|tag| tag.is_yaml_core_schema() && tag.suffix == "str");
    if style != ScalarStyle::Plain || is_text {
        return Value::Text(text.to_owned());
    }
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" | "false" | "False" | "FALSE" => Value::Other(text.to_owned()),
        _ if is_number(text) => Value::Other(text.to_owned()),
        _ => Value::Text(text.to_owned()),
    }
}

fn is_number(text: &str) -> bool {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let is_based = |prefix: &str, base: u32| {
        let digits = unsigned.strip_prefix(prefix).unwrap_or_default();
        !digits.is_empty() && digits.chars().all(|it| it.is_digit(base))
    };
    let begins = unsigned.trim_start_matches('.');
    let is_decimal =
        begins.starts_with(|it: char| it.is_ascii_digit()) && unsigned.parse::<f64>().is_ok();
    let is_special =
        matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN");
    is_decimal || is_special || is_based("0x", 16) || is_based("0o", 8)
}
