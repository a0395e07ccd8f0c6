//! Projects and their images, for people.

use reclaim_model::{HumanSize, Mode, Named, NotRemoved, ProjectUsage, Row};

use super::{Ids, add_line, amount, count, table, total};
use crate::commands::project::prune::Outcome;

/// Renders what came of each image, by service.
pub(crate) fn outcome(outcome: &Outcome<'_>, ids: Ids) -> String {
    let mut text = String::new();
    let mut images: Vec<&Named> = outcome.named.iter().collect();
    images.sort_by_key(|it| &it.services);
    if !images.is_empty() {
        let mut table = table(["SERVICE", "IMAGE", "RESULT"]);
        for image in &images {
            table.add_row([
                image.services.join(", "),
                image.name.clone(),
                result(image, outcome.mode).to_owned(),
            ]);
        }
        add_line(&mut text, format_args!("{}\n", table.trim_fmt()));
    }
    let Some(report) = outcome.report else {
        if outcome.mode == Mode::DryRun {
            text.push_str("nothing was removed (dry run)\n");
        }
        return text;
    };
    if outcome.mode == Mode::Apply {
        let bytes = total(report.reclaimed.0);
        add_line(&mut text, format_args!("Total reclaimed space: {bytes}"));
        return text;
    }
    let estimate = report.estimate.0;
    let names = count(report.removed.len(), "name");
    let bytes = total(estimate);
    let parts = amount(estimate);
    let line = format_args!("Would remove {names} and reclaim {bytes}: {parts}");
    add_line(&mut text, line);
    super::add_beside(&mut text, report, ids);
    text.push_str("nothing was removed (dry run)\n");
    text
}

fn result(image: &Named, mode: Mode) -> &'static str {
    let is_deleted = |rows: &[Row]| rows.iter().any(|row| matches!(row, Row::Deleted(_)));
    match (&image.outcome, mode) {
        (Ok(removal), Mode::Apply) if is_deleted(&removal.rows) => "deleted",
        (Ok(_), Mode::Apply) => "untagged",
        (Ok(removal), Mode::DryRun) if is_deleted(&removal.rows) => "would be deleted",
        // A Docker Engine tells only when it has done it.
        (Ok(removal), Mode::DryRun) if removal.rows.is_empty() => "would be removed",
        (Ok(_), Mode::DryRun) => "would be untagged",
        (Err(NotRemoved::Conflict(_)), _) => "in use",
        (Err(NotRemoved::NoSuchImage(_)), _) => "not there",
        (Err(_), _) => "failed",
    }
}

/// Renders the list of projects.
pub(crate) fn projects(projects: &[ProjectUsage]) -> String {
    let heads = [
        "PROJECT",
        "SERVICES",
        "CONTAINERS",
        "IMAGES",
        "SIZE",
        "RMI LOCAL",
    ];
    let mut table = table(heads);
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
    format!("{}\n", table.trim_fmt())
}
