//! What is on the screen, and what is marked.

use std::collections::{BTreeMap, BTreeSet};

use reclaim_model::{
    ImageUsage, Namespace, NamespaceMap, NamespaceUsage, Part, PruneRequest, StoreMap,
};

use super::rows::{self, Listed, Row, Sort, is_open_repository};

/// What has the screen.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum View {
    /// The rows.
    List,
    /// The rows, while the filter is typed.
    Filter,
    /// Text to read.
    Text {
        title: String,
        lines: Vec<String>,
        top: usize,
    },
    /// A plan and the question whether to carry it out.
    Plan { lines: Vec<String>, top: usize },
    /// Something is under way; the text says what.
    Busy(String),
}

/// The state of the screen.
#[derive(Debug)]
pub(super) struct State {
    map: StoreMap,
    /// The position of the namespace that is shown.
    namespace: usize,
    pub(super) view: View,
    pub(super) is_tree: bool,
    pub(super) sort: Sort,
    pub(super) filter: String,
    opened: BTreeSet<Row>,
    /// Images and parts that are marked, by name, so that they stay marked when the store is read again.
    marked: BTreeSet<(String, Option<Part>)>,
    pub(super) rows: Vec<Row>,
    pub(super) cursor: usize,
    /// The first row that is visible.
    pub(super) top: usize,
    /// A message, until the next key.
    pub(super) message: Option<String>,
}

impl State {
    /// Shows a store, at first the namespace of this name or else the one with the most bytes.
    pub(super) fn new(map: StoreMap, namespace: Option<&Namespace>) -> Self {
        let namespaces = map.usage.namespaces.iter().enumerate();
        let named = namespaces
            .clone()
            .find(|(_, it)| Some(&it.namespace) == namespace);
        let largest = namespaces.max_by_key(|(_, it)| it.usage.total().total_bytes());
        let mut state = Self {
            namespace: named.or(largest).map_or(0, |(position, _)| position),
            map,
            view: View::List,
            is_tree: false,
            sort: Sort::Alone,
            filter: String::new(),
            opened: BTreeSet::new(),
            marked: BTreeSet::new(),
            rows: Vec::new(),
            cursor: 0,
            top: 0,
            message: None,
        };
        state.list();
        state
    }

    /// Shows a store that was read again. Marks of images that are gone are dropped.
    pub(super) fn replace(&mut self, map: StoreMap) {
        let namespace = self.name();
        let namespaces = map.usage.namespaces.iter();
        let position = namespaces
            .map(|it| &it.namespace)
            .position(|it| Some(it) == namespace.as_ref());
        self.map = map;
        self.namespace = position.unwrap_or(0);
        self.opened.clear();
        let names: BTreeSet<&str> = self.images().iter().map(|image| &*image.name).collect();
        let marked = self
            .marked
            .iter()
            .filter(|(name, _)| names.contains(&**name));
        self.marked = marked.cloned().collect();
        self.list();
    }

    /// Lists the rows again.
    pub(super) fn list(&mut self) {
        let filter = self.filter.to_lowercase();
        let rows = match self.usage().zip(self.objects()) {
            Some((usage, map)) => rows::rows(&Listed {
                usage,
                map,
                is_tree: self.is_tree,
                sort: self.sort,
                filter: &filter,
                opened: &self.opened,
            }),
            None => Vec::new(),
        };
        self.rows = rows;
        self.cursor = self.cursor.min(self.rows.len().saturating_sub(1));
    }

    /// Returns the name of the namespace; `None` on a host without namespaces.
    pub(super) fn name(&self) -> Option<Namespace> {
        Some(self.usage()?.namespace.clone())
    }

    /// Returns the position of the namespace among all, from 1.
    pub(super) fn position(&self) -> usize {
        self.namespace + 1
    }

    pub(super) fn usage(&self) -> Option<&NamespaceUsage> {
        self.map.usage.namespaces.get(self.namespace)
    }

    pub(super) fn objects(&self) -> Option<&NamespaceMap> {
        self.map.namespaces.get(self.namespace)
    }

    pub(super) fn images(&self) -> &[ImageUsage] {
        let images = self.usage().and_then(|usage| usage.image_usage.as_deref());
        images.unwrap_or_default()
    }

    pub(super) fn map(&self) -> &StoreMap {
        &self.map
    }

    /// Returns the row at the cursor.
    pub(super) fn row(&self) -> Option<&Row> {
        self.rows.get(self.cursor)
    }

    /// Shows the next namespace. Marks are those of one namespace.
    pub(super) fn next_namespace(&mut self) {
        self.namespace = (self.namespace + 1) % self.map.usage.namespaces.len().max(1);
        self.marked.clear();
        self.opened.clear();
        self.cursor = 0;
        self.top = 0;
        self.list();
    }

    /// Opens or closes the row at the cursor; closing an inner row goes to the outer one.
    pub(super) fn open(&mut self, open: bool) {
        let Some(row) = self.row().cloned() else {
            return;
        };
        let is_open = self.is_open(&row);
        if open && !is_open {
            if matches!(row, Row::Repository(..) | Row::Image(_) | Row::Manifest(..)) {
                self.opened.insert(row);
            }
        } else if !open && is_open {
            self.opened
                .retain(|opened| *opened != row && !same_repository(opened, &row));
        } else if !open {
            let outer = |candidate: &Row| is_outer(candidate, &row);
            if let Some(position) = self.rows[..self.cursor].iter().rposition(outer) {
                self.cursor = position;
            }
        }
        self.list();
    }

