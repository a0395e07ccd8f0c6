//! Measures directory trees as `du` does: allocated bytes, each inode once.

use std::collections::BTreeSet;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use reclaim_model::{Place, Unrecorded};
use rustix::fs::{IFlags, OFlags, ioctl_getflags};

use super::Directories;

/// The unit of `st_blocks`.
const BLOCK: u64 = 512;

/// How many files one walk reads at most. More would take minutes.
pub(super) const MAX_FILES: u64 = 4_000_000;

/// What a directory tree occupies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Walked {
    pub(crate) bytes: u64,
    pub(crate) inodes: u64,
}

/// The inodes that were counted, and how many more may be.
#[derive(Debug)]
pub(crate) struct Walk {
    seen: BTreeSet<(u64, u64)>,
    left: u64,
}

impl Default for Walk {
    fn default() -> Self {
        Self {
            seen: BTreeSet::new(),
            left: MAX_FILES,
        }
    }
}

impl Walk {
    /// Counts a tree without the paths that `is_excluded` matches. It stays on the tree's
    /// filesystem and follows no link.
    pub(crate) fn tree(
        &mut self,
        top: &Path,
        is_excluded: impl Fn(&Path) -> bool,
    ) -> io::Result<Walked> {
        let mut walked = Walked::default();
        let metadata = fs::symlink_metadata(top)?;
        let device = metadata.dev();
        let mut stack = vec![(top.to_owned(), metadata)];
        while let Some((path, metadata)) = stack.pop() {
            if metadata.dev() != device || !self.count(&metadata, &mut walked)? {
                continue;
            }
            if !metadata.is_dir() {
                continue;
            }
            let Some(entries) = unless_gone(fs::read_dir(&path))? else {
                continue;
            };
            for entry in entries {
                let Some(entry) = unless_gone(entry)? else {
                    continue;
                };
                let path = entry.path();
                if !is_excluded(&path)
                    && let Some(metadata) = unless_gone(entry.metadata())?
                {
                    stack.push((path, metadata));
                }
            }
        }
        Ok(walked)
    }

    /// Counts one inode. Returns whether it had not been counted before.
    fn count(&mut self, metadata: &Metadata, walked: &mut Walked) -> io::Result<bool> {
        let is_shared = metadata.is_dir() || metadata.nlink() > 1;
        if is_shared && !self.seen.insert((metadata.dev(), metadata.ino())) {
            return Ok(false);
        }
        self.left = self
            .left
            .checked_sub(1)
            .ok_or_else(|| io::Error::other(format!("more than {MAX_FILES} files")))?;
        walked.bytes += metadata.blocks() * BLOCK;
        walked.inodes += 1;
        Ok(true)
    }
}

/// Counts a whole tree.
pub(crate) fn walk(top: &Path) -> io::Result<Walked> {
    Walk::default().tree(top, |_| false)
}

fn unless_gone<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Describes a directory that has no record.
pub(super) fn place(path: &Path) -> io::Result<Place> {
    Ok(Place {
        path: path.display().to_string(),
        bytes: walk(path)?.bytes,
        why: obstacle(path),
    })
}

/// Finds what prevents the removal of a directory: a mount, or an immutable or append-only file.
fn obstacle(top: &Path) -> Option<String> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    // The kernel escapes spaces and the like as octal numbers; IDs of snapshots have none.
    let mut mount_points = mounts
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(Path::new);
    if let Some(point) = mount_points.find(|point| point.starts_with(top)) {
        return Some(format!("`{}` is a mount point", point.display()));
    }
    let mut left = MAX_FILES;
    let mut stack = vec![top.to_owned()];
    while let Some(path) = stack.pop() {
        left = left.checked_sub(1)?;
        let Ok(metadata) = fs::symlink_metadata(&path) else {
            continue;
        };
        if !metadata.is_dir() && !metadata.is_file() {
            continue;
        }
        if let Some(flag) = flag(&path) {
            return Some(format!("`{}` is {flag}", path.display()));
        }
        if metadata.is_dir()
            && let Ok(entries) = fs::read_dir(&path)
        {
            stack.extend(entries.flatten().map(|entry| entry.path()));
        }
    }
    None
}

/// Returns the flag of a file or directory that forbids its removal.
fn flag(path: &Path) -> Option<&'static str> {
    let open_flags = OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = File::options()
        .read(true)
        .custom_flags(i32::try_from(open_flags.bits()).ok()?)
        .open(path)
        .ok()?;
    let flags = ioctl_getflags(file).ok()?;
    if flags.contains(IFlags::IMMUTABLE) {
        Some("immutable")
    } else if flags.contains(IFlags::APPEND) {
        Some("append-only")
    } else {
        None
    }
}

/// Counts the bytes in containerd's directories that are in no blob, no ingest, no snapshot and no
/// directory without a record.
///
/// # Errors
///
/// If a directory cannot be read, or there are more than [`MAX_FILES`] files.
pub(super) fn own_bytes(
    content: &Path,
    directories: &Directories,
    unrecorded: &[Unrecorded],
) -> io::Result<u64> {
    let places: BTreeSet<PathBuf> = unrecorded
        .iter()
        .flat_map(|unrecorded| &unrecorded.places)
        .map(|place| PathBuf::from(&place.path))
        .collect();
    let blobs = content.join("blobs");
    let ingests = content.join("ingest");
    let counted: BTreeSet<PathBuf> = directories
        .listings
        .values()
        .flat_map(|listing| {
            let names = listing.entries.keys().map(|name| listing.path.join(name));
            names.map(|path| listing.layout.counted(&path))
        })
        .collect();
    let unseen: BTreeSet<&PathBuf> = directories.unseen.values().flatten().collect();
    let is_counted_elsewhere = |path: &Path| {
        let is_blob = || path.parent().and_then(Path::parent) == Some(&blobs);
        let is_ingest = || path.file_name() == Some("data".as_ref()) && path.starts_with(&ingests);
        is_blob()
            || is_ingest()
            || counted.contains(path)
            || places.contains(path)
            || unseen.contains(&path.to_owned())
    };
    let mut walk = Walk::default();
    let mut bytes = 0;
    let listings = directories.listings.values().map(|listing| &*listing.path);
    // A directory and its parent may be on different filesystems, so each is walked by itself.
    let tops = std::iter::once(content)
        .chain(listings)
        .flat_map(|path| path.parent().into_iter().chain([path]));
    for top in tops {
        bytes += walk.tree(top, is_counted_elsewhere)?.bytes;
    }
    Ok(bytes)
}
