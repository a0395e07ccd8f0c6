//! The rows of the screen: images as a table or as a tree.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use reclaim_model::{
    ImageUsage, NamespaceMap, NamespaceUsage, ObjectKind, Part, Reference, shortened, shown_name,
};

/// The order of images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    /// By what removing each alone frees.
    Alone,
    Size,
    Age,
    Name,
}

impl Sort {
    pub(super) fn next(self) -> Self {
        match self {
            Self::Alone => Self::Size,
            Self::Size => Self::Age,
            Self::Age => Self::Name,
            Self::Name => Self::Alone,
        }
    }

    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Alone => "freed alone",
            Self::Size => "size",
            Self::Age => "age",
            Self::Name => "name",
        }
    }
}

/// A row, by what it shows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Row {
    /// A repository with the images of it that are listed.
    Repository(String, Vec<usize>),
    /// An image, by position.
    Image(usize),
    /// What was unpacked of an image, or its compressed layers.
    Part(usize, Part),
    /// An index or manifest of an image, both by position.
    Manifest(usize, usize),
    /// An object of a manifest.
    Object(usize, usize, u32),
}

/// What is listed, and how.
#[derive(Debug)]
pub(super) struct Listed<'l> {
    pub(super) usage: &'l NamespaceUsage,
    pub(super) map: &'l NamespaceMap,
    pub(super) is_tree: bool,
    pub(super) sort: Sort,
    /// In lower case.
    pub(super) filter: &'l str,
    pub(super) opened: &'l BTreeSet<Row>,
}

/// Returns the rows, from top to bottom.
pub(super) fn rows(listed: &Listed<'_>) -> Vec<Row> {
    let images = listed.usage.image_usage.as_deref().unwrap_or_default();
    let mut found: Vec<usize> = (0..images.len())
        .filter(|image| matches(&images[*image], listed.filter))
        .collect();
    sort(&mut found, images, listed.sort);
    let mut rows = Vec::new();
    if listed.is_tree {
        // Repositories in the order of their first image.
        let mut order = Vec::new();
        let mut repositories: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for image in found {
            let name = repository(&images[image]);
            let of_repository = repositories.entry(name.clone()).or_default();
            if of_repository.is_empty() {
                order.push(name);
            }
            of_repository.push(image);
        }
        for name in order {
            let images = repositories.remove(&name).unwrap_or_default();
            let row = Row::Repository(name, images.clone());
            // A repository that was open stays open when its images change.
            let is_open = is_open_repository(&row, listed.opened);
            rows.push(row);
            for image in images.into_iter().filter(|_| is_open) {
                add_image(&mut rows, listed, image);
            }
        }
    } else {
        for image in found {
            add_image(&mut rows, listed, image);
        }
    }
    rows
}

/// Whether a repository of this name is open.
pub(super) fn is_open_repository(row: &Row, opened: &BTreeSet<Row>) -> bool {
    let Row::Repository(name, _) = row else {
        return false;
    };
    opened
        .iter()
        .any(|open| matches!(open, Row::Repository(it, _) if it == name))
}

fn add_image(rows: &mut Vec<Row>, listed: &Listed<'_>, image: usize) {
    rows.push(Row::Image(image));
    if !listed.opened.contains(&Row::Image(image)) {
        return;
    }
    for part in [Part::Snapshots, Part::Layers] {
        if part_bytes(listed.map, image, part) > 0 {
            rows.push(Row::Part(image, part));
        }
    }
    for (position, manifest) in listed.map.images[image].iter().enumerate() {
        let row = Row::Manifest(image, position);
        let is_open = listed.opened.contains(&row);
        rows.push(row);
        if is_open {
            let objects = manifest.objects.iter();
            rows.extend(objects.map(|object| Row::Object(image, position, *object)));
        }
    }
}

/// Returns the bytes of the snapshots or layers that an image has, shared ones included.
pub(super) fn part_bytes(map: &NamespaceMap, image: usize, part: Part) -> u64 {
    let kind = match part {
        Part::Snapshots => ObjectKind::Snapshot,
        Part::Layers => ObjectKind::Layer,
        Part::BuildHistory | Part::Platforms => return 0,
    };
    let objects: BTreeSet<u32> = map.images[image]
        .iter()
        .flat_map(|manifest| manifest.objects.iter().copied())
        .collect();
    let objects = objects.into_iter().map(|at| &map.objects[at as usize]);
    let of_kind = objects.filter(|object| object.kind == kind);
    of_kind.filter_map(|object| object.bytes).sum()
}

/// Whether the filter is in the name, or in the reason why the image stays or goes.
fn matches(image: &ImageUsage, filter: &str) -> bool {
    filter.is_empty()
        || name(image).to_lowercase().contains(filter)
        || verdict(image).to_lowercase().contains(filter)
}

fn sort(found: &mut [usize], images: &[ImageUsage], by: Sort) {
    let name = |at: usize| &images[at].name;
    match by {
        Sort::Alone => found.sort_by_key(|at| {
            let image = &images[*at];
            let freed = image.reclaimable_alone_bytes;
            (Reverse(freed), Reverse(image.size.total_bytes()), name(*at))
        }),
        Sort::Size => {
            found.sort_by_key(|at| (Reverse(images[*at].size.total_bytes()), name(*at)));
        }
        // Those of unknown age come last.
        Sort::Age => found.sort_by_key(|at| {
            let created = images[*at].created;
            (created.is_none(), created, name(*at))
        }),
        Sort::Name => found.sort_by_key(|at| name(*at)),
    }
}

/// Returns the name of an image as it is shown.
pub(super) fn name(image: &ImageUsage) -> String {
    shortened(&shown_name(&image.name, &image.target))
}

/// Returns the name of its repository; `<none>` without one.
fn repository(image: &ImageUsage) -> String {
    match Reference::parse_normalized(&image.name) {
        Ok(reference) => reference.familiar_repository(),
        Err(_) => "<none>".to_owned(),
    }
}

/// Returns whether a prune of all unused images would remove it, and why.
pub(super) fn verdict(image: &ImageUsage) -> String {
    match &image.verdict {
        Ok(reason) => format!("goes: {}", reason.text()),
        Err(reason) => match image.holders.first() {
            Some(holder) => format!(
                "stays: {} by {}",
                reason.text(),
                shortened(&holder.to_string())
            ),
            None => format!("stays: {}", reason.text()),
        },
    }
}
