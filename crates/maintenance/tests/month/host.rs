//! The simulated host, and the record of what happened on it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use reclaim_fake::Fake;
use reclaim_maintenance::{LastUseIndex, LateRoom, Policy, PolicyRun};
use reclaim_model::{Mode, PolicyPart, Protection};
use reclaim_testkit::Dice;

use crate::clock::Clock;
use crate::days::undo;
use crate::diary::{Broken, Diary, hold};
use crate::disk::HostDisk;
use crate::faults::Faults;
use crate::holds::Holds;
use crate::month::Tally;
use crate::picture::Pictures;
use crate::policies::{policies, protection};
use crate::promises::{Rhythm, of_run};
use crate::registry::{BLOCK, Registry};
use crate::uses::Uses;

/// The namespaces; the images of the second have three names each, as the CRI plugin gives them.
pub(crate) const NAMESPACES: [&str; 2] = ["default", CRI];

pub(crate) const CRI: &str = "k8s.io";

/// When a month may begin. In two of them daylight saving time changes in Europe.
const BEGINNINGS: [&str; 4] = [
    "2026-01-05T10:00:00Z",
    "2026-03-15T04:30:00Z",
    "2026-10-12T22:10:00Z",
    "2028-02-10T00:00:00Z",
];

#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) dice: Dice,
    pub(crate) clock: Clock,
    pub(crate) fake: Fake,
    pub(crate) disk: Arc<HostDisk>,
    pub(crate) registry: Registry,
    pub(crate) protection: Protection,
    pub(crate) policies: Vec<Policy>,
    /// The daemon's index of last use, while there is a daemon.
    pub(crate) index: Option<Arc<LastUseIndex>>,
    /// What the daemon expects to become visible.
    pub(crate) late: Arc<LateRoom>,
    pub(crate) uses: Uses,
    pub(crate) holds: Holds,
    pub(crate) pictures: Pictures,
    pub(crate) faults: Faults,
    pub(crate) rhythm: Rhythm,
    pub(crate) diary: Diary,
    pub(crate) tally: Tally,
    /// The first promise that was broken.
    pub(crate) broken: Option<Broken>,
    /// Whether the clock is never set.
    pub(crate) is_steady: bool,
    /// How many containers there have been.
    pub(crate) containers: usize,
    /// How many Reclaim processes there have been. Each counts as one of another boot.
    pub(crate) boots: usize,
    /// Whether another process may begin between two calls.
    pub(crate) is_rival_due: bool,
}

/// A host that the month, containerd and the daemon share. No method of it waits.
#[derive(Debug, Clone)]
pub(crate) struct Shared(Arc<Mutex<Host>>);

impl Shared {
    pub(crate) fn new(seed: u64) -> Self {
        let shared = Self(Arc::new(Mutex::new(Host::new(seed))));
        let hook = Arc::downgrade(&shared.0);
        shared.host().fake.clone().on_call(move |call| {
            let Some(shared) = hook.upgrade().map(Self) else {
                return reclaim_fake::Fault::None;
            };
            let (fault, is_rival_due) = {
                let mut host = shared.host();
                let fault = host.called(call);
                (fault, std::mem::take(&mut host.is_rival_due))
            };
            if is_rival_due {
                tokio::spawn(undo(shared));
            }
            fault
        });
        shared
    }

