//! The file: a redb database in the daemon's state directory.
//!
//! # How it is read
//!
//! As a whole into memory, and checked there. So a damaged file is set aside unchanged, without a
//! repair, and a file can be read on a full disk. An interrupted write is not damage: redb returns to
//! the last commit.
//!
//! # How it is written
//!
//! One durable commit for each save. A failed write leaves the file at its last commit, and the next
//! save opens it again. A new file is made under another name and renamed when it is complete, so a
//! crash never leaves half of one.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use reclaim_engine::state;
use redb::backends::{FileBackend, InMemoryBackend};
use redb::{Database, StorageBackend};

use super::IndexError;
use tables::{Trouble, VERSION, builder, commit, contents, database, guarded, make};

pub(super) use tables::{Batch, Contents};

mod tables;

/// The name of the file in the state directory.
pub(super) const FILE: &str = "last-use.redb";

/// Whether the opened file has the earlier contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opened {
    Existing,
    /// It was just made.
    Empty,
}

/// The file of the index, locked by this process.
#[derive(Debug)]
pub(super) struct Store {
    path: PathBuf,
    /// `None` after an error: the next write opens it again.
    open: Option<Database>,
    /// What is wrong with the file, until it is set aside.
    damage: Option<String>,
}

impl Store {
    /// Reads the file of a directory, which is made if it does not exist.
    ///
    /// On a full disk a later save opens or makes the file.
    pub(super) fn open(directory: &Path) -> Result<(Self, Contents), IndexError> {
        let path = directory.join(FILE);
        let mut store = Self {
            path,
            open: None,
            damage: None,
        };
        let contents = match store.read(directory) {
            Ok(contents) => contents,
            Err(Trouble::Damaged(problem)) => {
                store.damage = Some(problem);
                Contents::default()
            }
            Err(trouble) => return Err(store.error(trouble)),
        };
        match store.ready() {
            Err(IndexError::Io { source, .. }) if state::is_full(&source) => {}
            Ok(_) => {}
            Err(error) => return Err(error),
        }
        Ok((store, contents))
    }

    fn read(&self, directory: &Path) -> Result<Contents, Trouble> {
        match state::make_directory(directory) {
            Err(error) if !state::is_full(&error) => {
                return Err(Trouble::Io("make the directory of", error));
            }
            Ok(()) | Err(_) => {}
        }
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Contents::default()),
            Err(error) => return Err(Trouble::Io("open", error)),
        };
        let backend = FileBackend::new(file).map_err(database)?;
        let copied = || {
            let length = backend.len()?;
            let bytes = backend.read(0, usize::try_from(length).unwrap_or(usize::MAX))?;
            let copy = InMemoryBackend::new();
            copy.set_len(length)?;
            copy.write(0, &bytes)?;
            Ok(copy)
        };
        let copy = copied().map_err(|error| Trouble::Io("read", error))?;
        if copy.len().is_ok_and(|length| length == 0) {
            return Err(Trouble::Damaged("it is empty".to_owned()));
        }
        guarded(|| {
            let mut database = builder()
                .create_with_backend(copy)
                .map_err(self::database)?;
            if !database.check_integrity().map_err(self::database)? {
                return Err(Trouble::Damaged("its checksums do not match".to_owned()));
            }
            contents(&database)
        })
    }

    /// Opens the file for writing unless it is open.
    pub(super) fn ready(&mut self) -> Result<Opened, IndexError> {
        if self.open.is_some() {
            return Ok(Opened::Existing);
        }
        let opened = self.open_or_make();
        let (database, opened) = opened.map_err(|trouble| self.failed(trouble))?;
        self.open = Some(database);
        Ok(opened)
    }

    fn open_or_make(&mut self) -> Result<(Database, Opened), Trouble> {
        if let Some(problem) = &self.damage {
            // Lock it first: another process may be writing it.
            let file = state::open(&self.path).map_err(|error| Trouble::Io("open", error))?;
            drop(FileBackend::new(file).map_err(database)?);
            let aside = state::set_aside(&self.path, problem);
            aside.map_err(|error| Trouble::Io("set aside", error))?;
            self.damage = None;
        }
        let exists = self.path.try_exists();
        if exists.map_err(|error| Trouble::Io("find", error))? {
            // Earlier versions made it readable for everyone.
            drop(state::open(&self.path).map_err(|error| Trouble::Io("open", error))?);
            let opened = guarded(|| builder().open(&self.path).map_err(database))?;
            return Ok((opened, Opened::Existing));
        }
        let new_path = self.path.with_extension("redb.new");
        let making = |error| Trouble::Io("make", error);
        if let Some(directory) = self.path.parent() {
            state::make_directory(directory).map_err(making)?;
        }
        let made = guarded(|| make(&new_path));
        match made {
            Ok(database) => {
                fs::rename(&new_path, &self.path).map_err(making)?;
                state::sync_directory(&self.path).map_err(making)?;
                Ok((database, Opened::Empty))
            }
            Err(trouble) => {
                // A partial file would occupy space.
                drop(fs::remove_file(&new_path));
                Err(trouble)
            }
        }
    }

    /// Commits a batch. After an error the file is unchanged.
    pub(super) fn write(&mut self, batch: &Batch) -> Result<(), IndexError> {
        let Some(database) = self.open.take() else {
            let error = io::Error::other("the file is not open");
            return Err(self.error(Trouble::Io("write", error)));
        };
        // Dropped on an error: redb does nothing more with a file after one.
        let written = guarded(|| commit(&database, batch).map(|()| database));
        match written {
            Ok(database) => {
                self.open = Some(database);
                Ok(())
            }
            Err(trouble) => Err(self.failed(trouble)),
        }
    }

    /// Makes an error, and marks a damaged file to be set aside before the next write.
    fn failed(&mut self, trouble: Trouble) -> IndexError {
        if let Trouble::Damaged(problem) = &trouble {
            self.damage = Some(problem.clone());
        }
        self.error(trouble)
    }

    fn error(&self, trouble: Trouble) -> IndexError {
        let path = self.path.clone();
        match trouble {
            Trouble::Io(operation, source) => IndexError::Io {
                operation,
                path,
                source,
            },
            Trouble::InUse => IndexError::InUse { path },
            Trouble::Damaged(problem) => IndexError::Damaged { path, problem },
            Trouble::Version(version) => IndexError::Version {
                path,
                version,
                known: VERSION,
            },
        }
    }
}
