//! The files of the state directory: creates, writes and sets them aside.
//!
//! They are private: files have mode 0600 and directories 0700, regardless of the umask. A failed or
//! torn write is cut back to the last complete line. A damaged file is renamed to
//! `NAME.damaged-TIME`, so that the program can start without it and a person can inspect it.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use jiff::Timestamp;
use tracing::warn;

const FILE_MODE: u32 = 0o600;
const DIRECTORY_MODE: u32 = 0o700;

/// The number of damaged files that this process has found.
static DAMAGED: AtomicU64 = AtomicU64::new(0);

/// Returns the number of damaged state files that this process has found.
pub fn damaged_files() -> u64 {
    DAMAGED.load(Ordering::Relaxed)
}

/// The number of failed writes of this process.
static FAILED_WRITES: AtomicU64 = AtomicU64::new(0);

/// When this process last wrote successfully, in seconds since 1970; 0 if it has not.
static LAST_WRITE: AtomicI64 = AtomicI64::new(0);

/// The writes of state files by this process.
#[derive(Debug, Clone, Copy)]
pub struct StateWrites {
    /// How many failed.
    pub failed: u64,
    /// When the last one succeeded.
    pub last_success: Option<Timestamp>,
}

/// Returns the writes of state files by this process.
pub fn writes() -> StateWrites {
    let last = LAST_WRITE.load(Ordering::Relaxed);
    StateWrites {
        failed: FAILED_WRITES.load(Ordering::Relaxed),
        last_success: Timestamp::from_second(last).ok().filter(|_| last != 0),
    }
}

/// Counts a write of a state file: those of this module, and of files that others write.
pub fn count_write<T, E>(written: Result<T, E>) -> Result<T, E> {
    if written.is_ok() {
        LAST_WRITE.store(reclaim_store::now().as_second(), Ordering::Relaxed);
    } else {
        count_failed_write();
    }
    written
}

/// Counts a write of a state file that could not begin.
pub(crate) fn count_failed_write() {
    FAILED_WRITES.fetch_add(1, Ordering::Relaxed);
}

/// Creates a private directory and its parents. Existing directories do not change.
///
/// # Errors
///
/// If it cannot be created.
pub fn make_directory(path: &Path) -> io::Result<()> {
    let missing = path.ancestors().take_while(|it| !it.is_dir());
    let missing: Vec<PathBuf> = missing.map(Path::to_owned).collect();
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(DIRECTORY_MODE).create(path)?;
    for made in missing.iter().filter(|it| !it.as_os_str().is_empty()) {
        fs::set_permissions(made, Permissions::from_mode(DIRECTORY_MODE))?;
    }
    Ok(())
}

/// Opens a file for reading and writing, and creates it if it does not exist. Makes an existing file
/// private, because a user who can open it can lock it.
///
/// # Errors
///
/// If it cannot be opened or made private.
pub fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).create(true).truncate(false);
    let file = options.mode(FILE_MODE).open(path)?;
    let metadata = file.metadata()?;
    let is_ours = metadata.uid() == rustix::process::geteuid().as_raw();
    if is_ours && metadata.mode() & 0o777 != FILE_MODE {
        file.set_permissions(Permissions::from_mode(FILE_MODE))?;
    }
    Ok(file)
}

/// Replaces a file atomically: after an error it is unchanged.
///
/// # Errors
///
/// If the new file cannot be written. Syncing may also fail after the replacement.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace_after(path, bytes, || Ok(()))
}

/// As [`replace`], with a step between writing and replacing.
fn replace_after(
    path: &Path,
    bytes: &[u8],
    before: impl FnOnce() -> io::Result<()>,
) -> io::Result<()> {
    count_write(replace_uncounted(path, bytes, before))
}

fn replace_uncounted(
    path: &Path,
    bytes: &[u8],
    before: impl FnOnce() -> io::Result<()>,
) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let temporary = PathBuf::from(temporary);
    let write = || {
        let mut file = open(&temporary)?;
        file.set_len(0)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        before()?;
        fs::rename(&temporary, path)
    };
    let written = write();
    if written.is_err() {
        // Deleted, because a partial file would waste space on a full disk.
        drop(fs::remove_file(&temporary));
        return written;
    }
    sync_directory(path)
}

/// Sets a damaged file aside, and replaces it by its readable part. After an error it is unchanged, so
/// that the part can be read again.
///
/// # Errors
///
/// As [`replace`].
pub fn replace_damaged(path: &Path, problem: &str, bytes: &[u8]) -> io::Result<()> {
    note_damage(path, problem);
    let aside = aside(path);
    // A hard link instead of a rename, so that the path always has a file.
    replace_after(path, bytes, || fs::hard_link(path, &aside))?;
    warn!(path = %aside.display(), "set the damaged file aside");
    Ok(())
}

/// Appends a line, which ends with a newline. Cuts off the rest of a torn write first, and of this one
/// if it fails.
///
/// # Errors
///
/// If it cannot be written or synced.
pub fn append_line(path: &Path, line: &[u8]) -> io::Result<()> {
    count_write(append_uncounted(path, line))
}

fn append_uncounted(path: &Path, line: &[u8]) -> io::Result<()> {
    let mut file = open(path)?;
    let end = cut_back(&mut file)?;
    file.seek(SeekFrom::Start(end))?;
    let written = file.write_all(line).and_then(|()| file.sync_data());
    if written.is_err() {
        drop(file.set_len(end));
    }
    written
}

