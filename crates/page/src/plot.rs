//! How full filesystems were over time, as a picture and as a table.

use std::fmt::Display;

use jiff::Timestamp;
use reclaim_model::HumanSize;

use crate::html::Html;
use crate::usage::{heads, number};

/// The size of a plot in its own units.
const WIDTH: f64 = 1200.0;
const HEIGHT: f64 = 220.0;

/// How many rows the table of a plot has at most.
const ROWS: usize = 40;

/// The classes of lines in the style sheet, in their order.
const LINES: [&str; 2] = ["line-1", "line-2"];

/// How full a filesystem was over time.
#[derive(Debug, Clone, Default)]
pub struct FillPlot {
    /// Where it is mounted.
    pub mount_point: String,
    /// All of its bytes.
    pub total_bytes: u64,
    /// At most two lines.
    pub lines: Vec<FillLine>,
    /// Marks to compare with.
    pub marks: Vec<PlotMark>,
    /// When something was removed.
    pub removals: Vec<Timestamp>,
    /// A sentence about it.
    pub note: String,
}

/// A line of a plot.
#[derive(Debug, Clone, Default)]
pub struct FillLine {
    /// What it shows.
    pub name: String,
    /// Times, and the bytes that were left, oldest first.
    pub points: Vec<(Timestamp, u64)>,
}

/// A mark that a filesystem is compared with.
#[derive(Debug, Clone, Default)]
pub struct PlotMark {
    /// Its name.
    pub name: String,
    /// The bytes that are left at it.
    pub left_bytes: u64,
}

/// The times of a plot.
#[derive(Clone, Copy)]
struct Span {
    first: Timestamp,
    last: Timestamp,
}

impl Span {
    fn of(plot: &FillPlot) -> Option<Self> {
        let times = || plot.lines.iter().flat_map(|line| &line.points);
        let times = || times().map(|(at, _)| *at);
        Some(Self {
            first: times().min()?,
            last: times().max()?,
        })
    }

    fn x(self, at: Timestamp) -> f64 {
        let whole = self.last.duration_since(self.first).as_secs_f64().max(1.0);
        let passed = at.duration_since(self.first).as_secs_f64();
        WIDTH * (passed / whole).clamp(0.0, 1.0)
    }
}

/// Returns the height of what is left.
#[expect(clippy::cast_precision_loss, reason = "a picture has fewer digits")]
fn y(total: u64, left: u64) -> f64 {
    HEIGHT * (left.min(total) as f64 / total.max(1) as f64)
}

/// Returns the used part in percent.
fn percent(total: u64, left: u64) -> u128 {
    u128::from(total.saturating_sub(left)) * 100 / u128::from(total.max(1))
}

fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

/// Draws a plot, and writes the same as a table.
pub(crate) fn plot(html: &mut Html, plot: &FillPlot) {
    let (place, total) = (&plot.mount_point, HumanSize(plot.total_bytes));
    html.leaf("h3", &[], format_args!("{place}, {total}"));
    if !plot.note.is_empty() {
        html.leaf("p", &[], &plot.note);
    }
    let Some(span) = Span::of(plot) else {
        return;
    };
    html.element("ul", &[("class", &"legend")], |html| {
        for (line, class) in plot.lines.iter().zip(LINES) {
            html.element("li", &[], |html| {
                let class = format!("swatch {class}");
                html.leaf("span", &[("class", &class), ("aria-hidden", &"true")], "");
                html.text(&line.name);
            });
        }
    });
    picture(html, plot, span);
    html.element("p", &[("class", &"note")], |html| {
        html.text(format_args!(
            "From {} to {}; the top is full.",
            time(span.first),
            time(span.last)
        ));
    });
    html.element("details", &[], |html| {
        html.leaf("summary", &[], "The same as a table");
        table(html, plot);
    });
}

fn picture(html: &mut Html, plot: &FillPlot, span: Span) {
    let view = format!("0 0 {WIDTH} {HEIGHT}");
    let label = format!("How full {} is over time", plot.mount_point);
    let attributes: [(&str, &dyn Display); 4] = [
        ("class", &"plot"),
        ("viewBox", &view),
        ("role", &"img"),
        ("aria-label", &label),
    ];
    html.element("svg", &attributes, |html| {
        for mark in &plot.marks {
            let y = format!("{:.1}", y(plot.total_bytes, mark.left_bytes));
            let right = format!("{WIDTH}");
            let attributes: [(&str, &dyn Display); 5] = [
                ("class", &"mark"),
                ("x1", &"0"),
                ("x2", &right),
                ("y1", &y),
                ("y2", &y),
            ];
            html.leaf("line", &attributes, "");
            html.leaf("text", &[("x", &"4"), ("y", &y)], &mark.name);
        }
        for at in &plot.removals {
            let x = format!("{:.1}", span.x(*at));
            let bottom = format!("{HEIGHT}");
            let top = format!("{:.1}", HEIGHT - 12.0);
            let attributes: [(&str, &dyn Display); 5] = [
                ("class", &"removal"),
                ("x1", &x),
                ("x2", &x),
                ("y1", &top),
                ("y2", &bottom),
            ];
            html.leaf("line", &attributes, "");
        }
        for (line, class) in plot.lines.iter().zip(LINES) {
            let points: Vec<String> = line
                .points
                .iter()
                .map(|(at, left)| {
                    let (x, y) = (span.x(*at), y(plot.total_bytes, *left));
                    format!("{x:.1},{y:.1}")
                })
                .collect();
            let points = points.join(" ");
            html.element(
                "polyline",
                &[("class", &class), ("points", &points)],
                |html| {
                    html.leaf("title", &[], &line.name);
                },
            );
        }
    });
}

fn table(html: &mut Html, plot: &FillPlot) {
    let Some(first) = plot.lines.first() else {
        return;
    };
    html.element("table", &[], |html| {
        heads(html, &["Time"], &[]);
        html.element("tbody", &[], |html| {
            html.element("tr", &[], |html| {
                html.leaf("th", &[("scope", &"row")], "");
                for line in &plot.lines {
                    number(html, &line.name);
                }
            });
            let step = first.points.len().div_ceil(ROWS).max(1);
            for (n, (at, _)) in first.points.iter().enumerate().step_by(step) {
                html.element("tr", &[], |html| {
                    html.leaf("th", &[("scope", &"row")], time(*at));
                    for line in &plot.lines {
                        match line.points.get(n) {
                            Some((_, left)) => number(
                                html,
                                format_args!(
                                    "{}% used, {} left",
                                    percent(plot.total_bytes, *left),
                                    HumanSize(*left)
                                ),
                            ),
                            None => number(html, ""),
                        }
                    }
                });
            }
            for mark in &plot.marks {
                html.element("tr", &[], |html| {
                    html.leaf("th", &[("scope", &"row")], &mark.name);
                    let percent = percent(plot.total_bytes, mark.left_bytes);
                    let left = HumanSize(mark.left_bytes);
                    number(html, format_args!("{percent}% used, {left} left"));
                });
            }
        });
    });
}

/// Writes how full each filesystem was and will be.
pub(crate) fn section(html: &mut Html, plots: &[FillPlot]) {
    if plots.is_empty() {
        return;
    }
    html.element("section", &[("aria-labelledby", &"filling")], |html| {
        html.leaf("h2", &[("id", &"filling")], "How full the disks are");
        for found in plots {
            plot(html, found);
        }
    });
}
