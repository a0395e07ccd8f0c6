//! The picture of each namespace, and disk usage as a table.

use std::fmt::Display;

use reclaim_model::{
    Column, DiskUsage, HumanSize, ImageUsage, NamespaceUsage, StoreMap, shortened, shown_name,
};

use crate::cells::{Cell, cells};
use crate::html::Html;
use crate::images::and_more;
use crate::treemap::{Rectangle, divide};
use crate::verdict::{Kind, why};

/// The size of a picture in its own units, which the browser scales. The namespace with the most bytes
/// is this high, and the others in proportion, so that areas compare.
const WIDTH: f64 = 1200.0;
const HEIGHT: f64 = 520.0;

/// The least height of a picture, so that a small namespace can be seen.
const LEAST_HEIGHT: f64 = 60.0;

/// The least size of a rectangle with a name in it.
const LEGIBLE: (f64, f64) = (56.0, 18.0);

/// How many images a cell names.
const MOST_NAMES: usize = 5;

/// Draws each namespace.
pub(crate) fn pictures(html: &mut Html, map: &StoreMap) {
    html.element("section", &[("aria-labelledby", &"picture")], |html| {
        html.leaf("h2", &[("id", &"picture")], "What is on disk");
        html.element("ul", &[("class", &"legend")], |html| {
            for kind in Kind::ALL {
                html.element("li", &[], |html| {
                    let class = format!("swatch {}", kind.class());
                    html.leaf("span", &[("class", &class), ("aria-hidden", &"true")], "");
                    html.text(kind.text());
                });
            }
        });
        html.leaf(
            "p",
            &[("class", &"note")],
            "A rectangle is what the same images keep: a layer that several share is drawn once. \
             Arrow keys move, Enter shows the images below.",
        );
        let namespaces = map.usage.namespaces.iter().zip(&map.namespaces);
        let drawn: Vec<_> = namespaces
            .map(|(usage, objects)| (usage, cells(usage, objects)))
            .collect();
        let most = drawn.iter().map(|(_, cells)| bytes(cells)).max();
        for (usage, cells) in &drawn {
            picture(html, usage, cells, height(bytes(cells), most.unwrap_or(0)));
        }
        html.leaf("p", &[("id", &"detail"), ("aria-live", &"polite")], "");
    });
}

