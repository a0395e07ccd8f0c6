//! YAML documents as trees.
//!
//! Nodes are in one list and refer to each other by position, so an alias costs a number, and a tree
//! of any depth is dropped without recursion: files whose aliases multiply or refer to themselves
//! are harmless. Merge keys (`<<`) are resolved while the tree is built, up to a limit.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Tag as ParsedTag};

use crate::error::{ComposeError, Location};

/// How many nodes and merged keys a file may have.
const MAX_NODES: usize = 500_000;

/// The key whose maps are merged into its own map.
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
    /// The number of the line, starting with 1.
    pub(crate) line: usize,
}

/// A value by its type.
#[derive(Debug)]
pub(crate) enum Value {
    Null,
    Text(String),
    /// A number or a boolean, as it is written.
    Other(String),
    List(Vec<NodeId>),
    Map(BTreeMap<String, NodeId>),
}

/// How a value is merged over an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tag {
    None,
    /// `!reset` removes the earlier value.
    Reset,
    /// `!override` replaces the earlier value.
    Override,
}

impl Tree {
    /// Parses a file.
    pub(crate) fn parse(text: &str, location: &Location) -> Result<Self, ComposeError> {
        let mut builder = Builder {
            tree: Self::default(),
            open: Vec::new(),
            anchors: BTreeMap::new(),
            merged: 0,
            location,
        };
        for event in Parser::new_from_str(text) {
            let (event, span) = event.map_err(|error| {
                let location = location.clone().at(error.marker().line());
                location.invalid(format!("is not YAML: {}", error.info()))
            })?;
            builder.take(event, span.start.line())?;
        }
        Ok(builder.tree)
    }

    pub(crate) fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id]
    }

    /// Returns the value of a key; `None` if the node is not a map or does not have the key.
    pub(crate) fn get(&self, map: NodeId, key: &str) -> Option<NodeId> {
        match &self.node(map).value {
            Value::Map(entries) => entries.get(key).copied(),
            Value::Null | Value::Text(_) | Value::Other(_) | Value::List(_) => None,
        }
    }
}

/// A list or map that has begun and not ended.
#[derive(Debug)]
struct Open {
    id: NodeId,
    anchor: usize,
    /// The key whose value comes next, in a map.
    key: Option<String>,
    /// The values of merge keys in a map, in order.
    merges: Vec<NodeId>,
}

struct Builder<'p> {
    tree: Tree,
    open: Vec<Open>,
    /// The nodes of anchors. A list or map is added at its end, so an alias within it is an error.
    anchors: BTreeMap<usize, NodeId>,
    merged: usize,
    location: &'p Location,
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

    fn at(&self, line: usize) -> Location {
        self.location.clone().at(line)
    }

    fn add(
        &mut self,
        value: Value,
        tag: Option<&ParsedTag>,
        line: usize,
    ) -> Result<NodeId, ComposeError> {
        self.check_size()?;
        let tag = match tag.map(|tag| (&*tag.handle, &*tag.suffix)) {
            Some(("!", "reset")) => Tag::Reset,
            Some(("!", "override")) => Tag::Override,
            Some(_) | None => Tag::None,
        };
        self.tree.nodes.push(Node { value, tag, line });
        Ok(self.tree.nodes.len() - 1)
    }

    fn check_size(&self) -> Result<(), ComposeError> {
        if self.tree.nodes.len() + self.merged < MAX_NODES {
            return Ok(());
        }
        let what = format!("has more than {MAX_NODES} values");
        Err(self.location.invalid(what))
    }

    fn begin(
        &mut self,
        value: Value,
        anchor: usize,
        tag: Option<&ParsedTag>,
        line: usize,
    ) -> Result<(), ComposeError> {
        if self.expects_key() {
            return Err(self.at(line).invalid("a key must be a string"));
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
            let what = format!("duplicate key `{key}`");
            return Err(self.at(line).invalid(what));
        }
        open.key = Some(key);
        Ok(())
    }

    fn take_alias(&mut self, anchor: usize, line: usize) -> Result<(), ComposeError> {
        let Some(id) = self.anchors.get(&anchor).copied() else {
            let what = "an alias refers to a value that contains it";
            return Err(self.at(line).invalid(what));
        };
        if !self.expects_key() {
            return self.place_value(id, line);
        }
        match &self.tree.node(id).value {
            Value::Text(text) | Value::Other(text) => self.take_key(text.clone(), line),
            Value::Null | Value::List(_) | Value::Map(_) => {
                Err(self.at(line).invalid("a key must be a string"))
            }
        }
    }

    /// Adds a value to the open map or list, or as the root of a document.
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
                None => return Err(self.at(line).invalid("a key must be a string")),
            },
            Value::Null | Value::Text(_) | Value::Other(_) => {}
        }
        Ok(())
    }

    /// Adds the entries of merge keys to a map. Its own entries take precedence, and then those of
    /// the first merge key.
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
                let location = self.location.below(MERGE, *line);
                return Err(location.invalid("must be a map, or a list of maps"));
            };
            let entries = entries.clone();
            self.merged += entries.len() + 1;
            self.check_size()?;
            if let Value::Map(own) = &mut self.tree.nodes[map].value {
                for (key, id) in entries {
                    own.entry(key).or_insert(id);
                }
            }
        }
        Ok(())
    }
}

/// Returns the value of a scalar by YAML's core schema.
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
        !digits.is_empty() && digits.chars().all(|digit| digit.is_digit(base))
    };
    // Rust's parser also accepts words such as `infinity`.
    let starts_with_digit = unsigned
        .trim_start_matches('.')
        .starts_with(|character: char| character.is_ascii_digit());
    let is_decimal = starts_with_digit && unsigned.parse::<f64>().is_ok();
    let is_special =
        matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN");
    is_decimal || is_special || is_based("0x", 16) || is_based("0o", 8)
}
