//! When each image was used last, and what of our removals came back.
//!
//! containerd does not tell when an image was used. So it is learnt by watching: from looks at the
//! whole store, and from events in between. What is learnt is in memory and in a file of the
//! daemon's state directory; `docs/last-use.md` says what counts and what is remembered.
//!
//! The rules are pure (`known`, `removals`, `state`), apart from the file (`file`) and from the
//! task that watches (`watch`).

mod file;
mod known;
mod removals;
mod state;
#[cfg(test)]
mod tests;
mod watch;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use reclaim_model::{LastUses, Namespace, Report, TargetsInUse, UseEvent};
use tokio::sync::Notify;

use file::{Opened, Store};
use state::State;

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
    #[error("`{}` is damaged: {problem}; it is set aside before the next write", path.display())]
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
    // LOCK ORDER: the file, then the state.
    file: Mutex<Option<Store>>,
    state: Mutex<State>,
    /// Wakes whoever saves.
    changed: Notify,
}

impl LastUseIndex {
    /// Begins with what is written in a directory, which is made if it is not there.
    ///
    /// On a full disk nothing can be made or written; what is there is read, and the rest waits
    /// for [`Self::save`].
    ///
    /// # Errors
    ///
    /// If the file is of a newer version, open elsewhere, or cannot be read. A damaged one is set
    /// aside: every image then counts as used now.
    pub fn open(directory: &Path) -> Result<Self, IndexError> {
        let (file, contents) = Store::open(directory)?;
        Ok(Self {
            file: Mutex::new(Some(file)),
            state: Mutex::new(State::of(contents)),
            changed: Notify::new(),
        })
    }

    /// Begins without knowing anything, and forgets all at the end of the process.
    pub fn in_memory() -> Self {
        Self {
            file: Mutex::default(),
            state: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// Takes one look at a namespace that began at `now`: what is there, and what is in use.
    pub fn note(&self, namespace: &Namespace, seen: &TargetsInUse, now: Timestamp) {
        self.state().note(namespace, seen, now);
        self.changed.notify_one();
    }

    /// Takes one event of containerd. Returns whether a look at the store should follow.
    pub fn hear(&self, event: &UseEvent) -> Heard {
        let heard = self.state().hear(event);
        self.changed.notify_one();
        heard
    }

    /// Takes what a run removed, so that its coming back is recognised. A dry run removes nothing,
    /// and a report that was told before is passed over.
    pub fn removed(&self, report: &Report, now: Timestamp) {
        self.state().removed(report, now);
        self.changed.notify_one();
    }

    /// Returns what is known of the images of a namespace, as of `now`: what is in use was used
    /// then, and nothing is later.
    pub fn uses_at(&self, namespace: &Namespace, now: Timestamp) -> LastUses {
        self.state().uses(namespace, now)
    }

    /// Returns how many images came back after a run had removed them, since the index was made.
    pub fn repulls(&self) -> u64 {
        self.state().repulls
    }

    /// Returns the namespaces of which anything is known.
    pub fn namespaces(&self) -> Vec<Namespace> {
        self.state().namespaces.keys().cloned().collect()
    }

    /// Waits until something may have changed since this returned last.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
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
        // What redb did before a panic is dropped with the database.
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(file) = file.as_mut() else {
            return Ok(());
        };
        if !self.is_changed() {
            return Ok(());
        }
        if file.ready()? == Opened::Empty {
            self.state().write_all_again();
        }
        let batch = self.state().take_changes();
        let written = file.write(&batch);
        if written.is_err() {
            self.state().put_back(&batch);
        }
        written
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change is whole but for a panic, and then it has only seen less.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
