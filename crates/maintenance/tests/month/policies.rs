//! Random policies, of kinds that occur in practice.

use std::collections::BTreeSet;
use std::time::Duration;

use reclaim_maintenance::{Cron, Policy, Schedule};
use reclaim_model::{Mode, PolicyPart, Protection, RuleFilters, Watermarks};
use reclaim_testkit::Dice;

use crate::host::NAMESPACES;
use crate::registry::Registry;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

const LINES: [&str; 5] = [
    "0 3 * * *",
    "30 2 * * *",
    "0 */2 * * *",
    "15 */6 * * 1-5",
    "0 12 * * 0",
];

const ZONES: [&str; 3] = ["UTC", "Europe/Vienna", "America/New_York"];

/// Returns the policies of a configuration.
pub(crate) fn policies(dice: &mut Dice, registry: &Registry, total: u64) -> Vec<Policy> {
    let n_policies = dice.between(1, 3);
    let made = (0..n_policies).map(|n| policy(dice, registry, total, &format!("p{n}")));
    made.collect()
}

/// Returns a random protection.
pub(crate) fn protection(dice: &mut Dice, registry: &Registry) -> Protection {
    let mut protection = Protection::default();
    if dice.percent(40) {
        let image = dice.pick(&registry.images);
        let pattern = format!("docker.io/library/{}:*", image.repository);
        protection
            .references
            .push(pattern.parse().expect("a pattern"));
    }
    if dice.percent(40) {
        let image = dice.pick(&registry.images);
        protection.digests = BTreeSet::from([image.digest()]);
    }
    if dice.percent(10) {
        let first = NAMESPACES[0].parse().expect("a name");
        protection.namespaces.insert(first);
    }
    protection
}

fn policy(dice: &mut Dice, registry: &Registry, total: u64, name: &str) -> Policy {
    let mut policy = Policy::of_name(name.parse().expect("a name"));
    let namespaces = NAMESPACES.map(|it| it.parse().expect("a name"));
    let mut namespaces = Vec::from(namespaces);
    if dice.percent(50) {
        namespaces.reverse();
    }
    namespaces.truncate(dice.between(1, 2));
    policy.namespaces = namespaces;
    rule(dice, &mut policy);
    let is_pressed = dice.percent(50);
    if is_pressed {
        pressure(dice, total, &mut policy);
    }
    if !is_pressed && dice.percent(15) {
        policy.pressure.reserved = total / 100 * dice.between(1, 60) as u64;
    }
    policy.max_unused = dice
        .percent(if is_pressed { 35 } else { 10 })
        .then(|| Duration::from_secs(dice.between(1, 240) as u64 * HOUR));
    policy.max_images = dice.percent(30).then(|| dice.between(1, 4));
    policy.max_bytes = dice
        .percent(30)
        .then(|| registry.bytes() / 100 * dice.between(1, 50) as u64);
    if dice.percent(if is_pressed { 25 } else { 60 }) {
        policy.undo_window = Duration::from_secs(dice.between(1, 48) as u64 * HOUR);
    }
    if dice.percent(50) {
        let mut left = Vec::from(PolicyPart::ALL);
        policy.free = (0..dice.between(1, 4))
            .map(|_| left.swap_remove(dice.below(left.len())))
            .collect();
    }
    if dice.percent(5) {
        policy.mode = Mode::DryRun;
    }
    policy.schedule = schedule(dice, is_pressed);
    policy.startup_delay = Duration::from_secs(dice.below(20) as u64 * MINUTE);
    policy
}

fn rule(dice: &mut Dice, policy: &mut Policy) {
    let mut filters = Vec::new();
    if dice.percent(15) {
        filters.push(format!("reference=docker.io/library/r{}:*", dice.below(4)));
    }
    if dice.percent(15) {
        filters.push(format!("unused-for={}h", dice.between(1, 100)));
    }
    let rule = &mut policy.rule;
    rule.filters = RuleFilters::parse(&filters, true).expect("filters");
    rule.min_age = Duration::from_secs(match dice.below(3) {
        0 => 0,
        1 => dice.between(1, 600) as u64,
        _ => dice.between(1, 72) as u64 * HOUR,
    });
    if dice.percent(40) {
        rule.unused_for = Duration::from_secs(dice.between(1, 10) as u64 * DAY / 2);
    }
    if dice.percent(35) {
        rule.keep_newest = dice.between(1, 3);
    }
    rule.last_copies = dice.percent(40);
}

fn pressure(dice: &mut Dice, total: u64, policy: &mut Policy) {
    let pressure = &mut policy.pressure;
    let is_by_size = dice.percent(30);
    if !is_by_size || dice.percent(30) {
        let high = dice.between(60, 95);
        let low = high - dice.between(1, 30);
        let marks = if dice.percent(70) {
            (format!("{high}%"), format!("{low}%"))
        } else {
            let left = |percent: usize| total / 100 * (100 - percent) as u64;
            (left(high).to_string(), left(low).to_string())
        };
        let marks = Watermarks::new(
            marks.0.parse().expect("a mark"),
            marks.1.parse().expect("a mark"),
        );
        pressure.bytes = Some(marks.expect("in order"));
    }
    if is_by_size {
        let max = total / 100 * dice.between(10, 80) as u64;
        pressure.max_used = Some(max);
    }
    if dice.percent(25) {
        let most = pressure.max_used.unwrap_or(total / 2);
        pressure.reserved = most / 100 * dice.between(1, 95) as u64;
    }
}

fn schedule(dice: &mut Dice, is_pressed: bool) -> Schedule {
    if dice.percent(40) {
        let (line, zone): (&&str, &&str) = (dice.pick(&LINES), dice.pick(&ZONES));
        let cron = Cron::new(line, zone);
        return Schedule::Cron(cron.expect("a line and a zone"));
    }
    let minutes = if is_pressed && dice.percent(30) {
        // Below an hour, the longest back-off after unsuccessful checks.
        dice.between(10, 50)
    } else if is_pressed {
        dice.between(30, 720)
    } else {
        dice.between(240, 2880)
    };
    let every = Duration::from_secs(minutes as u64 * MINUTE);
    Schedule::Interval {
        every,
        jitter: every * u32::try_from(dice.below(50)).expect("small") / 100,
    }
}
