//! A policy in sentences: when it runs, what it removes and what it spares.

use std::time::Duration;

use reclaim_model::{BuildHistory, ByteSize, GoDuration, Mode, Watermark, Watermarks};

use crate::policy::{Policy, Schedule};

/// Returns the effective rules of a policy, one line each.
pub(crate) fn rules(policy: &Policy) -> Vec<String> {
    let rule = &policy.rule;
    let mut rules = vec![match &policy.schedule {
        Schedule::OnDemand => "runs on demand".to_owned(),
        Schedule::Interval { every, jitter } if jitter.is_zero() => {
            format!("runs every {}", GoDuration(*every))
        }
        Schedule::Interval { every, jitter } => {
            format!(
                "runs every {} and up to {} later",
                GoDuration(*every),
                GoDuration(*jitter)
            )
        }
        Schedule::Cron(cron) => format!("runs at {cron}"),
    }];
    rules.push(if rule.filters.all() {
        "removes unused images".to_owned()
    } else {
        "removes dangling images".to_owned()
    });
    let pressure = &policy.pressure;
    if let Some(marks) = pressure.bytes {
        rules.push(between("bytes", marks));
    }
    if let Some(marks) = pressure.inodes {
        rules.push(between("inodes", marks));
    }
    if let Some(max) = pressure.max_used {
        rules.push(format!(
            "starts above {} of content and snapshots",
            ByteSize(max)
        ));
    }
    if pressure.reserved > 0 {
        rules.push(format!(
            "always leaves {} of content and snapshots",
            ByteSize(pressure.reserved)
        ));
    }
    rules.extend(filters(policy));
    if policy.mode == Mode::DryRun {
        rules.push("only reports what it would remove".to_owned());
    }
    rules
}

fn between(what: &str, marks: Watermarks) -> String {
    let mark = |mark| match mark {
        Watermark::Used(percent) => format!("{percent}% used"),
        Watermark::Left(left) if what == "bytes" => {
            format!("{} left", ByteSize(left))
        }
        Watermark::Left(left) => format!("{left} left"),
    };
    format!(
        "starts above {} ({what}), stops at {}",
        mark(marks.high()),
        mark(marks.low())
    )
}

/// Returns the filters and limits of a policy, one line each.
fn filters(policy: &Policy) -> Vec<String> {
    let rule = &policy.rule;
    let filters = &rule.filters;
    let mut lines = Vec::new();
    for key in ["label", "label!", "until"] {
        let values = filters.docker.values(key);
        lines.extend(values.map(|value| format!("filter {key}={value}")));
    }
    lines.extend(
        filters
            .references
            .iter()
            .map(|it| format!("filter reference={it}")),
    );
    lines.extend(
        filters
            .digests
            .iter()
            .map(|it| format!("filter digest={it}")),
    );
    let mut add = |is_set: bool, line: String| {
        if is_set {
            lines.push(line);
        }
    };
    let is_some = |duration: Duration| !duration.is_zero();
    let larger = filters.larger_than;
    add(
        larger > 0,
        format!("filter larger-than={}", ByteSize(larger)),
    );
    add(
        is_some(rule.min_age),
        format!(
            "keeps images pulled or used within {}",
            GoDuration(rule.min_age)
        ),
    );
    let idle = rule.unused_for.max(filters.unused_for);
    add(
        is_some(idle),
        format!("keeps images used within {}", GoDuration(idle)),
    );
    let max_unused = policy.max_unused.unwrap_or_default();
    add(
        is_some(max_unused),
        format!(
            "removes images unused for {} even without pressure",
            GoDuration(max_unused)
        ),
    );
    let newest = rule.keep_newest;
    add(
        newest > 0,
        format!("keeps the newest {newest} of each repository"),
    );
    add(
        !rule.last_copies,
        "keeps images that no registry is known to have".to_owned(),
    );
    let images = policy.max_images.unwrap_or_default();
    add(
        images > 0,
        format!("removes at most {} per run", images_text(images)),
    );
    let bytes = policy.max_bytes.unwrap_or_default();
    add(
        bytes > 0,
        format!("frees at most {} per run", ByteSize(bytes)),
    );
    add(
        is_some(policy.undo_window),
        format!(
            "holds removed images for {}",
            GoDuration(policy.undo_window)
        ),
    );
    add(
        policy.history == BuildHistory::Unpin,
        "releases unpacked layers that only build history holds".to_owned(),
    );
    lines
}

fn images_text(number: usize) -> String {
    match number {
        1 => "1 image".to_owned(),
        _ => format!("{number} images"),
    }
}
