//! What policies would have done.

use jiff::SignedDuration;
use jiff::Timestamp;
use reclaim_maintenance::{FillPoint, PolicyTrial, TriedFilesystem, TriedImage};
use reclaim_model::HumanSize;

use super::{Table, Text, count, human_duration, shown_name};

/// How many runs are listed.
const MAX_RUNS: usize = 20;

/// How many of the images that would have been pulled again are listed.
const MAX_IMAGES: usize = 20;

/// The columns and rows of a plot.
const WIDTH: usize = 60;
const HEIGHT: usize = 10;

/// Renders a trial: a summary, a plot for each filesystem, runs, and images.
pub(crate) fn trial(trial: &PolicyTrial, is_verbose: bool) -> Text {
    let mut text = Text::default();
    for line in summary(trial) {
        text.line(line);
    }
    for filesystem in &trial.filesystems {
        text.blank();
        plot(&mut text, filesystem, &trial.images);
    }
    if !trial.runs.is_empty() {
        text.blank();
        text.append(&runs(trial));
    }
    let listed: Vec<&TriedImage> = if is_verbose {
        trial.images.iter().collect()
    } else {
        let again = trial.images.iter().filter(|it| it.pulled_again.is_some());
        again.take(MAX_IMAGES).collect()
    };
    if !listed.is_empty() {
        text.blank();
        text.append(&images(&listed));
        if !is_verbose && trial.pulled_again > listed.len() {
            let more = trial.pulled_again - listed.len();
            text.line(format_args!("and {more} more; all with --verbose"));
        }
    }
    if !trial.notes.is_empty() {
        text.blank();
    }
    for note in &trial.notes {
        text.line(format_args!("note: {note}"));
    }
    text
}

/// Returns the results of a trial, one line each.
pub(crate) fn summary(trial: &PolicyTrial) -> [String; 4] {
    let names: Vec<String> = trial.policies.iter().map(ToString::to_string).collect();
    let recorded = match (trial.since, trial.until) {
        (Some(since), Some(until)) => format!(
            "recorded: since {since:.0}, for {}",
            human_duration(until.duration_since(since)).to_lowercase()
        ),
        (_, _) => "recorded: nothing yet; the daemon begins when it starts, and keeps four weeks"
            .to_owned(),
    };
    [
        format!("tried: {}", names.join(", ")),
        recorded,
        format!(
            "would have removed {}, freeing {}",
            count(trial.removed_images, "image"),
            HumanSize(trial.freed_bytes)
        ),
        format!(
            "would have been pulled again: {}, {}",
            count(trial.pulled_again, "image"),
            HumanSize(trial.pulled_bytes)
        ),
    ]
}

fn runs(trial: &PolicyTrial) -> Text {
    let mut table = Table::new(["RUN", "POLICY", "OUTCOME", "IMAGES", "FREED"]);
    table.align_right([3, 4]);
    let first = trial.runs.len().saturating_sub(MAX_RUNS);
    for run in &trial.runs[first..] {
        table.add_row([
            format!("{:.0}", run.at),
            run.policy.to_string(),
            run.outcome.to_string(),
            run.images.to_string(),
            HumanSize(run.bytes).to_string(),
        ]);
    }
    let mut text = Text::of(&table);
    if first > 0 {
        text.line(format_args!("and {first} earlier; all with --format json"));
    }
    text
}

fn images(images: &[&TriedImage]) -> Text {
    let mut table = Table::new([
        "REMOVED",
        "IMAGE",
        "NAMESPACE",
        "UNUSED FOR",
        "SIZE",
        "PULLED AGAIN",
    ]);
    table.align_right([4]);
    for image in images {
        table.add_row(row_of(image));
    }
    Text::of(&table)
}