/// Cuts a file back to its last complete line. Returns the new length.
fn cut_back(file: &mut File) -> io::Result<u64> {
    const PART: u64 = 4096;
    let length = file.metadata()?.len();
    let mut after = length;
    let end = loop {
        let from = after.saturating_sub(PART);
        file.seek(SeekFrom::Start(from))?;
        let mut part = Vec::new();
        Read::by_ref(file)
            .take(after - from)
            .read_to_end(&mut part)?;
        if let Some(at) = part.iter().rposition(|byte| *byte == b'\n') {
            break from + u64::try_from(at).unwrap_or(u64::MAX) + 1;
        }
        if from == 0 {
            break 0;
        }
        after = from;
    };
    if end < length {
        file.set_len(end)?;
    }
    Ok(end)
}

/// Sets a damaged file aside and logs it. Returns its new path.
///
/// # Errors
///
/// If it cannot be renamed.
pub fn set_aside(path: &Path, problem: &str) -> io::Result<PathBuf> {
    let aside = aside(path);
    note_damage(path, problem);
    fs::rename(path, &aside)?;
    warn!(path = %aside.display(), "set the damaged file aside");
    Ok(aside)
}

/// Returns the path for a damaged file.
fn aside(path: &Path) -> PathBuf {
    let time = reclaim_store::now().strftime("%Y%m%dT%H%M%S%3fZ");
    let mut aside = path.as_os_str().to_owned();
    aside.push(format!(".damaged-{time}"));
    PathBuf::from(aside)
}

/// Counts and logs a damaged file.
fn note_damage(path: &Path, problem: &str) {
    DAMAGED.fetch_add(1, Ordering::Relaxed);
    warn!(path = %path.display(), problem, "a state file is damaged; continuing without the lost part");
}

/// Syncs the directory of `path` after a rename.
///
/// # Errors
///
/// If the directory cannot be opened or synced.
pub fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|it| !it.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

/// Returns whether an error means that the disk is full.
pub fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn new_files_and_directories_are_private() {
        let directory = tempfile::tempdir().unwrap();
        let above = directory.path().join("above");
        let state = above.join("state");
        make_directory(&state).unwrap();
        assert_eq!([mode(&above), mode(&state)], [0o700; 2]);
        let file = state.join("file");
        fs::write(&file, "").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
        drop(open(&file).unwrap());
        replace(&state.join("whole"), b"whole").unwrap();
        append_line(&state.join("lines"), b"line\n").unwrap();
        for name in ["file", "whole", "lines"] {
            assert_eq!(mode(&state.join(name)), 0o600, "{name}");
        }
        // An existing directory belongs to the operator.
        fs::set_permissions(&above, Permissions::from_mode(0o755)).unwrap();
        make_directory(&state).unwrap();
        assert_eq!(mode(&above), 0o755);
    }

    #[test]
    fn a_line_follows_a_complete_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lines");
        let long = "x".repeat(10_000);
        for (before, after) in [
            (String::new(), "line\n".to_owned()),
            ("one\n".to_owned(), "one\nline\n".to_owned()),
            ("one\ntw".to_owned(), "one\nline\n".to_owned()),
            ("tor".to_owned(), "line\n".to_owned()),
            (format!("one\n{long}"), "one\nline\n".to_owned()),
            (format!("{long}\n"), format!("{long}\nline\n")),
        ] {
            fs::write(&path, before).unwrap();
            append_line(&path, b"line\n").unwrap();
            assert!(fs::read_to_string(&path).unwrap() == after);
        }
    }

    #[test]
    fn a_damaged_file_stays_until_its_replacement_is_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, "damaged").unwrap();
        // Prevents writing the new file.
        let temporary = directory.path().join("file.new");
        fs::create_dir(&temporary).unwrap();
        replace_damaged(&path, "a test", b"whole").unwrap_err();
        assert_eq!(fs::read_to_string(&path).unwrap(), "damaged");
        fs::remove_dir(&temporary).unwrap();
        replace_damaged(&path, "a test", b"whole").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "whole");
        let names = fs::read_dir(directory.path()).unwrap();
        let mut names = names.map(|it| it.unwrap().file_name().into_string().unwrap());
        let aside = names.find(|it| it.starts_with("file.damaged-2")).unwrap();
        let aside = fs::read_to_string(directory.path().join(aside));
        assert_eq!(aside.unwrap(), "damaged");
    }

    #[test]
    fn writes_are_counted() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lines");
        append_line(&path, b"line\n").unwrap();
        let before = writes();
        assert!(before.last_success.is_some());
        let missing = directory.path().join("missing/lines");
        append_line(&missing, b"line\n").unwrap_err();
        replace(&missing, b"line\n").unwrap_err();
        assert!(writes().failed >= before.failed + 2);
    }

    #[test]
    fn a_file_set_aside_has_another_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, "damaged").unwrap();
        let before = damaged_files();
        let aside = set_aside(&path, "a test").unwrap();
        assert!(damaged_files() > before);
        assert!(!path.exists());
        let name = aside.file_name().unwrap().to_str().unwrap();
        assert!(name.starts_with("file.damaged-2"), "{name}");
        assert_eq!(fs::read_to_string(&aside).unwrap(), "damaged");
    }
}
