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
//! crash never leaves half of one. A file of an [earlier] redb is replaced in the same way, by one with
//! its contents.

use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use reclaim_engine::state;
use redb::backends::InMemoryBackend;
use redb::{Database, StorageBackend};

use super::IndexError;
use tables::{Trouble, VERSION, builder, commit, contents, database, guarded, make};

pub(super) use tables::{Batch, Contents};

mod earlier;
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
    /// The contents of a file of an earlier redb, until they are in a new one.
    earlier: Option<Batch>,
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
            earlier: None,
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

    fn read(&mut self, directory: &Path) -> Result<Contents, Trouble> {
        match state::make_directory(directory) {
            Err(error) if !state::is_full(&error) => {
                return Err(Trouble::Io("make the directory of", error));
            }
            Ok(()) | Err(_) => {}
        }
        let Some(bytes) = bytes_of(&self.path)? else {
            return Ok(Contents::default());
        };
        match contents_of(&bytes) {
            Err(Trouble::Earlier) => {
                let contents = earlier::contents(&bytes)?;
                self.earlier = Some(Batch::of(&contents));
                Ok(contents)
            }
            read => read,
        }
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
            lock(&file)?;
            let aside = state::set_aside(&self.path, problem);
            aside.map_err(|error| Trouble::Io("set aside", error))?;
            self.damage = None;
        }
        let exists = self.path.try_exists();
        let exists = exists.map_err(|error| Trouble::Io("find", error))?;
        // Until it is replaced, no program of an earlier version may write to it.
        let mut replaced = None;
        if exists {
            // Earlier versions made it readable for everyone.
            let file = state::open(&self.path).map_err(|error| Trouble::Io("open", error))?;
            if self.earlier.is_some() {
                lock(&file)?;
                replaced = Some(file);
            }
        }
        if exists && replaced.is_none() {
            let opened = guarded(|| builder().open(&self.path).map_err(database))?;
            return Ok((opened, Opened::Existing));
        }
        let new_path = self.path.with_extension("redb.new");
        let making = |error| Trouble::Io("make", error);
        if let Some(directory) = self.path.parent() {
            state::make_directory(directory).map_err(making)?;
        }
        let first = Batch::default();
        let made = guarded(|| make(&new_path, self.earlier.as_ref().unwrap_or(&first)));
        match made {
            Ok(database) => {
                fs::rename(&new_path, &self.path).map_err(making)?;
                state::sync_directory(&self.path).map_err(making)?;
                self.earlier = None;
                let is_replaced = replaced.is_some();
                Ok((
                    database,
                    if is_replaced {
                        Opened::Existing
                    } else {
                        Opened::Empty
                    },
                ))
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
        error_of(&self.path, trouble)
    }
}

/// Reads the file of a directory, and changes nothing.
pub(super) fn read(directory: &Path) -> Result<Contents, IndexError> {
    let path = directory.join(FILE);
    let read = || {
        let Some(bytes) = bytes_of(&path)? else {
            return Ok(None);
        };
        match contents_of(&bytes) {
            Err(Trouble::Earlier) => earlier::contents(&bytes),
            read => read,
        }
        .map(Some)
    };
    let contents = read().map_err(|trouble| error_of(&path, trouble))?;
    contents.ok_or(IndexError::Missing { path })
}

/// Reads a file as a whole; `None` if it does not exist.
fn bytes_of(path: &Path) -> Result<Option<Vec<u8>>, Trouble> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Trouble::Io("open", error)),
    };
    lock(&file)?;
    let mut bytes = Vec::new();
    let read = file.read_to_end(&mut bytes);
    read.map_err(|error| Trouble::Io("read", error))?;
    if bytes.is_empty() {
        return Err(Trouble::Damaged("it is empty".to_owned()));
    }
    Ok(Some(bytes))
}

fn error_of(path: &Path, trouble: Trouble) -> IndexError {
    let path = path.to_owned();
    match trouble {
        Trouble::Io(operation, source) => IndexError::Io {
            operation,
            path,
            source,
        },
        Trouble::InUse => IndexError::InUse { path },
        Trouble::Damaged(problem) => IndexError::Damaged { path, problem },
        // A file that is opened after it was read as one of this redb.
        Trouble::Earlier => IndexError::Damaged {
            path,
            problem: "it is of an earlier version".to_owned(),
        },
        Trouble::Version(version) => IndexError::Version {
            path,
            version,
            known: VERSION,
        },
    }
}

/// Reads the bytes of a file.
fn contents_of(bytes: &[u8]) -> Result<Contents, Trouble> {
    let copy = InMemoryBackend::new();
    let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    copy.set_len(length)
        .and_then(|()| copy.write(0, bytes))
        .map_err(|error| Trouble::Io("read", error))?;
    guarded(|| {
        let opened = builder().create_with_backend(copy);
        let mut database = opened.map_err(self::database)?;
        if !database.check_integrity().map_err(self::database)? {
            return Err(Trouble::Damaged("its checksums do not match".to_owned()));
        }
        contents(&database)
    })
}

/// Locks the file as redb does, for as long as it is open.
fn lock(file: &File) -> Result<(), Trouble> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(Trouble::InUse),
        // redb does without a lock on a filesystem that has none.
        Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => Ok(()),
        Err(TryLockError::Error(error)) => Err(Trouble::Io("lock", error)),
    }
}