/// Returns a removal as a row: when, image, namespace, for how long it was unused, size, and when it was
/// pulled again.
pub(crate) fn row_of(image: &TriedImage) -> [String; 6] {
    let name = image.names.first().map_or("", String::as_str);
    let name = shown_name(name, &image.target);
    let more = image.names.len().saturating_sub(1);
    let unused = i64::try_from(image.unused_seconds).unwrap_or(i64::MAX);
    let again = image.pulled_again.map(|at| {
        let later = at.duration_since(image.at);
        format!("{} later", human_duration(later).to_lowercase())
    });
    [
        format!("{:.0}", image.at),
        match more {
            0 => name,
            _ => format!("{name} (+{more})"),
        },
        image.namespace.to_string(),
        human_duration(SignedDuration::from_secs(unused)).to_lowercase(),
        HumanSize(image.bytes).to_string(),
        again.unwrap_or_else(|| "no".to_owned()),
    ]
}

/// The used part of a filesystem in each column of a plot, in rows from the bottom; `None` without a
/// measurement.
#[derive(Debug, Default, Clone, Copy)]
struct Column {
    recorded: Option<usize>,
    tried: Option<usize>,
    is_removal: bool,
}

/// Draws how full a filesystem was and would have been, with the marks.
fn plot(text: &mut Text, filesystem: &TriedFilesystem, images: &[TriedImage]) {
    let place = filesystem.mount_point.display();
    text.line(format_args!(
        "{place} of {}: `*` as tried, `.` as it was, `H` and `L` the marks, `v` removals",
        HumanSize(filesystem.total_bytes)
    ));
    let (Some(first), Some(last)) = (filesystem.points.first(), filesystem.points.last()) else {
        return;
    };
    let columns = columns(filesystem, images);
    let mark = |left: u64| row(filesystem.total_bytes, left);
    let high: Vec<usize> = filesystem
        .marks
        .iter()
        .map(|it| mark(it.high_left_bytes))
        .collect();
    let low: Vec<usize> = filesystem
        .marks
        .iter()
        .map(|it| mark(it.low_left_bytes))
        .collect();
    for level in (0..HEIGHT).rev() {
        let background = if high.contains(&level) {
            'H'
        } else if low.contains(&level) {
            'L'
        } else {
            ' '
        };
        let cells = columns.iter().map(|column| {
            if column.tried == Some(level) {
                '*'
            } else if column.recorded == Some(level) {
                '.'
            } else {
                background
            }
        });
        let cells: String = cells.collect();
        let percent = (level + 1) * 100 / HEIGHT;
        text.line(format_args!("{percent:>4}% |{}", cells.trim_end()));
    }
    let removals = columns.iter();
    let removals = removals.map(|column| if column.is_removal { 'v' } else { '-' });
    text.line(format_args!("      +{}", removals.collect::<String>()));
    let (from, to) = (format!("{:.0}", first.at), format!("{:.0}", last.at));
    let gap = WIDTH.saturating_sub(from.len());
    text.line(format_args!("       {from}{to:>gap$}"));
}

fn columns(filesystem: &TriedFilesystem, images: &[TriedImage]) -> Vec<Column> {
    let mut columns = vec![Column::default(); WIDTH];
    let points = &filesystem.points;
    let (Some(first), Some(last)) = (points.first(), points.last()) else {
        return columns;
    };
    let place = |at: Timestamp| {
        let whole = last.at.duration_since(first.at).as_secs().max(1);
        let passed = at.duration_since(first.at).as_secs().clamp(0, whole);
        let place = i128::from(passed) * (WIDTH as i128 - 1) / i128::from(whole);
        usize::try_from(place).unwrap_or(0)
    };
    for FillPoint {
        at,
        recorded_left_bytes,
        tried_left_bytes,
    } in points
    {
        let column = &mut columns[place(*at)];
        let total = filesystem.total_bytes;
        column.recorded = column.recorded.max(Some(row(total, *recorded_left_bytes)));
        column.tried = column.tried.max(Some(row(total, *tried_left_bytes)));
    }
    for image in images {
        columns[place(image.at)].is_removal = true;
    }
    columns
}

/// Returns the row of a plot for what is left.
fn row(total: u64, left: u64) -> usize {
    let used = u128::from(total.saturating_sub(left)) * HEIGHT as u128;
    let row = used / u128::from(total.max(1));
    usize::try_from(row).unwrap_or(HEIGHT).min(HEIGHT - 1)
}
