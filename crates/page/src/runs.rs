//! What changed, and what it freed over time.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use reclaim_model::{AuditRecord, HumanSize};

use crate::html::Html;
use crate::usage::{heads, number};

/// How many days the chart has.
const DAYS: usize = 60;

/// How many runs the table has.
const ROWS: usize = 50;

/// The size of the chart in its own units.
const WIDTH: f64 = 1200.0;
const HEIGHT: f64 = 120.0;

/// Writes the runs on record: what they freed on each day, and the last ones.
pub(crate) fn section(html: &mut Html, records: Option<&[AuditRecord]>) {
    html.element("section", &[("aria-labelledby", &"runs")], |html| {
        html.leaf("h2", &[("id", &"runs")], "What was freed");
        match records {
            None => {
                html.leaf("p", &[], "The records of runs cannot be read.");
            }
            Some([]) => {
                html.leaf("p", &[], "No run is on record.");
            }
            Some(records) => {
                chart(html, records);
                table(html, records);
            }
        }
    });
}

/// Draws a bar for each day on which something was freed, as far apart as the days are.
fn chart(html: &mut Html, records: &[AuditRecord]) {
    let mut days: BTreeMap<jiff::civil::Date, u64> = BTreeMap::new();
    for record in records {
        let day = record.began.to_zoned(TimeZone::UTC).date();
        *days.entry(day).or_default() += record.reclaimed_bytes;
    }
    let Some((last, _)) = days.last_key_value() else {
        return;
    };
    let last = *last;
    let most = days.values().copied().max().unwrap_or(0).max(1);
    let view = format!("0 0 {WIDTH} {HEIGHT}");
    let label = "Bytes freed on each day";
    let attributes: [(&str, &dyn std::fmt::Display); 4] = [
        ("class", &"bars"),
        ("viewBox", &view),
        ("role", &"img"),
        ("aria-label", &label),
    ];
    html.element("svg", &attributes, |html| {
        for (day, bytes) in days.iter().rev() {
            let ago = day.until(last).map_or(i32::MAX, |span| span.get_days());
            let Some(place) = usize::try_from(ago).ok().filter(|ago| *ago < DAYS) else {
                continue;
            };
            bar(
                html,
                DAYS - 1 - place,
                *bytes,
                most,
                format_args!("{day}: {}", HumanSize(*bytes)),
            );
        }
    });
}

#[expect(clippy::cast_precision_loss, reason = "a picture has fewer digits")]
fn bar(html: &mut Html, place: usize, bytes: u64, most: u64, title: std::fmt::Arguments<'_>) {
    let step = WIDTH / DAYS as f64;
    let height = (HEIGHT * bytes as f64 / most as f64).max(1.0);
    let [x, y, width, height] = [place as f64 * step, HEIGHT - height, step - 2.0, height]
        .map(|length| format!("{length:.1}"));
    let attributes: [(&str, &dyn std::fmt::Display); 4] =
        [("x", &x), ("y", &y), ("width", &width), ("height", &height)];
    html.element("rect", &attributes, |html| {
        html.leaf("title", &[], title);
    });
}

fn table(html: &mut Html, records: &[AuditRecord]) {
    html.element("table", &[], |html| {
        heads(
            html,
            &["Began", "Namespace", "Result"],
            &["Images", "Freed"],
        );
        html.element("tbody", &[], |html| {
            for record in records.iter().rev().take(ROWS) {
                html.element("tr", &[], |html| {
                    let time = record.began.strftime("%Y-%m-%d %H:%M:%S UTC");
                    html.leaf("th", &[("scope", &"row")], time);
                    html.leaf("td", &[], &record.namespace);
                    html.leaf("td", &[], record.outcome.word());
                    number(html, record.changed);
                    number(html, HumanSize(record.reclaimed_bytes));
                });
            }
        });
    });
}
