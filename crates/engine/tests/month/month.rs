//! One month, from its seed to its end.

use std::sync::Arc;

use jiff::SignedDuration;
use reclaim_engine::{Policy, PruneGuard};
use reclaim_model::Protection;
use reclaim_testkit::Dice;

use crate::clock::seconds;
use crate::daemon::Daemon;
use crate::diary::{Broken, Diary};
use crate::policies::{policies, protection};
use crate::promises::Rhythm;
use crate::world::World;

/// How long a month is.
const LENGTH: SignedDuration = SignedDuration::from_hours(30 * 24);

/// What happened how often: a month in which nothing happens proves nothing.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Tally {
    pub(crate) events: usize,
    pub(crate) looked_at: usize,
    pub(crate) runs: usize,
    pub(crate) removed: usize,
    pub(crate) pressed: usize,
    pub(crate) capped: usize,
    pub(crate) unmet: usize,
    pub(crate) held: usize,
    pub(crate) released: usize,
    pub(crate) restored: usize,
    pub(crate) repulls: usize,
    pub(crate) kills: usize,
    pub(crate) starts: usize,
    pub(crate) jumps: usize,
    pub(crate) busy: usize,
}

/// One number of a [`Tally`].
type Count = fn(&Tally) -> usize;

impl Tally {
    pub(crate) const COUNTS: [(&str, Count); 15] = [
        ("events", |it| it.events),
        ("looked at", |it| it.looked_at),
        ("runs", |it| it.runs),
        ("removed", |it| it.removed),
        ("pressed", |it| it.pressed),
        ("capped", |it| it.capped),
        ("unmet", |it| it.unmet),
        ("held", |it| it.held),
        ("released", |it| it.released),
        ("restored", |it| it.restored),
        ("repulls", |it| it.repulls),
        ("kills", |it| it.kills),
        ("starts", |it| it.starts),
        ("jumps", |it| it.jumps),
        ("busy", |it| it.busy),
    ];
}

#[derive(Debug)]
pub(crate) struct Month {
    pub(crate) dice: Dice,
    pub(crate) world: World,
    pub(crate) diary: Diary,
    pub(crate) protection: Arc<Protection>,
    pub(crate) policies: Vec<Policy>,
    pub(crate) daemon: Daemon,
    pub(crate) guard: PruneGuard,
    pub(crate) rhythm: Rhythm,
    /// Whether nobody sets the clock.
    pub(crate) is_steady: bool,
    pub(crate) tally: Tally,
}

impl Month {
    pub(crate) fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let world = World::generate(&mut dice);
        let policies = policies(&mut dice, &world);
        let mut month = Self {
            protection: Arc::new(protection(&mut dice, &world)),
            rhythm: Rhythm::new(policies.len()),
            policies,
            world,
            is_steady: dice.percent(40),
            dice,
            diary: Diary::default(),
            daemon: Daemon::new(),
            guard: PruneGuard::default(),
            tally: Tally::default(),
        };
        for policy in &month.policies {
            let words = format!("{policy:?}");
            month.diary.write(&month.world.clock, &words);
        }
        let words = format!("protected: {:?}", month.protection);
        month.diary.write(&month.world.clock, &words);
        month
    }

    /// Lets it pass.
    pub(crate) fn pass(&mut self) -> Result<(), Broken> {
        self.start()?;
        // How busy the host is: from a few events a day to a few an hour.
        let gap = *self.dice.pick(&[120, 240, 480]);
        while self.world.clock.passed < LENGTH {
            let time = seconds(60 * self.dice.between(1, gap));
            self.wait(time)?;
            self.happen()?;
            self.settle()?;
            self.tally.events += 1;
        }
        Ok(())
    }

    pub(crate) fn write(&mut self, words: &str) {
        self.diary.write(&self.world.clock, words);
    }

    /// Time passes, and the daemon does what is due.
    pub(crate) fn wait(&mut self, time: SignedDuration) -> Result<(), Broken> {
        let until = self.world.clock.passed + time;
        while self.daemon.index.is_some() && self.world.clock.passed < until {
            let now = self.world.now();
            let Some(due) = self.daemon.timetable.next(now) else {
                break;
            };
            if due.at <= now {
                self.run_scheduled(due.policy)?;
                continue;
            }
            let wait = due.at.duration_since(now);
            if self.world.clock.passed + wait > until {
                break;
            }
            self.world.clock.pass(wait);
        }
        let clock = &mut self.world.clock;
        clock.passed = clock.passed.max(until);
        if self.daemon.index.is_some() {
            self.rhythm.is_kept(&self.policies, &self.world.clock)?;
        }
        Ok(())
    }
}
