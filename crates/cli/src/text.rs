//! Renders output for people, in docker's form where docker has one. It prints nothing.

pub(crate) mod audit;
pub(crate) mod check;
pub(crate) mod df;
pub(crate) mod images;
mod lines;
pub(crate) mod named;
pub(crate) mod namespaces;
mod not_freed;
pub(crate) mod policy;
pub(crate) mod project;
pub(crate) mod report;
pub(crate) mod restore;
mod slim;
pub(crate) mod style;
pub(crate) mod trial;
mod truncation;
pub(crate) mod why;

use jiff::{SignedDuration, Timestamp};
use reclaim_model::{Amount, DANGLING_PREFIX, Digest, HeldRun, HumanSize, familiar_name};

use lines::Table;
pub(crate) use lines::Text;
pub(crate) use truncation::Truncation;

/// Renders warnings, one message each.
pub(crate) fn warnings<'w>(
    warnings: impl IntoIterator<Item = &'w String>,
    trunc: Truncation,
) -> Vec<String> {
    let warnings = warnings.into_iter();
    warnings
        .map(|warning| format!("warning: {}", trunc.text(warning)))
        .collect()
}

/// Renders the bytes of an amount, with "at least" if some of it could not be measured.
pub(crate) fn total(amount: Amount) -> String {
    at_least(amount, amount.total_bytes())
}

fn at_least(amount: Amount, bytes: u64) -> String {
    let bytes = HumanSize(bytes);
    if amount.unmeasured == 0 {
        bytes.to_string()
    } else {
        format!("at least {bytes}")
    }
}

fn amount(amount: Amount) -> String {
    let blobs = count(amount.blobs, "blob");
    let snapshots = count(amount.snapshots, "snapshot");
    let content = HumanSize(amount.content_bytes);
    let unpacked = at_least(amount, amount.snapshot_bytes);
    format!("{blobs} of {content}, {snapshots} of {unpacked}")
}

/// Renders the prune runs that hold something.
pub(crate) fn history(runs: &[HeldRun]) -> Text {
    let mut table = Table::new(["RUN", "STARTED", "HELD UNTIL", "IMAGES", "LABELS"]);
    let time = |time: Option<Timestamp>| time.map_or("unknown".to_owned(), |at| format!("{at:.0}"));
    for run in runs {
        table.add_row([
            run.run.to_string(),
            time(run.started),
            time(run.held_until),
            run.images.len().to_string(),
            run.labels.to_string(),
        ]);
    }
    Text::of(&table)
}

/// Returns Docker's short form of a name; `<none>` for the name under which Docker
/// stores an image without a name.
fn shown_name(name: &str, target: &Digest) -> String {
    if name.strip_prefix(DANGLING_PREFIX) == Some(&target.to_string()) {
        return "<none>".to_owned();
    }
    familiar_name(name)
}

pub(crate) fn count(number: usize, noun: &str) -> String {
    match number {
        1 => format!("1 {noun}"),
        _ => format!("{number} {noun}s"),
    }
}

/// Renders an age as docker does, such as `3 weeks ago`.
///
/// Source: docker's go-units `HumanDuration`.
fn age(created: Option<Timestamp>, now: Timestamp) -> String {
    let Some(created) = created else {
        return "unknown".to_owned();
    };
    format!("{} ago", human_duration(now.duration_since(created)))
}

fn human_duration(duration: SignedDuration) -> String {
    const DAY: i64 = 24;
    let seconds = duration.as_secs();
    let minutes = duration.as_mins();
    // Rounded to the nearest hour.
    let hours = (minutes + 30) / 60;
    match (seconds, minutes, hours) {
        (..1, _, _) => "Less than a second".to_owned(),
        (1, _, _) => "1 second".to_owned(),
        (..60, _, _) => format!("{seconds} seconds"),
        (_, 1, _) => "About a minute".to_owned(),
        (_, ..60, _) => format!("{minutes} minutes"),
        (_, _, 1) => "About an hour".to_owned(),
        (_, _, ..48) => format!("{hours} hours"),
        (_, _, hours) if hours < DAY * 7 * 2 => format!("{} days", hours / DAY),
        (_, _, hours) if hours < DAY * 30 * 2 => format!("{} weeks", hours / DAY / 7),
        (_, _, hours) if hours < DAY * 365 * 2 => format!("{} months", hours / DAY / 30),
        (_, _, hours) => format!("{} years", hours / DAY / 365),
    }
}
