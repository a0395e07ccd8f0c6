//! What the rules promise, each by simpler means than the code that keeps it.

mod judgement;
mod order;
mod rhythm;

use std::collections::BTreeSet;

pub(crate) use judgement::Judged;
pub(crate) use order::of_plan;
pub(crate) use rhythm::Rhythm;

use crate::diary::{Broken, hold};
use crate::month::Month;
use crate::run::{Pass, taken_bytes};

/// Last use is what it must be, and nothing of it is later than now.
///
/// Where the clock was set back it may be later than it must be: times that a clock wrote which
/// was ahead stay until it has caught up.
pub(crate) fn uses(month: &mut Month) -> Result<(), Broken> {
    let Some(index) = &month.daemon.index else {
        return Ok(());
    };
    let now = month.world.now();
    let was_set_back = month.world.clock.was_set_back();
    let memory = &mut month.daemon.memory;
    for (namespace, space) in &month.world.spaces {
        let images = space.images();
        let uses = index.uses_at(namespace, now).0;
        for (digest, it) in &uses {
            let spared = it.spared_until;
            hold(it.last_used <= now && it.first_seen <= now, || {
                format!("{digest} in {namespace} was used in the future: {it:?}, now {now}")
            })?;
            hold(spared.is_none_or(|until| until > now), || {
                format!("{digest} in {namespace} is spared until the past: {it:?}, now {now}")
            })?;
        }
        let doubtful = memory.doubtful();
        for (key, known) in memory.iter_mut().filter(|it| it.0.0 == *namespace) {
            let target = &month.world.registry.images[key.1].target;
            let found = uses.get(target).map(|it| it.last_used);
            let must = known.used(now);
            // Of what is gone the daemon may forget sooner.
            let is_free = known.is_vague
                || doubtful.contains(key)
                || found.is_none() && !images.contains(&key.1);
            if let Some(found) = found.filter(|found| *found > must && was_set_back) {
                known.used = found;
                continue;
            }
            hold(is_free || found == Some(must), || {
                format!(
                    "image {} in {namespace} was used last at {must}, and is said to be at \
                     {found:?}, now {now}; {known:?}",
                    key.1
                )
            })?;
        }
    }
    Ok(())
}

/// A run as a whole keeps to its caps.
pub(crate) fn of_run(pass: &Pass) -> Result<(), Broken> {
    let reports = &pass.run.reports;
    let removed = reports.iter().map(|report| {
        let targets: BTreeSet<_> = report.removed.iter().map(|it| &it.target).collect();
        targets.len()
    });
    let removed: usize = removed.sum();
    hold(
        pass.policy.max_images.is_none_or(|max| removed <= max),
        || {
            format!(
                "{removed} images went, and {:?} may",
                pass.policy.max_images
            )
        },
    )?;
    let bytes: u64 = reports.iter().map(taken_bytes).sum();
    hold(pass.policy.max_bytes.is_none_or(|max| bytes <= max), || {
        format!("{bytes} bytes went, and {:?} may", pass.policy.max_bytes)
    })
}
