//! The table of images: all that the pictures show, as text.

use reclaim_model::{HumanSize, ImageUsage, Namespace, StoreMap, shown_name};
use serde::Serialize;

use crate::html::Html;
use crate::usage::{heads, number};

/// How many images the page has as rows. The script adds the others on request, so that a host with
/// very many does not freeze the browser.
const ROWS: usize = 500;

/// How many holders of an image are named.
const MOST_HOLDERS: usize = 3;

/// An image as the table has it.
struct Row<'a> {
    namespace: &'a Namespace,
    image: &'a ImageUsage,
}

/// The same for the script, which makes a row of it.
#[derive(Serialize)]
struct Data<'a>(String, &'a str, &'static str, String, u64, u64, u64);

impl Row<'_> {
    fn name(&self) -> String {
        shown_name(&self.image.name, &self.image.target)
    }

    fn class(&self) -> &'static str {
        match &self.image.verdict {
            Ok(_) => "unused",
            Err(_) if !self.image.holders.is_empty() => "used",
            Err(_) => "kept",
        }
    }

    /// Returns what a prune of all unused images does with it, and why.
    fn verdict(&self) -> String {
        let mut holders: Vec<String> = self.image.holders.iter().map(ToString::to_string).collect();
        match &self.image.verdict {
            Ok(reason) => format!("goes: {}", reason.text()),
            Err(reason) if holders.is_empty() => format!("stays: {}", reason.text()),
            Err(reason) => {
                let more = holders.len().saturating_sub(MOST_HOLDERS);
                holders.truncate(MOST_HOLDERS);
                let more = and_more(more);
                format!("stays: {} by {}{more}", reason.text(), holders.join(", "))
            }
        }
    }

    fn data(&self) -> Data<'_> {
        Data(
            self.name(),
            self.namespace.as_str(),
            self.class(),
            self.verdict(),
            self.image.size.total_bytes(),
            self.image.size.shared_bytes,
            self.image.reclaimable_alone_bytes,
        )
    }
}

/// Returns what ends a list of which `more` are left out.
pub(crate) fn and_more(more: usize) -> String {
    match more {
        0 => String::new(),
        _ => format!(" and {more} more"),
    }
}

/// Writes the table, largest images first.
pub(crate) fn section(html: &mut Html, map: &StoreMap) {
    let namespaces = map.usage.namespaces.iter();
    let mut rows: Vec<Row<'_>> = namespaces
        .flat_map(|usage| {
            let images = usage.image_usage.iter().flatten();
            images.map(|image| Row {
                namespace: &usage.namespace,
                image,
            })
        })
        .collect();
    rows.sort_by(|a, b| {
        let by_size = b.image.size.total_bytes().cmp(&a.image.size.total_bytes());
        by_size.then_with(|| (a.namespace, &a.image.name).cmp(&(b.namespace, &b.image.name)))
    });
    let (shown, rest) = rows.split_at(ROWS.min(rows.len()));
    html.element("section", &[("aria-labelledby", &"images")], |html| {
        html.leaf("h2", &[("id", &"images")], "Images");
        html.element("p", &[("class", &"tools"), ("hidden", &"")], |html| {
            html.element("label", &[], |html| {
                html.text("Find ");
                html.open("input", &[("id", &"find"), ("type", &"search")]);
            });
            html.leaf("output", &[("id", &"found")], "");
        });
        html.element("table", &[("id", &"list")], |html| {
            let texts = ["Image", "Namespace", "A prune of unused images"];
            heads(html, &texts, &["Size", "Shared", "Alone"]);
            html.element("tbody", &[], |html| {
                for row in shown {
                    write_row(html, row);
                }
            });
        });
        html.leaf(
            "p",
            &[("class", &"note")],
            "Alone: what removing this image and no other frees.",
        );
        if !rest.is_empty() {
            html.element("p", &[("id", &"more")], |html| {
                html.text(format_args!(
                    "{} more images, the smallest, are listed by ",
                    rest.len()
                ));
                html.leaf("code", &[], "reclaim df -v");
                html.text(".");
            });
            let data: Vec<Data<'_>> = rest.iter().map(Row::data).collect();
            html.element(
                "script",
                &[("type", &"application/json"), ("id", &"rest")],
                |html| {
                    html.json(&data);
                },
            );
        }
    });
}

fn write_row(html: &mut Html, row: &Row<'_>) {
    let Data(name, namespace, class, verdict, size, shared, alone) = row.data();
    html.element("tr", &[], |html| {
        html.leaf("th", &[("scope", &"row")], name);
        html.leaf("td", &[], namespace);
        html.element("td", &[], |html| {
            let class = format!("swatch {class}");
            html.leaf("span", &[("class", &class), ("aria-hidden", &"true")], "");
            html.text(verdict);
        });
        for bytes in [size, shared, alone] {
            number(html, HumanSize(bytes));
        }
    });
}
