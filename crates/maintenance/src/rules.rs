//! A policy in sentences: when it runs, what it removes and what it spares.

use std::time::Duration;

use reclaim_model::{ByteSize, GoDuration, Mode, PolicyPart, Watermark, Watermarks};

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
    let images = if rule.filters.all() {
        "unused images"
    } else {
        "dangling images"
    };
    rules.push(if has_parts(policy) {
        let parts: Vec<&str> = policy.free.iter().map(|part| part.text()).collect();
        format!("frees {}, of {images}", parts.join(", then "))
    } else {
        format!("removes {images}")
    });
    if policy.docker_layers {
        rules.push("frees layers of Docker's images, too".to_owned());
    }
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
    rules.extend(limits(policy));
    if policy.mode == Mode::DryRun {
        rules.push("only reports what it would remove".to_owned());
    }
    rules
}

/// Whether a policy frees anything but whole images.
fn has_parts(policy: &Policy) -> bool {
    policy.free != [PolicyPart::Images]
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

/// Returns the filters that an image has to match, one line each.
fn filters(policy: &Policy) -> Vec<String> {
    let filters = &policy.rule.filters;
    let of_docker = ["label", "label!", "until"].into_iter().flat_map(|key| {
        let values = filters.docker.values(key);
        values.map(move |value| format!("filter {key}={value}"))
    });
    let references = filters.images.references.iter();
    let digests = filters.images.digests.iter();
    let larger = Some(filters.images.larger_than).filter(|bytes| *bytes > 0);
    of_docker
        .chain(references.map(|pattern| format!("filter reference={pattern}")))
        .chain(digests.map(|digest| format!("filter digest={digest}")))
        .chain(larger.map(|bytes| format!("filter larger-than={}", ByteSize(bytes))))
        .collect()
}

/// Returns what a policy keeps, and how much it removes at once, one line each.
fn limits(policy: &Policy) -> Vec<String> {
    let rule = &policy.rule;
    let duration = |duration: Duration| (!duration.is_zero()).then_some(GoDuration(duration));
    let size = |bytes: Option<u64>| bytes.filter(|bytes| *bytes > 0).map(ByteSize);
    let number = |number: usize| Some(number).filter(|number| *number > 0);
    let idle = rule.unused_for.max(rule.filters.images.unused_for);
    let lines = [
        duration(rule.min_age).map(|age| format!("keeps images pulled or used within {age}")),
        duration(idle).map(|idle| format!("keeps images used within {idle}")),
        duration(policy.max_unused.unwrap_or_default())
            .map(|idle| format!("removes images unused for {idle} even without pressure")),
        number(rule.keep_newest)
            .map(|number| format!("keeps the newest {number} of each repository")),
        (!rule.last_copies).then(|| {
            let asks = if policy.ask_registry {
                ", and asks their registries"
            } else {
                ""
            };
            format!("keeps images that no registry is known to have{asks}")
        }),
        number(policy.max_images.unwrap_or_default()).map(|number| {
            let verb = if has_parts(policy) {
                "removes or slims"
            } else {
                "removes"
            };
            let plural = if number == 1 { "" } else { "s" };
            format!("{verb} at most {number} image{plural} per run")
        }),
        size(policy.max_bytes).map(|bytes| format!("frees at most {bytes} per run")),
        duration(policy.undo_window).map(|window| format!("holds removed images for {window}")),
    ];
    lines.into_iter().flatten().collect()
}