    pub(super) fn is_open(&self, row: &Row) -> bool {
        self.opened.contains(row) || is_open_repository(row, &self.opened)
    }

    /// Marks the row at the cursor, or removes its mark, and goes to the next row.
    pub(super) fn mark(&mut self) {
        let Some(row) = self.row().cloned() else {
            return;
        };
        let images: Vec<usize> = match &row {
            Row::Repository(_, images) => images.clone(),
            Row::Image(image)
            | Row::Part(image, _)
            | Row::Manifest(image, _)
            | Row::Object(image, ..) => {
                vec![*image]
            }
        };
        let part = match row {
            Row::Part(_, part) => Some(part),
            Row::Repository(..) | Row::Image(_) | Row::Manifest(..) | Row::Object(..) => None,
        };
        // The layers of an image in use can go; the image cannot.
        let images: Vec<usize> = images
            .into_iter()
            .filter(|image| part.is_some() || self.images()[*image].verdict.is_ok())
            .collect();
        if images.is_empty() {
            self.message = Some(match row {
                Row::Image(image) => rows::verdict(&self.images()[image]),
                Row::Repository(..) | Row::Part(..) | Row::Manifest(..) | Row::Object(..) => {
                    "every image here stays; Enter says why".to_owned()
                }
            });
        }
        let marks = images
            .iter()
            .map(|image| (self.images()[*image].name.clone(), part));
        let marks: Vec<_> = marks.collect();
        let is_marked = marks.iter().all(|mark| self.marked.contains(mark));
        for mark in marks {
            if is_marked {
                self.marked.remove(&mark);
            } else {
                self.marked.insert(mark);
            }
        }
        self.go(1);
    }

    /// Removes all marks.
    pub(super) fn clear_marks(&mut self) {
        self.marked.clear();
    }

    /// Returns whether a row is marked.
    pub(super) fn is_marked(&self, row: &Row) -> bool {
        let has = |image: usize, part| {
            let name = &self.images()[image].name;
            self.marked.contains(&(name.clone(), part))
        };
        match row {
            Row::Repository(_, images) => {
                let mut removable = images
                    .iter()
                    .filter(|image| self.images()[**image].verdict.is_ok())
                    .peekable();
                removable.peek().is_some() && removable.all(|image| has(*image, None))
            }
            Row::Image(image) => has(*image, None),
            Row::Part(image, part) => has(*image, Some(*part)),
            Row::Manifest(..) | Row::Object(..) => false,
        }
    }

    /// Returns how many images are marked, and what removing them together frees.
    pub(super) fn marked_images(&self) -> (usize, u64) {
        let images = self.images().iter();
        let is_marked: Vec<bool> = images
            .map(|image| self.marked.contains(&(image.name.clone(), None)))
            .collect();
        let count = is_marked.iter().filter(|is_marked| **is_marked).count();
        let freed = self.objects().map_or(0, |map| {
            map.freed_by(|image| is_marked.get(image as usize) == Some(&true))
        });
        (count, freed)
    }

    /// Returns how many parts of images are marked.
    pub(super) fn marked_parts(&self) -> usize {
        self.marked
            .iter()
            .filter(|(_, part)| part.is_some())
            .count()
    }

    /// Returns the requests that the marks make: one for images, and one for each kind of part.
    pub(super) fn requests(&self) -> Vec<PruneRequest> {
        let Some(namespace) = self.name() else {
            return Vec::new();
        };
        let mut by_part: BTreeMap<Option<Part>, Vec<String>> = BTreeMap::new();
        for (name, part) in &self.marked {
            // Parts of an image that goes go with it.
            if part.is_none() || !self.marked.contains(&(name.clone(), None)) {
                by_part.entry(*part).or_default().push(name.clone());
            }
        }
        let requests = by_part.into_iter().map(|(part, names)| match part {
            None => PruneRequest::images(namespace.clone(), names),
            Some(part) => PruneRequest::parts(namespace.clone(), [part], names),
        });
        requests.collect()
    }

    /// Moves the cursor.
    pub(super) fn go(&mut self, rows: isize) {
        let last = self.rows.len().saturating_sub(1);
        self.cursor = self.cursor.saturating_add_signed(rows).min(last);
    }

    /// Scrolls a text.
    pub(super) fn scroll(&mut self, by: isize) {
        if let View::Text { top, lines, .. } | View::Plan { top, lines } = &mut self.view {
            *top = top
                .saturating_add_signed(by)
                .min(lines.len().saturating_sub(1));
        }
    }
}

fn same_repository(a: &Row, b: &Row) -> bool {
    matches!((a, b), (Row::Repository(a, _), Row::Repository(b, _)) if a == b)
}

/// Whether a row contains another.
fn is_outer(outer: &Row, inner: &Row) -> bool {
    match (outer, inner) {
        (Row::Repository(_, images), Row::Image(image)) => images.contains(image),
        (Row::Image(outer), Row::Part(image, _) | Row::Manifest(image, _)) => outer == image,
        (Row::Manifest(outer, position), Row::Object(image, manifest, _)) => {
            (outer, position) == (image, manifest)
        }
        _ => false,
    }
}
