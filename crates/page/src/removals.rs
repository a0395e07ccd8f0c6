//! What a prune and each policy would remove now.

use reclaim_model::{HumanSize, StoreMap, shown_name};

use crate::html::Html;
use crate::usage::heads;

/// How many images of a removal are listed.
const ROWS: usize = 100;

/// What a policy would remove now.
#[derive(Debug, Clone, Default)]
pub struct PlannedRemoval {
    /// Who would remove it.
    pub title: String,
    /// When and by which rules, and what a person should know, one sentence each.
    pub notes: Vec<String>,
    /// The images, in the order of the plan.
    pub images: Vec<PlannedImage>,
    /// The bytes that this would free.
    pub bytes: u64,
}

/// An image that would be removed, or lose parts.
#[derive(Debug, Clone)]
pub struct PlannedImage {
    /// Its namespace.
    pub namespace: String,
    /// Its name, as it is shown.
    pub name: String,
    /// Why.
    pub why: String,
}

/// Returns what a prune of all unused images would remove.
fn prune(map: &StoreMap) -> PlannedRemoval {
    let namespaces = map.usage.namespaces.iter();
    let images = namespaces.flat_map(|usage| {
        let images = usage.image_usage.iter().flatten();
        images.filter_map(|image| {
            let reason = image.verdict.as_ref().ok()?;
            Some(PlannedImage {
                namespace: usage.namespace.to_string(),
                name: shown_name(&image.name, &image.target),
                why: reason.text().to_owned(),
            })
        })
    });
    PlannedRemoval {
        title: "image prune -a".to_owned(),
        notes: Vec::new(),
        images: images.collect(),
        bytes: map.usage.total.reclaimable().total_bytes(),
    }
}

/// Writes what a prune and the policies would remove. `policies` is why there are none, or they.
pub(crate) fn section(html: &mut Html, map: &StoreMap, policies: Result<&[PlannedRemoval], &str>) {
    html.element("section", &[("aria-labelledby", &"removals")], |html| {
        html.leaf("h2", &[("id", &"removals")], "What would go now");
        removal(html, &prune(map));
        match policies {
            Ok([]) => {
                html.leaf("p", &[("class", &"note")], "No policy is enabled.");
            }
            Ok(policies) => {
                for policy in policies {
                    removal(html, policy);
                }
            }
            Err(why) => {
                html.leaf("p", &[("class", &"note")], why);
            }
        }
    });
}

fn removal(html: &mut Html, removal: &PlannedRemoval) {
    html.element("h3", &[], |html| {
        let count = removal.images.len();
        let plural = if count == 1 { "" } else { "s" };
        html.leaf("code", &[], &removal.title);
        html.text(format_args!(
            ": {count} image{plural}, {}",
            HumanSize(removal.bytes)
        ));
    });
    if !removal.notes.is_empty() {
        html.element("ul", &[("class", &"note")], |html| {
            for note in &removal.notes {
                html.leaf("li", &[], note);
            }
        });
    }
    if removal.images.is_empty() {
        return;
    }
    html.element("details", &[], |html| {
        html.leaf("summary", &[], "Its images, with the reason");
        html.element("table", &[], |html| {
            heads(html, &["Image", "Namespace", "Why"], &[]);
            html.element("tbody", &[], |html| {
                for image in removal.images.iter().take(ROWS) {
                    html.element("tr", &[], |html| {
                        html.leaf("th", &[("scope", &"row")], &image.name);
                        html.leaf("td", &[], &image.namespace);
                        html.leaf("td", &[], &image.why);
                    });
                }
            });
        });
        if let Some(more) = removal.images.len().checked_sub(ROWS + 1) {
            html.leaf(
                "p",
                &[("class", &"note")],
                format_args!("And {} more.", more + 1),
            );
        }
    });
}
