//! Reports of slims: what images lose while their records stay, and what it costs to have it again.

use reclaim_model::{KeepReason, Kept, Mode, Part, Report};

use super::report::{add_not_counted, kept_table, why_kept};
use super::style::Style;
use super::{Table, Text, Truncation, amount, count, shown_name, total};

/// Renders what a run freed.
pub(super) fn slimmed(report: &Report, trunc: Truncation) -> Text {
    let mut text = Text::default();
    if !report.cuts.is_empty() {
        text.line("Slimmed:");
        text.append(&parts(report, trunc));
        text.blank();
    }
    let bytes = total(report.reclaimed.0);
    text.line(format_args!("Total reclaimed space: {bytes}"));
    text
}

/// Renders what a run would free, and why the other images stay as they are.
pub(super) fn dry_run(report: &Report, trunc: Truncation) -> Text {
    let mut text = Text::default();
    if !report.cuts.is_empty() {
        text.line("Would slim:");
        text.append(&parts(report, trunc));
        text.blank();
    }
    let mut kept = relevant(report).peekable();
    if kept.peek().is_some() {
        text.line("Would stay whole:");
        text.table(&kept_table(kept, trunc));
        text.blank();
    }
    let estimate = report.estimate.0;
    let images = count(report.slimmed.len(), "image");
    let bytes = total(estimate);
    text.styled_line(
        Style::Amount,
        format_args!(
            "Would slim {images} and reclaim {bytes}: {}",
            amount(estimate)
        ),
    );
    add_not_counted(&mut text, report, trunc);
    for cost in costs(report) {
        text.line(cost);
    }
    text.line("nothing was freed (dry run)");
    text
}

/// Renders the parts that each image loses, and build history, which has no images.
pub(super) fn parts(report: &Report, trunc: Truncation) -> Text {
    let mut text = Text::default();
    if !report.slimmed.is_empty() {
        let mut table = Table::new(["IMAGE", "TARGET", "PARTS"]);
        for slimmed in &report.slimmed {
            let parts: Vec<&str> = slimmed.parts.keys().map(|part| part.text()).collect();
            table.add_row([
                shown_name(&slimmed.name, &slimmed.target),
                trunc.digest(&slimmed.target),
                parts.join(", "),
            ]);
        }
        text.table(&table);
    }
    let cuts = report.cuts.iter();
    let history = cuts.filter(|cut| cut.part == Part::BuildHistory).count();
    if history > 0 {
        let configs = count(history, "config");
        text.line(format_args!("build history: unpacked layers of {configs}"));
    }
    text
}

/// Returns what it costs to have the freed parts again, one line for each part.
pub(super) fn costs(report: &Report) -> Vec<&'static str> {
    let cost = |part: &Part| match part {
        Part::BuildHistory => None,
        Part::Snapshots => Some(
            "Snapshots: the next container of an image unpacks them again, which needs room and no \
             network",
        ),
        Part::Layers => Some(
            "Layers: a push or an export needs them, and a pull does not fetch them while the image is \
             unpacked",
        ),
        Part::Platforms => Some("Platforms: a pull of the image for a platform fetches it again"),
    };
    let is_freed = |part: &&Part| report.cuts.iter().any(|cut| cut.part == **part);
    Part::ALL.iter().filter(is_freed).filter_map(cost).collect()
}

/// Returns messages for people who expected more: why images that they named stay whole, and which
/// option frees layers of Docker's images.
pub(super) fn advice(report: &Report, trunc: Truncation) -> Vec<String> {
    let is_listed = report.mode == Mode::DryRun || report.named.is_empty();
    let kept = relevant(report).filter(|_| !is_listed);
    let kept = kept.map(|kept| format!("not slimmed: {}: {}", kept.name, why_kept(kept, trunc)));
    let mut lines: Vec<String> = kept.collect();
    if relevant(report).any(|kept| kept.reason == KeepReason::DockerLayers) {
        lines.push(
            "hint: --docker-layers frees layers of Docker's images, too; `docker save` then leaves out \
             what is missing, without an error, and `docker push` may fail"
                .to_owned(),
        );
    }
    if relevant(report).any(|kept| kept.reason == KeepReason::RegistryMirror) {
        lines.push(
            "hint: --mirrored-layers frees them, too; the mirror can then no longer serve them"
                .to_owned(),
        );
    }
    lines
}

/// Returns the images that the request is about and that stay whole.
fn relevant(report: &Report) -> impl Iterator<Item = &Kept> {
    let kept = report.kept.iter();
    kept.filter(|kept| kept.reason != KeepReason::NotNamed)
}
