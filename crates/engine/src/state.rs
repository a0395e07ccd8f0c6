//! The files of the state directory: how they are made, written and set aside.
//!
//! They are for nobody else: files have mode 0600 and directories 0700, whatever the umask says.
//! A write that fails or is torn is cut back to what was whole. A damaged file is set aside under
//! `NAME.damaged-TIME`, so that a program can start without it and a person can look at it.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use tracing::warn;

const FILE_MODE: u32 = 0o600;
const DIRECTORY_MODE: u32 = 0o700;

/// How many damaged files this process has come across.
static DAMAGED: AtomicU64 = AtomicU64::new(0);

/// Returns how many damaged state files this process has found.
pub fn damaged_files() -> u64 {
    DAMAGED.load(Ordering::Relaxed)
}

/// Makes a directory and those above it, closed to others. One that is there is left as it is.
///
/// # Errors
///
/// If it cannot be made.
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

/// Opens a file for reading and writing, and makes it if it is not there. One that was made with
/// more permissions loses them: who can open a file can lock it.
///
/// # Errors
///
/// If it cannot be opened, or not be closed to others.
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

/// Replaces a file as a whole: after an error it is what it was.
///
/// # Errors
///
/// If the new one cannot be written. Once it is in place, it may still fail to be made durable.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace_after(path, bytes, || Ok(()))
}

/// As [`replace`], with something to do between the writing and the replacing.
fn replace_after(
    path: &Path,
    bytes: &[u8],
    before: impl FnOnce() -> io::Result<()>,
) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let write = || {
        let mut file = open(&beside)?;
        file.set_len(0)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        before()?;
        fs::rename(&beside, path)
    };
    let written = write();
    if written.is_err() {
        // Whatever is left of it is in the way of those who want room.
        drop(fs::remove_file(&beside));
        return written;
    }
    sync_directory(path)
}

/// Replaces a damaged file by what could be read of it, and sets it aside. After an error it is
/// where it was, so that what could be read is read again.
///
/// # Errors
///
/// As [`replace`].
pub fn replace_damaged(path: &Path, problem: &str, bytes: &[u8]) -> io::Result<()> {
    note_damage(path, problem);
    let aside = aside(path);
    // A second name and not another: the path is never without a file.
    replace_after(path, bytes, || fs::hard_link(path, &aside))?;
    warn!(path = %aside.display(), "the damaged file is set aside");
    Ok(())
}

/// Appends a line, which ends with a newline. What a torn write left at the end is cut off
/// before, and what of this one is left if it fails.
///
/// # Errors
///
/// If it cannot be written, or not be made durable.
pub fn append_line(path: &Path, line: &[u8]) -> io::Result<()> {
    let mut file = open(path)?;
    let end = cut_back(&mut file)?;
    file.seek(SeekFrom::Start(end))?;
    let written = file.write_all(line).and_then(|()| file.sync_data());
    if written.is_err() {
        drop(file.set_len(end));
    }
    written
}

/// Cuts a file of lines back to its last whole line. Returns where that ends.
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

/// Sets a damaged file aside and says so. Returns where it is by now.
///
/// # Errors
///
/// If it cannot be renamed.
pub fn set_aside(path: &Path, problem: &str) -> io::Result<PathBuf> {
    let aside = aside(path);
    note_damage(path, problem);
    fs::rename(path, &aside)?;
    warn!(path = %aside.display(), "the damaged file is set aside");
    Ok(aside)
}

/// Returns where a damaged file is set aside.
fn aside(path: &Path) -> PathBuf {
    let time = reclaim_store::now().strftime("%Y%m%dT%H%M%S%3fZ");
    let mut aside = path.as_os_str().to_owned();
    aside.push(format!(".damaged-{time}"));
    PathBuf::from(aside)
}

/// Counts a damaged file and says so.
fn note_damage(path: &Path, problem: &str) {
    DAMAGED.fetch_add(1, Ordering::Relaxed);
    warn!(path = %path.display(), problem, "a state file is damaged; going on without what it lacks");
}

/// Makes a rename within the directory of `path` durable.
///
/// # Errors
///
/// If the directory cannot be opened or synced.
pub fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|it| !it.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

/// Whether there is no room to write.
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
    fn what_is_made_is_closed_to_others() {
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
        // What is there already is the operator's.
        fs::set_permissions(&above, Permissions::from_mode(0o755)).unwrap();
        make_directory(&state).unwrap();
        assert_eq!(mode(&above), 0o755);
    }

    #[test]
    fn a_line_follows_a_whole_one() {
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
    fn a_damaged_file_stays_until_what_replaces_it_is_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, "damaged").unwrap();
        // In the way of the new one.
        let beside = directory.path().join("file.new");
        fs::create_dir(&beside).unwrap();
        replace_damaged(&path, "a test", b"whole").unwrap_err();
        assert_eq!(fs::read_to_string(&path).unwrap(), "damaged");
        fs::remove_dir(&beside).unwrap();
        replace_damaged(&path, "a test", b"whole").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "whole");
        let names = fs::read_dir(directory.path()).unwrap();
        let mut names = names.map(|it| it.unwrap().file_name().into_string().unwrap());
        let aside = names.find(|it| it.starts_with("file.damaged-2")).unwrap();
        let aside = fs::read_to_string(directory.path().join(aside));
        assert_eq!(aside.unwrap(), "damaged");
    }

    #[test]
    fn what_is_set_aside_is_there_under_another_name() {
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
