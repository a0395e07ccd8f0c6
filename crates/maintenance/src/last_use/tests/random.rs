//! Random histories of a namespace: pulls, containers, removals by runs and by others, scans,
//! restarts, broken event streams and clocks that jump.
//!
//! The oracle tracks what really happened, with removals in a plain list.

mod acts;

use acts::{Act, act};
use proptest::prelude::*;

use super::*;
use crate::last_use::Observed;

#[derive(Debug, Clone)]
struct Record {
    target: String,
    created: Timestamp,
    written: Timestamp,
}

/// A removal by a run whose image may still come back.
#[derive(Debug, Clone)]
struct Pending {
    target: String,
    names: BTreeMap<String, Timestamp>,
    is_whole: bool,
}

/// The real state of the host, and the state under test.
#[derive(Debug)]
struct World {
    state: State,
    /// The time that passed.
    now: Timestamp,
    /// By how much the wall clock is ahead of it.
    ahead: SignedDuration,
    records: BTreeMap<String, Record>,
    containers: BTreeMap<String, String>,
    is_connected: bool,
    /// By target, the latest certain use that could be observed.
    used: BTreeMap<String, Timestamp>,
    /// Targets in use that only the next scan will find.
    unsettled: BTreeSet<String>,
    pending: Vec<Pending>,
    repulls: u64,
    /// Removed records, for undo.
    undoable: Vec<(String, Record)>,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            state: State::default(),
            now: start(),
            ahead: SignedDuration::ZERO,
            records: BTreeMap::new(),
            containers: BTreeMap::new(),
            is_connected: true,
            used: BTreeMap::new(),
            unsettled: BTreeSet::new(),
            pending: Vec::new(),
            repulls: 0,
            undoable: Vec::new(),
        };
        world.scan();
        world
    }

    fn tick(&mut self) {
        self.now += SignedDuration::from_millis(1);
    }

    fn moment(&self) -> Moment {
        Moment::new(self.now, self.now + self.ahead)
    }

    /// Returns whether no scan is needed.
    fn record_event(&mut self, kind: UseEventKind) -> bool {
        let moment = self.moment();
        let event = event(kind, moment.wall);
        self.is_connected && self.state.record_event(&event, moment) == Observed::Complete
    }

    fn note_use(&mut self, target: &str) {
        let used = self.used.entry(target.to_owned()).or_insert(self.now);
        *used = self.now.max(*used);
    }

    fn scan(&mut self) {
        let mut scan = Scan::default();
        for (name, record) in &self.records {
            scan = scan.moved(name, &record.target, record.created, record.written);
        }
        let mut used = Vec::new();
        for (id, target) in &self.containers {
            if self.records.values().any(|it| it.target == *target) {
                scan = scan.container(id, target);
                used.push(target.clone());
            }
        }
        self.state.record_scan(&namespace(), &scan.0, self.moment());
        self.unsettled.clear();
        for target in used {
            self.note_use(&target);
        }
        self.count_there();
        // A scan forgets removals of more than a week ago.
        let now = self.now;
        self.pending.retain(|pending| {
            let latest = pending.names.values().max().copied().unwrap();
            now.duration_since(latest) <= days(7)
        });
    }

    /// Counts the re-pulls that a scan recognises.
    fn count_there(&mut self) {
        // In this order, because a record that ends two removals is one re-pull.
        let there = self.records.clone().into_iter();
        let mut there: Vec<(String, Record)> = there.collect();
        there.sort_by(|(a, x), (b, y)| (&x.target, a).cmp(&(&y.target, b)));
        for (name, record) in there {
            self.count(&name, &record);
        }
        // Restored with its old creation time, so it is no longer pending.
        let records = &self.records;
        for pending in &mut self.pending {
            let n = pending.names.len();
            pending.names.retain(|name, at| {
                let there = records.get(name);
                there.is_none_or(|it| it.created > *at)
            });
            pending.is_whole &= pending.names.len() == n;
        }
        self.pending.retain(|it| !it.names.is_empty());
    }

    /// Counts a present record if it is a re-pull.
    fn count(&mut self, name: &str, record: &Record) {
        let is_return = |at: Timestamp, to: Timestamp| to > at && to.duration_since(at) <= days(7);
        let is_ended = |pending: &Pending| {
            let by_name = pending
                .names
                .get(name)
                .is_some_and(|at| is_return(*at, record.created));
            let latest = pending.names.values().max().copied().unwrap();
            by_name
                || pending.is_whole
                    && pending.target == record.target
                    && is_return(latest, record.written)
        };
        let n = self.pending.len();
        self.pending.retain(|pending| !is_ended(pending));
        self.repulls += u64::from(self.pending.len() < n);
    }

    fn pull(&mut self, name: &str, target: &str) {
        let written = self.moment().wall;
        let created = self.records.get(name).map_or(written, |it| it.created);
        let target = target.to_owned();
        let record = Record {
            target,
            created,
            written,
        };
        self.settle_later(&record.target);
        self.records.insert(name.to_owned(), record.clone());
        self.record_event(moved(name, &record.target, created, written));
        if self.is_connected {
            self.note_use(&record.target);
            self.count(name, &record);
        }
    }

    fn settle_later(&mut self, target: &str) {
        if !self.records.values().any(|it| it.target == target) {
            self.unsettled.insert(target.to_owned());
        }
    }

    fn remove(&mut self, name: &str) -> Option<Record> {
        let record = self.records.remove(name)?;
        self.record_event(deleted(name));
        Some(record)
    }

    fn run(&mut self, names: &[u8]) {
        let started = self.moment().wall;
        let mut removed = Vec::new();
        for name in names.iter().map(|n| format!("name{n}")) {
            self.tick();
            let used: Vec<&String> = self.containers.values().collect();
            if self
                .records
                .get(&name)
                .is_some_and(|it| used.contains(&&it.target))
            {
                continue;
            }
            if let Some(record) = self.remove(&name) {
                removed.push((name, record, self.now));
            }
        }
        self.tick();
        let rows: Vec<(&str, &str)> = removed
            .iter()
            .map(|(name, record, _)| (&**name, &*record.target))
            .collect();
        let kept = self.records.iter().map(|(name, it)| (&**name, &*it.target));
        let kept: Vec<(&str, &str)> = kept.collect();
        let report = report_with(started, &rows, &[], &kept);
        self.state.record_removals(&report, self.moment());
        for (name, record, at) in removed {
            // Without events the time of the report is the best estimate.
            let at = if self.is_connected { at } else { self.now };
            self.take(&name, &record.target);
            let is_whole = !self.records.values().any(|it| it.target == record.target);
            let mut pending = self.pending.iter_mut();
            match pending.find(|it| it.target == record.target) {
                Some(known) => {
                    known.names.insert(name.clone(), at);
                    known.is_whole = is_whole;
                }
                None => self.pending.push(Pending {
                    target: record.target.clone(),
                    names: BTreeMap::from([(name.clone(), at)]),
                    is_whole,
                }),
            }
            self.undoable.push((name, record));
        }
    }

    /// Assigns a name to its latest removal.
    fn take(&mut self, name: &str, target: &str) {
        for pending in &mut self.pending {
            if pending.target != target {
                pending.names.remove(name);
            }
        }
        self.pending.retain(|it| !it.names.is_empty());
    }

    /// Drops a name that an undo restored.
    fn forget(&mut self, name: &str) {
        for pending in &mut self.pending {
            pending.is_whole &= pending.names.remove(name).is_none();
        }
        self.pending.retain(|it| !it.names.is_empty());
    }

    fn undo(&mut self, kept: bool) {
        if self.undoable.is_empty() {
            return;
        }
        let (name, record) = self.undoable.remove(0);
        if self.records.contains_key(&name) || !self.is_connected && !kept {
            return;
        }
        let created = if kept {
            record.created
        } else {
            self.moment().wall
        };
        let Record { target, .. } = record;
        if self.is_connected {
            let name = name.clone();
            self.forget(&name);
            self.record_event(UseEventKind::ImageRestoring { name });
        }
        let record = Record {
            target,
            created,
            written: created,
        };
        self.settle_later(&record.target);
        self.records.insert(name.clone(), record.clone());
        self.record_event(written(&name, &record.target, created));
        if self.is_connected {
            self.note_use(&record.target);
            // For the others of the same removal it is a re-pull if it is as new as one.
            self.count(&name, &record);
        }
    }

    fn act(&mut self, act: &Act) {
        self.tick();
        match act {
            Act::Pull { name, target } => {
                self.pull(&format!("name{name}"), &format!("target{target}"));
            }
            Act::RemoveByOthers { name } => drop(self.remove(&format!("name{name}"))),
            Act::Create { container, name } => {
                let (id, image) = (format!("c{container}"), format!("name{name}"));
                let Some(record) = self.records.get(&image).cloned() else {
                    return;
                };
                if self.containers.contains_key(&id) {
                    return;
                }
                self.containers.insert(id.clone(), record.target.clone());
                if self.record_event(UseEventKind::ContainerWritten { id, image }) {
                    self.note_use(&record.target);
                } else {
                    self.unsettled.insert(record.target);
                }
            }
            Act::Work { container } => {
                let container = format!("c{container}");
                if self.containers.contains_key(&container) {
                    self.record_event(UseEventKind::Task { container });
                }
            }
            Act::Delete { container } => {
                let id = format!("c{container}");
                self.containers.remove(&id);
                self.record_event(UseEventKind::ContainerDeleted { id });
            }
            Act::Run { names } => self.run(names),
            Act::Undo { kept } => self.undo(*kept),
            Act::Scan => self.scan(),
            Act::Restart => {
                self.state = restarted(std::mem::take(&mut self.state));
                self.is_connected = true;
                self.scan();
            }
            Act::Disconnect => self.is_connected = false,
            Act::Connect => {
                self.is_connected = true;
                self.scan();
            }
            Act::Wait { minutes } => self.now += SignedDuration::from_mins(i64::from(*minutes)),
            Act::Jump { days: n } => self.ahead += days(i64::from(*n)),
        }
        // Removed targets may be forgotten.
        let records = &self.records;
        self.used
            .retain(|target, _| records.values().any(|it| it.target == *target));
        if self.is_connected {
            for target in self.containers.clone().into_values() {
                let is_there = self.records.values().any(|it| it.target == target);
                if is_there && !self.unsettled.contains(&target) {
                    self.note_use(&target);
                }
            }
        }
    }

    fn check_times(&self) -> Result<(), TestCaseError> {
        let uses = self.state.uses(&namespace(), self.now).targets;
        for (digest, known) in &uses {
            prop_assert!(known.first_seen <= known.last_used, "{digest}");
            prop_assert!(known.last_used <= self.now, "{digest}");
            if let Some(until) = known.spared_until {
                prop_assert!(until > self.now && until <= self.now + days(30), "{digest}");
            }
        }
        if !self.is_connected {
            return Ok(());
        }
        let settled = |it: &&String| !self.unsettled.contains(*it);
        for target in self.containers.values().filter(settled) {
            if let Some(known) = uses.get(&digest(target)) {
                let is_there = self.records.values().any(|it| it.target == *target);
                prop_assert!(
                    !is_there || known.last_used == self.now,
                    "{target} is in use"
                );
            }
        }
        for (target, used) in &self.used {
            let is_there = self.records.values().any(|it| it.target == *target);
            if let (true, Some(known)) = (is_there, uses.get(&digest(target))) {
                let at_least = (*used).min(self.now);
                prop_assert!(
                    known.last_used >= at_least,
                    "{target} was used at {at_least}"
                );
            }
        }
        Ok(())
    }

    /// After two scans only present targets and removals of the last week are known.
    fn check_bounds(&mut self) -> Result<(), TestCaseError> {
        self.is_connected = true;
        for _ in 0..2 {
            self.tick();
            self.scan();
        }
        let there = self.records.values().map(|it| digest(&it.target));
        let there: BTreeSet<Digest> = there.collect();
        prop_assert_eq!(present(&self.state), there);
        self.now += days(8);
        self.scan();
        let known = self.state.namespaces.get(&namespace());
        prop_assert!(known.is_none_or(|it| it.removals.is_empty()));
        Ok(())
    }
}

