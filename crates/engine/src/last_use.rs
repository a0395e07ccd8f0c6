//! When each image was used last, and what of our removals came back.
//!
//! containerd does not tell when an image was used. So it is learnt by watching: from looks at the
//! whole store, and from events in between. What is learnt is in memory and in a file of the
//! daemon's state directory; `docs/last-use.md` says what counts and what is remembered.
//!
//! The rules are pure (`shelf`, `removals`, `state`), apart from the file (`file`) and from the
//! task that watches (`watch`).

mod removals;
mod shelf;
mod state;
mod watch;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use reclaim_model::{LastUses, Namespace, Report, TargetsInUse, UseEvent};

use tracing::debug;

use crate::clock;
use state::State;

/// The name of the file in the state directory.
const FILE: &str = "last-use.redb";

/// What came of hearing an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// All that it can mean is noted.
    Understood,
    /// It may mean more than it says: look at the store soon.
    LookSoon,
}

/// Why last use cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// The file cannot be read, written or made.
    #[error("{operation} `{}`", path.display())]
    Io {
        /// What was being done.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// Another process has the file open.
    #[error("`{}` is in use by another process", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The file is not what it should be.
    #[error(
        "`{}` is damaged: {problem}; move it away to begin without last use: every image then \
         counts as used now",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The file was written by a newer program.
    #[error(
        "`{}` is of version {version}, and this program knows {known}; use the program that \
         wrote it, or move the file away to begin without last use",
        path.display()
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u64,
        /// The version that this program knows.
        known: u64,
    },
}

/// What is known of the last use of every image. All methods may be called from any thread.
#[derive(Debug)]
pub struct LastUseIndex {
    state: Mutex<State>,
    path: Option<PathBuf>,
}

impl LastUseIndex {
    /// Begins with what is written in a directory, which is made if it is not there.
    ///
    /// # Errors
    ///
    /// If the file is damaged, of a newer version, open elsewhere, or cannot be read.
    pub fn open(directory: &Path) -> Result<Self, IndexError> {
        Ok(Self {
            path: Some(directory.join(FILE)),
            ..Self::in_memory()
        })
    }

    /// Begins without knowing anything, and forgets all at the end of the process.
    pub fn in_memory() -> Self {
        Self {
            state: Mutex::default(),
            path: None,
        }
    }

    /// Takes one look at a namespace that began at `now`: what is there, and what is in use.
    pub fn note(&self, namespace: &Namespace, seen: &TargetsInUse, now: Timestamp) {
        self.state().note(namespace, seen, now);
    }

    /// Takes one event of containerd. Returns whether a look at the store should follow.
    pub fn hear(&self, event: &UseEvent) -> Heard {
        self.state().hear(event)
    }

    /// Takes what a run removed, so that its coming back is recognised. A dry run removes nothing,
    /// and a report that was told before is passed over.
    pub fn removed(&self, report: &Report, now: Timestamp) {
        self.state().removed(report, now);
    }

    /// Returns what is known of the images of a namespace, as of this moment.
    pub fn uses(&self, namespace: &Namespace) -> LastUses {
        self.uses_at(namespace, clock::now())
    }

    /// As [`Self::uses`], as of `now`: what is in use was used then, and nothing is later.
    pub fn uses_at(&self, namespace: &Namespace, now: Timestamp) -> LastUses {
        self.state().uses(namespace, now)
    }

    /// Returns how many images came back after a run had removed them, since the index was made.
    pub fn repulls(&self) -> u64 {
        self.state().repulls
    }

    /// Returns the namespaces of which anything is known.
    pub fn namespaces(&self) -> Vec<Namespace> {
        self.state().shelves.keys().cloned().collect()
    }

    /// Whether anything is not written yet.
    pub fn is_changed(&self) -> bool {
        self.state().is_changed()
    }

    /// Writes what changed, durably. It does nothing if nothing did.
    ///
    /// # Errors
    ///
    /// If it cannot be written, on a full disk for instance. Nothing is lost in memory then, and
    /// the next call tries again.
    pub fn save(&self) -> Result<(), IndexError> {
        debug!(path = ?self.path, "kept in memory");
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change is whole but for a panic, and then it has only seen less.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
