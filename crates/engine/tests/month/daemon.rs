//! The daemon of a month: it listens, looks, saves, dies and comes back.

use std::collections::BTreeMap;
use std::io;

use jiff::Timestamp;
use reclaim_engine::{Heard, LastUseIndex, Timetable};
use reclaim_model::{Happening, LastUses, Namespace, UseEvent};
use reclaim_plan::targets_in_use;
use tempfile::TempDir;

use crate::clock::{draw, seconds};
use crate::diary::{Broken, hold};
use crate::memory::{Key, Memory};
use crate::month::Month;
use crate::promises::uses;

/// A daemon, there or not.
#[derive(Debug)]
pub(crate) struct Daemon {
    directory: TempDir,
    /// `None` while it is not there.
    pub(crate) index: Option<LastUseIndex>,
    pub(crate) is_listening: bool,
    pub(crate) is_look_due: bool,
    pub(crate) timetable: Timetable,
    /// When each policy was last done with: what the history on disk remembers.
    pub(crate) ended: BTreeMap<String, Timestamp>,
    /// What it must know.
    pub(crate) memory: Memory,
    /// Re-pulls that must, and that may have been counted.
    pub(crate) repulls: (u64, u64),
    saved: Saved,
}

/// What the last save wrote.
#[derive(Debug, Default)]
struct Saved {
    at: Timestamp,
    uses: BTreeMap<Namespace, LastUses>,
    counted: u64,
    memory: Memory,
    repulls: (u64, u64),
}

impl Daemon {
    pub(crate) fn new() -> Self {
        Self {
            directory: directory().expect("a directory"),
            index: None,
            is_listening: false,
            is_look_due: false,
            timetable: Timetable::default(),
            ended: BTreeMap::new(),
            memory: Memory::default(),
            repulls: (0, 0),
            saved: Saved::default(),
        }
    }

    pub(crate) fn is_hearing(&self) -> bool {
        self.index.is_some() && self.is_listening
    }

    pub(crate) fn index(&self) -> &LastUseIndex {
        self.index.as_ref().expect("the daemon is there")
    }
}

/// In memory where that can be had: what a disk does to the file is for others to test.
fn directory() -> io::Result<TempDir> {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir())
}

impl Month {
    /// The daemon starts: it reads what is written, looks, and makes its timetable.
    pub(crate) fn start(&mut self) -> Result<(), Broken> {
        let opened = LastUseIndex::open(self.daemon.directory.path());
        let index = opened.map_err(|error| Broken(format!("the index does not open: {error}")))?;
        self.check_saved(&index)?;
        self.daemon.index = Some(index);
        self.daemon.is_listening = true;
        self.daemon.memory = self.daemon.saved.memory.reread(&self.daemon.memory);
        self.daemon.repulls = self.daemon.saved.repulls;
        self.look()?;
        self.plan_ahead();
        self.rhythm.started(&self.world.clock);
        Ok(())
    }

    /// What was saved is there to the last use, after whatever end.
    fn check_saved(&self, index: &LastUseIndex) -> Result<(), Broken> {
        let saved = &self.daemon.saved;
        for (namespace, uses) in &saved.uses {
            let found = index.uses_at(namespace, saved.at);
            hold(found == *uses, || {
                format!("of `{namespace}` was saved {uses:?}, and is left {found:?}")
            })?;
        }
        let counted = index.repulls();
        hold(counted == saved.counted, || {
            format!(
                "{} re-pulls were saved, and {counted} are left",
                saved.counted
            )
        })
    }

    /// Makes the timetable of a start or of a new configuration.
    pub(crate) fn plan_ahead(&mut self) {
        let Self {
            daemon,
            policies,
            dice,
            world,
            ..
        } = self;
        let ended = |policy: &reclaim_engine::Policy| {
            let name = policy.name().to_string();
            daemon.ended.get(&name).copied()
        };
        let draw = || draw(dice);
        daemon.timetable = Timetable::new(policies, world.now(), ended, draw);
    }

    /// Writes down what changed.
    pub(crate) fn save(&mut self) -> Result<(), Broken> {
        let now = self.world.now();
        let Some(index) = &self.daemon.index else {
            return Ok(());
        };
        let saved = index.save();
        saved.map_err(|error| Broken(format!("the index cannot be saved: {error}")))?;
        let namespaces = self.world.spaces.keys();
        let uses = namespaces.map(|it| (it.clone(), index.uses_at(it, now)));
        self.daemon.saved = Saved {
            at: now,
            uses: uses.collect(),
            counted: index.repulls(),
            memory: self.daemon.memory.clone(),
            repulls: self.daemon.repulls,
        };
        Ok(())
    }

    /// It is gone, whether it has saved or not.
    pub(crate) fn end(&mut self) {
        self.daemon.index = None;
        self.daemon.is_listening = false;
        self.daemon.is_look_due = false;
    }

    /// containerd tells of something. Whether it is heard is what this returns.
    pub(crate) fn tell(&mut self, namespace: &Namespace, what: Happening) -> bool {
        if !self.daemon.is_hearing() {
            return false;
        }
        let event = UseEvent {
            namespace: namespace.clone(),
            at: self.world.now(),
            what,
        };
        if self.daemon.index().hear(&event) == Heard::LookSoon {
            self.daemon.is_look_due = true;
        }
        true
    }

    /// Looks, if what was heard asks for it.
    pub(crate) fn settle(&mut self) -> Result<(), Broken> {
        if self.daemon.is_look_due && self.daemon.is_hearing() {
            let time = seconds(self.dice.between(1, 6));
            self.world.clock.pass(time);
            self.look()?;
        }
        uses(self)
    }

    /// Looks at the whole store.
    pub(crate) fn look(&mut self) -> Result<(), Broken> {
        self.daemon.is_look_due = false;
        let now = self.world.now();
        let inventory = self.world.inventory();
        let mut there: BTreeMap<Key, bool> = BTreeMap::new();
        for (namespace, space) in &self.world.spaces {
            let seen = targets_in_use(&inventory, namespace, &[]);
            self.daemon.index().note(namespace, &seen, now);
            let used = space.used();
            for image in space.images() {
                there.insert((namespace.clone(), image), used.contains(&image));
            }
        }
        // What came back while nobody listened was pulled then.
        for key in there.keys() {
            if self.daemon.memory.gone(key).is_some() {
                self.daemon.repulls.1 += 1;
                self.daemon.memory.restored(key);
            }
        }
        for (namespace, space) in &self.world.spaces {
            for (name, record) in &space.records {
                let key = (namespace.clone(), record.image);
                self.daemon.memory.is_there(&key, name, now);
            }
            let is_there = |it: &String| space.records.contains_key(it);
            self.daemon.memory.named(namespace, is_there);
        }
        self.daemon.memory.look(&there, now);
        let index = self.daemon.index.as_ref().expect("it looks");
        let spaces = self.world.spaces.keys();
        let known: BTreeMap<_, _> = spaces.map(|it| (it, index.uses_at(it, now))).collect();
        let images = &self.world.registry.images;
        self.daemon.memory.forget_unless(|(namespace, image)| {
            let target = &images[*image].target;
            let is_there = there.contains_key(&(namespace.clone(), *image));
            is_there || known[namespace].0.contains_key(target)
        });
        // What was removed by a clock that was ahead counts as gone until the next look.
        if self.world.clock.was_set_back() {
            for key in there.keys() {
                let target = &self.world.registry.images[key.1].target;
                let uses = self.daemon.index().uses_at(&key.0, now);
                if !uses.0.contains_key(target) {
                    self.daemon.memory.set_vague(key);
                }
            }
        }
        uses(self)
    }
}