fn raw(state: &State) -> BTreeMap<Digest, Timestamp> {
    let known = state.namespaces.get(&namespace());
    let targets = known.into_iter().flat_map(|it| &it.targets);
    targets
        .map(|(digest, it)| (digest.clone(), it.last_used))
        .collect()
}

fn check(acts: &[Act]) -> Result<(), TestCaseError> {
    let mut world = World::new();
    for act in acts {
        let before = raw(&world.state);
        world.act(act);
        world.check_times()?;
        // A removed image is forgotten, and may come back before the report.
        if !matches!(act, Act::Run { .. }) {
            let after = raw(&world.state);
            for (digest, used) in before {
                let known = after.get(&digest);
                prop_assert!(
                    known.is_none_or(|it| *it >= used),
                    "{digest} was used later"
                );
            }
        }
    }
    world.check_bounds()
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 512,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// For every history and every clock.
    #[test]
    fn no_use_is_lost_and_none_is_in_the_future(
        acts in prop::collection::vec(act(true), 1..60),
    ) {
        check(&acts)?;
    }

    /// For clocks that only go forward.
    #[test]
    fn re_pulls_are_counted_exactly(
        acts in prop::collection::vec(act(false), 1..80),
    ) {
        let mut world = World::new();
        for act in &acts {
            world.act(act);
            if world.is_connected {
                prop_assert_eq!(world.state.repulls, world.repulls, "after {:?}", act);
            }
        }
    }
}
