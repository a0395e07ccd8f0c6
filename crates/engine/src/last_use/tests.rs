//! The rules of last use, one by one and on random lives of a namespace.

mod random;
mod rules;
mod written;

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use reclaim_model::{
    Digest, Freed, Happening, KeepReason, Kept, Mode, Namespace, NotCounted, Plan, PresentTarget,
    RecordTimes, RefuseReason, Refused, RemoveReason, Removed, Report, RunId, TargetsInUse,
    UseEvent, WrittenRecord,
};
use uuid::{NoContext, Uuid};

use super::state::State;
use crate::preview::blank_report;

fn start() -> Timestamp {
    "2026-01-10T12:00:00Z".parse().unwrap()
}

fn namespace() -> Namespace {
    "default".parse().unwrap()
}

fn digest(name: &str) -> Digest {
    let mut bytes = [0; 32];
    bytes[..name.len()].copy_from_slice(name.as_bytes());
    Digest::Sha256(bytes)
}

fn seconds(n: i64) -> SignedDuration {
    SignedDuration::from_secs(n)
}

fn days(n: i64) -> SignedDuration {
    SignedDuration::from_hours(24 * n)
}

/// A look at a namespace, written down record by record.
#[derive(Debug, Default, Clone)]
struct Look(TargetsInUse);

impl Look {
    fn record(self, name: &str, target: &str, created: Timestamp) -> Self {
        self.moved(name, target, created, created)
    }

    fn moved(mut self, name: &str, target: &str, created: Timestamp, updated: Timestamp) -> Self {
        let present = self.0.present.entry(digest(target));
        let present: &mut PresentTarget = present.or_default();
        present.chains.insert(digest(&format!("chain {target}")));
        let times = RecordTimes {
            created: Some(created),
            updated: Some(updated),
        };
        present.names.insert(name.to_owned(), times);
        self
    }

    fn container(mut self, id: &str, target: &str) -> Self {
        self.0.used.insert(digest(target));
        let of_container = self.0.containers.entry(id.to_owned()).or_default();
        of_container.insert(digest(target));
        self
    }
}

fn event(what: Happening, at: Timestamp) -> UseEvent {
    UseEvent {
        namespace: namespace(),
        at,
        what,
    }
}

fn written(name: &str, target: &str, created: Timestamp) -> Happening {
    moved(name, target, created, created)
}

fn moved(name: &str, target: &str, created: Timestamp, updated: Timestamp) -> Happening {
    let times = RecordTimes {
        created: Some(created),
        updated: Some(updated),
    };
    Happening::ImageWritten {
        name: name.to_owned(),
        record: Some(WrittenRecord {
            target: digest(target),
            times,
        }),
    }
}

fn deleted(name: &str) -> Happening {
    let name = name.to_owned();
    Happening::ImageDeleted { name }
}

/// The report of a run that began at `started`.
fn report(started: Timestamp, removed: &[(&str, &str)], stayed: &[&str]) -> Report {
    report_with(started, removed, stayed, &[])
}

/// As [`report`], with the records that stay by the plan.
fn report_with(
    started: Timestamp,
    removed: &[(&str, &str)],
    stayed: &[&str],
    kept: &[(&str, &str)],
) -> Report {
    let since = started.duration_since(Timestamp::UNIX_EPOCH);
    let time = uuid::Timestamp::from_unix(
        NoContext,
        u64::try_from(since.as_secs()).unwrap(),
        u32::try_from(since.subsec_nanos()).unwrap(),
    );
    let kept = kept.iter().map(|(name, target)| Kept {
        name: (*name).to_owned(),
        target: digest(target),
        reason: KeepReason::NotDangling,
        holders: Vec::new(),
    });
    let plan = Plan {
        namespace: namespace(),
        steps: Vec::new(),
        kept: kept.collect(),
        unpins: Vec::new(),
        named: Vec::new(),
        freed: Freed::default(),
        not_counted: NotCounted::default(),
        warnings: Vec::new(),
    };
    let run = RunId(Uuid::new_v7(time).to_string());
    let removed = removed.iter().map(|(name, target)| Removed {
        name: (*name).to_owned(),
        target: digest(target),
        reason: RemoveReason::Unused,
    });
    let refused = stayed.iter().map(|name| Refused {
        name: (*name).to_owned(),
        reason: RefuseReason::TargetMoved,
    });
    Report {
        removed: removed.collect(),
        refused: refused.collect(),
        ..blank_report(run, Mode::Apply, &plan)
    }
}

/// Takes a state to the file and back, as a process that is killed after a save does.
fn restarted(mut state: State) -> State {
    let batch = state.take_changes();
    let mut contents = super::file::Contents {
        repulls: batch.repulls,
        ..Default::default()
    };
    // All that was ever written is in the state that is left.
    for (namespace, known) in &state.namespaces {
        let key = |it: &Digest| (namespace.clone(), it.clone());
        let targets = known.targets.iter();
        contents
            .targets
            .extend(targets.map(|(it, entry)| (key(it), entry.clone())));
        let removals = known.removals.targets();
        contents.removals.extend(removals.map(|it| {
            let removal = known.removals.get(it).unwrap();
            (key(it), removal.clone())
        }));
    }
    for ((_, digest), entry) in &batch.targets {
        let known = state.namespaces.get(&namespace());
        let there = known.and_then(|it| it.targets.get(digest));
        assert_eq!(entry.as_ref(), there, "what is written is what is known");
    }
    State::of(contents)
}

fn present(state: &State) -> BTreeSet<Digest> {
    let known = state.namespaces.get(&namespace());
    known.map_or_else(BTreeSet::new, |it| it.targets.keys().cloned().collect())
}