fn bytes(cells: &[Cell<'_>]) -> u64 {
    cells.iter().map(Cell::bytes).sum()
}

#[expect(clippy::cast_precision_loss, reason = "a picture has fewer digits")]
fn height(bytes: u64, most: u64) -> f64 {
    (HEIGHT * bytes as f64 / most.max(1) as f64).max(LEAST_HEIGHT)
}

fn picture(html: &mut Html, usage: &NamespaceUsage, cells: &[Cell<'_>], height: f64) {
    html.element("h3", &[], |html| {
        html.text(format_args!(
            "Namespace {}, {}",
            usage.namespace,
            HumanSize(bytes(cells))
        ));
    });
    if cells.is_empty() {
        html.leaf("p", &[], "It is empty.");
        return;
    }
    let whole = Rectangle {
        x: 0.0,
        y: 0.0,
        width: WIDTH,
        height,
    };
    let weights: Vec<u64> = cells.iter().map(Cell::bytes).collect();
    let label = format!("Treemap of namespace {}", usage.namespace);
    let view = format!("0 0 {WIDTH} {height:.2}");
    let attributes: [(&str, &dyn Display); 4] = [
        ("class", &"map"),
        ("viewBox", &view),
        ("role", &"list"),
        ("aria-label", &label),
    ];
    html.element("svg", &attributes, |html| {
        for (at, (cell, place)) in cells.iter().zip(divide(whole, &weights)).enumerate() {
            // One stop of the tab key for each picture; arrow keys go on from there.
            let tab = if at == 0 { "0" } else { "-1" };
            rectangle(html, usage, cell, place, tab);
        }
    });
}

fn rectangle(
    html: &mut Html,
    usage: &NamespaceUsage,
    cell: &Cell<'_>,
    place: Rectangle,
    tab: &'static str,
) {
    let text = describe(usage, cell);
    let class = Kind::of(cell.column).class();
    let [x, y, width, height] =
        [place.x, place.y, place.width, place.height].map(|length| format!("{length:.2}"));
    let search = first_image(usage, cell).map(|image| shown_name(&image.name, &image.target));
    let search = search.unwrap_or_default();
    let attributes: [(&str, &dyn Display); 9] = [
        ("x", &x),
        ("y", &y),
        ("width", &width),
        ("height", &height),
        ("class", &class),
        ("role", &"listitem"),
        ("tabindex", &tab),
        ("aria-label", &text),
        ("data-image", &search),
    ];
    html.element("svg", &attributes, |html| {
        html.leaf("title", &[], &text);
        let full: &dyn Display = &"100%";
        html.leaf("rect", &[("width", full), ("height", full)], "");
        if place.width >= LEGIBLE.0 && place.height >= LEGIBLE.1 {
            html.leaf("text", &[("x", &"5"), ("y", &"14")], title(usage, cell));
            if place.height >= 2.0 * LEGIBLE.1 {
                let size = HumanSize(cell.bytes());
                html.leaf(
                    "text",
                    &[("x", &"5"), ("y", &"30"), ("class", &"size")],
                    size,
                );
            }
        }
    });
}

/// Returns the name of an image; a digest is shortened.
fn name(image: &ImageUsage) -> String {
    shortened(&shown_name(&image.name, &image.target))
}

fn first_image<'u>(usage: &'u NamespaceUsage, cell: &Cell<'_>) -> Option<&'u ImageUsage> {
    let first = cell.images.first()?;
    usage.image_usage.as_ref()?.get(*first as usize)
}

/// Returns the name of a cell, for the picture.
fn title(usage: &NamespaceUsage, cell: &Cell<'_>) -> String {
    if cell.merged > 0 {
        return format!("{} smaller ones", cell.merged);
    }
    match (first_image(usage, cell), cell.images.len()) {
        (Some(image), 1) => name(image),
        (Some(image), count) => {
            format!("{} +{}", name(image), count - 1)
        }
        (None, _) => why(cell.column).to_owned(),
    }
}

/// Describes a cell in full, for the pointer and for screen readers.
fn describe(usage: &NamespaceUsage, cell: &Cell<'_>) -> String {
    let names: Vec<String> = cell
        .images
        .iter()
        .take(MOST_NAMES)
        .filter_map(|image| usage.image_usage.as_ref()?.get(*image as usize))
        .map(name)
        .collect();
    let more = cell.images.len() - names.len();
    let who = match &names[..] {
        [] if cell.merged > 0 => format!("{} smaller ones", cell.merged),
        [] => "Not of an image".to_owned(),
        [one] if more == 0 => one.clone(),
        several => format!("Shared by {}{}", several.join(", "), and_more(more)),
    };
    let Cell {
        content_bytes,
        unpacked_bytes,
        ..
    } = *cell;
    let (content, unpacked) = (HumanSize(content_bytes), HumanSize(unpacked_bytes));
    let size = HumanSize(cell.bytes());
    format!(
        "{who}: {size} ({content} packed, {unpacked} unpacked), {}",
        why(cell.column)
    )
}

/// Writes disk usage as a table.
pub(crate) fn table(html: &mut Html, usage: &DiskUsage) {
    html.element("section", &[("aria-labelledby", &"usage")], |html| {
        html.leaf("h2", &[("id", &"usage")], "Why it is on disk");
        html.element("table", &[], |html| {
            let numbers = ["Blobs", "Packed", "Snapshots", "Unpacked", "Size"];
            heads(html, &["Why"], &numbers);
            html.element("tbody", &[], |html| {
                for (column, amount) in usage.total.columns() {
                    html.element("tr", &[], |html| {
                        html.element("th", &[("scope", &"row")], |html| reason(html, column));
                        number(html, amount.blobs);
                        number(html, HumanSize(amount.content_bytes));
                        number(html, amount.snapshots);
                        number(html, HumanSize(amount.snapshot_bytes));
                        number(html, HumanSize(amount.total_bytes()));
                    });
                }
                if let Some(outside) = &usage.outside_records {
                    let unrecorded = outside.unrecorded.iter().map(|found| found.bytes).sum();
                    only_size(
                        html,
                        "directories that containerd has no record of",
                        unrecorded,
                    );
                    only_size(html, "containerd's own files", outside.own_bytes);
                }
            });
        });
    });
}

fn reason(html: &mut Html, column: Column) {
    let class = format!("swatch {}", Kind::of(column).class());
    html.leaf("span", &[("class", &class), ("aria-hidden", &"true")], "");
    html.text(why(column));
}

fn only_size(html: &mut Html, what: &'static str, bytes: u64) {
    if bytes == 0 {
        return;
    }
    html.element("tr", &[], |html| {
        html.leaf("th", &[("scope", &"row")], what);
        for _ in 0..4 {
            html.leaf("td", &[], "");
        }
        number(html, HumanSize(bytes));
    });
}

/// Writes the head of a table: columns of text, then columns of numbers.
pub(crate) fn heads(html: &mut Html, texts: &[&'static str], numbers: &[&'static str]) {
    html.element("thead", &[], |html| {
        html.element("tr", &[], |html| {
            for name in texts {
                html.leaf("th", &[("scope", &"col")], name);
            }
            for name in numbers {
                html.leaf("th", &[("scope", &"col"), ("class", &"number")], name);
            }
        });
    });
}

/// Writes a number into a cell of a table.
pub(crate) fn number(html: &mut Html, value: impl Display) {
    html.leaf("td", &[("class", &"number")], value);
}