    pub(crate) fn host(&self) -> MutexGuard<'_, Host> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Host {
    fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let registry = Registry::generate(&mut dice);
        let began: Timestamp = dice.pick(&BEGINNINGS).parse().expect("a time");
        let clock = Clock::new(began);
        let version = *dice.pick(&["1.6.20", "1.7.28", "2.1.9", "2.3.4"]);
        let fake = {
            let clock = clock.clone();
            Fake::with_clock(version, move || clock.now())
        };
        for namespace in NAMESPACES {
            fake.change(|state| {
                state.namespace(namespace);
            });
        }
        let total = registry.bytes() * dice.between(80, 220) as u64 / 100;
        let total = total.next_multiple_of(BLOCK);
        let other = total * dice.below(30) as u64 / 100 / BLOCK * BLOCK;
        // Less than policies expect it.
        let delay = Duration::from_secs(*dice.pick(&[0, 0, 4, 70, 540]));
        let policies = policies(&mut dice, &registry, total);
        let mut host = Self {
            disk: Arc::new(HostDisk::new(fake.clone(), total, other, delay)),
            fake,
            protection: protection(&mut dice, &registry),
            rhythm: Rhythm::new(policies.len()),
            policies,
            registry,
            clock,
            index: None,
            late: Arc::default(),
            uses: Uses::default(),
            holds: Holds::default(),
            pictures: Pictures::default(),
            faults: Faults::new(&mut dice),
            diary: Diary::default(),
            tally: Tally::default(),
            broken: None,
            is_steady: dice.percent(40),
            containers: 0,
            boots: 0,
            is_rival_due: false,
            dice,
        };
        host.write(&format!("containerd {version}"));
        for policy in host.policies.clone() {
            host.write(&format!("{policy:?}"));
        }
        let text = format!("protected: {:?}", host.protection);
        host.write(&text);
        host
    }

    pub(crate) fn write(&mut self, text: &str) {
        self.diary.write(&self.clock, text);
    }

    /// Records a broken promise. The first one counts.
    pub(crate) fn note(&mut self, kept: Result<(), Broken>) {
        if let Err(broken) = kept {
            self.broken.get_or_insert(broken);
        }
    }

    /// Records and checks that a policy ran.
    pub(crate) fn ran(&mut self, run: &PolicyRun) {
        self.holds.released(run);
        let kept = self.check_run(run);
        self.note(kept);
        let tally = &mut self.tally;
        tally.looked_at += 1;
        tally.runs += usize::from(run.removed() > 0 && run.mode == Mode::Apply);
        tally.removed += run.removed();
        tally.slimmed += run.slimmed();
        tally.pressed += usize::from(!run.wanted.is_empty());
        tally.released += run.released.len();
        tally.count(run.outcome);
        let held = run.reports.iter().filter(|it| it.held_until.is_some());
        tally.held += held.count();
        if run.has_changes() || run.error.is_some() || !run.released.is_empty() {
            let removed = run.reports.iter().flat_map(|it| &it.removed);
            let removed: Vec<&str> = removed.map(|it| it.name.as_str()).collect();
            let slimmed = run.reports.iter().filter(|it| !it.cuts.is_empty());
            let slimmed = slimmed.map(|it| {
                let names: Vec<&str> = it.slimmed.iter().map(|it| it.name.as_str()).collect();
                (it.part.map(PolicyPart::key), names)
            });
            let slimmed: Vec<_> = slimmed.collect();
            let text = format!(
                "{}: {}, removed {removed:?}, slimmed {slimmed:?}, released {:?}, missing {:?}, {:?}",
                run.policy, run.outcome, run.released, run.missing, run.error
            );
            self.write(&text);
        }
    }

    fn check_run(&mut self, run: &PolicyRun) -> Result<(), Broken> {
        let place = self.policies.iter().position(|it| *it.name() == run.policy);
        let place = place.expect("policies do not change");
        let passed = self.clock.passed();
        self.rhythm
            .ran(place, &self.policies[place], run, &self.clock)?;
        let pictures = self.pictures.take(run);
        let policy = &self.policies[place];
        of_run(self, policy, run, &pictures)?;
        self.tally.plans += pictures.len();
        let removing = run.reports.iter();
        let removing = removing.filter(|it| it.mode == Mode::Apply && it.has_changes());
        hold(pictures.len() >= removing.count(), || {
            format!(
                "{} removed something that it had not written down",
                run.policy
            )
        })?;
        self.rhythm.ended(place, passed, run, &self.clock);
        Ok(())
    }
}
