//! The page as a whole: its head, its sections in order, and what may run in it.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use reclaim_model::HumanSize;
use sha2::{Digest as _, Sha256};

use crate::html::Html;
use crate::{Page, images, plot, removals, runs, usage};

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// Allows this style and this script, and nothing else: no network, no frames, no forms.
pub(crate) fn security_policy() -> String {
    let hash = |text: &str| BASE64_STANDARD.encode(Sha256::digest(text));
    format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; base-uri 'none'; \
         form-action 'none'",
        hash(STYLE),
        hash(SCRIPT)
    )
}

/// Returns the page.
pub(crate) fn document(page: &Page<'_>) -> String {
    let mut html = Html::default();
    html.raw("<!DOCTYPE html>\n");
    html.element("html", &[("lang", &"en")], |html| {
        let title = format!("Images on {}", page.host);
        html.element("head", &[], |html| head(html, &title));
        html.element("body", &[], |html| body(html, page));
    });
    html.raw("\n");
    html.into_text()
}

/// Writes the head of a page.
pub(crate) fn head(html: &mut Html, title: &str) {
    html.open("meta", &[("charset", &"utf-8")]);
    let policy = security_policy();
    html.open(
        "meta",
        &[
            ("http-equiv", &"Content-Security-Policy"),
            ("content", &policy),
        ],
    );
    let viewport = "width=device-width, initial-scale=1";
    html.open("meta", &[("name", &"viewport"), ("content", &viewport)]);
    html.open(
        "meta",
        &[("name", &"color-scheme"), ("content", &"light dark")],
    );
    html.leaf("title", &[], title);
    html.raw("<style>").raw(STYLE).raw("</style>");
}

fn body(html: &mut Html, page: &Page<'_>) {
    html.element("header", &[], |html| header(html, page));
    html.element("main", &[], |html| {
        usage::pictures(html, page.map);
        usage::table(html, &page.map.usage);
        removals::section(html, page.map, page.policies);
        images::section(html, page.map);
        plot::section(html, page.filling);
        runs::section(html, page.records);
    });
    html.raw("<script>").raw(SCRIPT).raw("</script>");
}

fn header(html: &mut Html, page: &Page<'_>) {
    let usage = &page.map.usage;
    html.leaf("h1", &[], format_args!("Images on {}", page.host));
    let (bytes, is_whole) = usage.on_disk();
    let at_least = if is_whole { "" } else { "at least " };
    let free = usage.total.reclaimable().total_bytes();
    html.element("p", &[("class", &"summary")], |html| {
        html.text(at_least);
        html.leaf("strong", &[], HumanSize(bytes));
        html.text(" on disk, of which ");
        html.leaf("strong", &[], HumanSize(free));
        html.text(" can be freed by ");
        html.leaf("code", &[], "reclaim image prune -a");
        html.text(".");
    });
    let time = page.map.observed_at.strftime("%Y-%m-%d %H:%M:%S UTC");
    html.element("p", &[("class", &"note")], |html| {
        html.text("As of ");
        html.leaf("time", &[("datetime", &page.map.observed_at)], time);
        html.text(". This page is a picture of that moment and does not change.");
    });
    if !usage.warnings.is_empty() {
        html.element("ul", &[("class", &"warnings")], |html| {
            for warning in &usage.warnings {
                html.leaf("li", &[], warning);
            }
        });
    }
}
