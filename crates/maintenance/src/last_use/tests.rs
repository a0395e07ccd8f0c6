//! Tests of the rules of last use, one by one and on random histories of a namespace.

mod random;
mod rules;
mod written;

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use reclaim_engine::Preview;
use reclaim_model::{
    CollectorRules, Digest, Freed, Inventory, KeepReason, Kept, Mode, Namespace, NotCounted, Plan,
    PresentTarget, RecordTimes, RefuseReason, Refused, RemoveReason, Removed, Report, RunId,
    TargetsInUse, UseEvent, UseEventKind, WrittenRecord,
};
use uuid::{NoContext, Uuid};

use super::state::State;
use crate::time::Moment;

fn start() -> Timestamp {
    "2026-01-10T12:00:00Z".parse().unwrap()
}

/// A moment at which the wall clock shows the monotonic time.
fn moment(now: Timestamp) -> Moment {
    Moment::new(now, now)
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

/// A scan of a namespace, built record by record.
#[derive(Debug, Default, Clone)]
struct Scan(TargetsInUse);

impl Scan {
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

fn event(kind: UseEventKind, at: Timestamp) -> UseEvent {
    UseEvent {
        namespace: namespace(),
        at,
        kind,
    }
}

fn written(name: &str, target: &str, created: Timestamp) -> UseEventKind {
    moved(name, target, created, created)
}

fn moved(name: &str, target: &str, created: Timestamp, updated: Timestamp) -> UseEventKind {
    let times = RecordTimes {
        created: Some(created),
        updated: Some(updated),
    };
    UseEventKind::ImageWritten {
        name: name.to_owned(),
        record: Some(WrittenRecord {
            target: digest(target),
            times,
        }),
    }
}

fn deleted(name: &str) -> UseEventKind {
    let name = name.to_owned();
    UseEventKind::ImageDeleted { name }
}

/// The report of a run that began at `started`.
fn report(started: Timestamp, removed: &[(&str, &str)], stayed: &[&str]) -> Report {
    report_with(started, removed, stayed, &[])
}

/// As [`report`], with the records that the plan keeps.
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
        slimmed: Vec::new(),
        cuts: Vec::new(),
        named: Vec::new(),
        freed: Freed::default(),
        not_counted: NotCounted::default(),
        warnings: Vec::new(),
        target_free: None,
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
    let inventory = Inventory {
        rules: CollectorRules::V2_0,
        observed_at: started,
        namespaces: BTreeMap::new(),
        documents: BTreeMap::new(),
        label_keys: BTreeSet::new(),
        sandbox_image: None,
    };
    Report {
        run,
        mode: Mode::Apply,
        removed: removed.collect(),
        refused: refused.collect(),
        ..Preview { inventory, plan }.report()
    }
}

/// Saves a state and reads it back, as when the process is killed after a save.
fn restarted(mut state: State) -> State {
    let batch = state.take_changes();
    let mut contents = super::file::Contents {
        repulls: batch.repulls,
        ..Default::default()
    };
    // Everything that was ever saved is in the remaining state.
    for (namespace, known) in &state.namespaces {
        let key = |it: &Digest| (namespace.clone(), it.clone());
        let targets = known.targets.iter();
        contents.targets.extend(targets.map(|(it, entry)| {
            let saved = serde_json::to_vec(entry).unwrap();
            (key(it), serde_json::from_slice(&saved).unwrap())
        }));
        let removals = known.removals.targets();
        contents.removals.extend(removals.map(|it| {
            let removal = known.removals.get(it).unwrap();
            (key(it), removal.clone())
        }));
    }
    for ((_, digest), entry) in &batch.targets {
        let known = state.namespaces.get(&namespace());
        let there = known.and_then(|it| it.targets.get(digest));
        assert_eq!(entry.as_ref(), there, "the batch has the current entries");
    }
    State::of(contents)
}

fn present(state: &State) -> BTreeSet<Digest> {
    let known = state.namespaces.get(&namespace());
    known.map_or_else(BTreeSet::new, |it| it.targets.keys().cloned().collect())
}
