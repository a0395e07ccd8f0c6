//! Projects and their images.

use reclaim_model::{HumanSize, Mode, Named, NotRemoved, ProjectUsage, Report};

use super::report::add_not_counted;
use super::{Table, Text, Truncation, amount, count, total};

/// Renders the result for each image, by service, and what the run freed. A Docker Engine returns
/// no report.
pub(crate) fn removals(
    images: &[Named],
    report: Option<&Report>,
    mode: Mode,
    trunc: Truncation,
) -> Text {
    let mut text = Text::default();
    let mut images: Vec<&Named> = images.iter().collect();
    images.sort_by_key(|image| &image.services);
    if !images.is_empty() {
        let mut table = Table::new(["SERVICE", "IMAGE", "RESULT"]);
        for image in &images {
            table.add_row([
                image.services.join(", "),
                image.name.clone(),
                result(image, mode).to_owned(),
            ]);
        }
        text.table(&table);
        text.blank();
    }
    let Some(report) = report else {
        if mode == Mode::DryRun {
            text.line("nothing was removed (dry run)");
        }
        return text;
    };
    if mode == Mode::Apply {
        let bytes = total(report.reclaimed.0);
        text.line(format_args!("Total reclaimed space: {bytes}"));
        return text;
    }
    let estimate = report.estimate.0;
    let names = count(report.removed.len(), "name");
    let bytes = total(estimate);
    let parts = amount(estimate);
    let line = format_args!("Would remove {names} and reclaim {bytes}: {parts}");
    text.line(line);
    add_not_counted(&mut text, report, trunc);
    text.line("nothing was removed (dry run)");
    text
}

fn result(image: &Named, mode: Mode) -> &'static str {
    let removal = &image.removal;
    let (is_deleted, is_untagged) = (!removal.deleted.is_empty(), !removal.untagged.is_empty());
    match (&image.error, mode) {
        (None, Mode::Apply) if is_deleted => "deleted",
        (None, Mode::Apply) => "untagged",
        (None, Mode::DryRun) if is_deleted => "would be deleted",
        (None, Mode::DryRun) if is_untagged => "would be untagged",
        // A Docker Engine reports what it did only after it did it.
        (None, Mode::DryRun) => "would be removed",
        (Some(NotRemoved::Conflict(_)), _) => "in use",
        (Some(NotRemoved::NoSuchImage(_)), _) => "not there",
        (Some(_), _) => "failed",
    }
}

/// Renders the list of projects.
pub(crate) fn projects(projects: &[ProjectUsage]) -> Text {
    let heads = [
        "PROJECT",
        "SERVICES",
        "CONTAINERS",
        "IMAGES",
        "SIZE",
        "RMI LOCAL",
    ];
    let mut table = Table::new(heads);
    for usage in projects {
        let services: Vec<&str> = usage.services.iter().map(String::as_str).collect();
        table.add_row([
            usage.project.to_string(),
            services.join(", "),
            usage.containers.to_string(),
            usage.images.len().to_string(),
            HumanSize(usage.bytes()).to_string(),
            total(usage.rmi_local),
        ]);
    }
    Text::of(&table)
}
