//! The page of a trial: what policies would have done in the last weeks.

use crate::document::head;
use crate::html::Html;
use crate::plot::{FillPlot, plot};
use crate::usage::heads;

/// How many images the page lists.
const ROWS: usize = 500;

/// What policies would have done in the last weeks, as texts.
#[derive(Debug, Clone, Default)]
pub struct TrialPage {
    /// The title.
    pub title: String,
    /// The results, one sentence each.
    pub summary: Vec<String>,
    /// How full each filesystem was and would have been.
    pub plots: Vec<FillPlot>,
    /// The images that would have been removed: when, image, namespace, for how long it was unused, size,
    /// and when it would have been pulled again.
    pub images: Vec<[String; 6]>,
    /// What the replay leaves out or estimates.
    pub notes: Vec<String>,
}

impl TrialPage {
    /// Returns the page.
    pub fn html(&self) -> String {
        let mut html = Html::default();
        html.raw("<!DOCTYPE html>\n");
        html.element("html", &[("lang", &"en")], |html| {
            html.element("head", &[], |html| head(html, &self.title));
            html.element("body", &[], |html| {
                html.element("header", &[], |html| {
                    html.leaf("h1", &[], &self.title);
                    for line in &self.summary {
                        html.leaf("p", &[("class", &"summary")], line);
                    }
                });
                html.element("main", &[], |html| self.sections(html));
            });
        });
        html.raw("\n");
        html.into_text()
    }

    fn sections(&self, html: &mut Html) {
        html.element("section", &[("aria-labelledby", &"filling")], |html| {
            html.leaf(
                "h2",
                &[("id", &"filling")],
                "How full the disks would have been",
            );
            for found in &self.plots {
                plot(html, found);
            }
        });
        html.element("section", &[("aria-labelledby", &"images")], |html| {
            html.leaf("h2", &[("id", &"images")], "What would have gone");
            html.element("table", &[], |html| {
                let texts = [
                    "Removed",
                    "Image",
                    "Namespace",
                    "Unused for",
                    "Size",
                    "Pulled again",
                ];
                heads(html, &texts, &[]);
                html.element("tbody", &[], |html| {
                    for row in self.images.iter().take(ROWS) {
                        html.element("tr", &[], |html| {
                            for cell in row {
                                html.leaf("td", &[], cell);
                            }
                        });
                    }
                });
            });
            if let Some(more) = self.images.len().checked_sub(ROWS + 1) {
                html.leaf(
                    "p",
                    &[("class", &"note")],
                    format_args!("And {} more.", more + 1),
                );
            }
        });
        if !self.notes.is_empty() {
            html.element("section", &[("aria-labelledby", &"notes")], |html| {
                html.leaf("h2", &[("id", &"notes")], "Notes");
                html.element("ul", &[], |html| {
                    for note in &self.notes {
                        html.leaf("li", &[], note);
                    }
                });
            });
        }
    }
}
