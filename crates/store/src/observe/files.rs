//! Reads documents from containerd's own files.
//!
//! A blob is a file below the content store's root, named by its digest and never changed. The root
//! is a path on containerd's machine. It does not matter whether it means the same here, because
//! the digest proves a body. A file that is missing or does not have the digest and size is left
//! out, to be requested from containerd.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use reclaim_model::Digest;
use reclaim_oci::{Document, LabelKeys, Limits};

use crate::disk_tasks::DiskTasks;
use crate::off_thread::blocking;

/// How many files are read at a time: enough to keep a disk with seek times busy.
const READERS: usize = 4;

/// How many files are worth another reader.
const PER_READER: usize = 32;

/// How long one reader may take for its share of the files, some megabytes.
const DEADLINE: Duration = Duration::from_secs(30);

/// Reads those of the `wanted` blobs that can be read, in any order. Each has its size.
pub(super) async fn read(
    disk_tasks: &DiskTasks,
    root: &Path,
    mut wanted: Vec<(Digest, u64)>,
    limits: Limits,
    labels: &Arc<LabelKeys>,
) -> Vec<(Digest, Document)> {
    let share = wanted.len().div_ceil(READERS).max(PER_READER);
    let mut readers = Vec::new();
    while !wanted.is_empty() {
        let mine = wanted.split_off(wanted.len().saturating_sub(share));
        let blobs = root.join("blobs");
        let labels = Arc::clone(labels);
        let kind = format!("documents, reader {}", readers.len());
        readers.push(async move {
            let reading = move || read_all(&blobs, mine, &limits, &labels);
            disk_tasks.run(&kind, DEADLINE, reading).await
        });
    }
    // A reader that times out returns nothing; containerd then sends all of its share.
    let read = futures::future::join_all(readers).await;
    blocking(move || read.into_iter().flatten().flatten().collect()).await
}

fn read_all(
    blobs: &Path,
    wanted: Vec<(Digest, u64)>,
    limits: &Limits,
    labels: &LabelKeys,
) -> Vec<(Digest, Document)> {
    let read = wanted.into_iter().filter_map(|(digest, size)| {
        limits.check_size(size).ok()?;
        let body = read_file(&path(blobs, &digest), size).ok()?;
        let document = reclaim_oci::read(&digest, Some(size), &body, limits, labels);
        Some((digest, document.ok()?))
    });
    read.collect()
}

fn path(blobs: &Path, digest: &Digest) -> PathBuf {
    blobs.join(digest.algorithm()).join(digest.hex())
}

/// Reads a regular file of `size` bytes. Of a longer one it reads one byte more, so that the digest
/// does not match.
fn read_file(path: &Path, size: u64) -> io::Result<Vec<u8>> {
    // Opening a pipe would wait for its other end.
    if !fs::symlink_metadata(path)?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut body = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
    File::open(path)?.take(size + 1).read_to_end(&mut body)?;
    Ok(body)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    const MANIFEST: &[u8] = br#"{"schemaVersion":2,"layers":[]}"#;

    #[test]
    fn reads_only_a_regular_file_of_that_digest_and_size() {
        let index = br#"{"schemaVersion":2,"manifests":[]}"#;
        let digest = reclaim_oci::digest_of(index);
        let root = tempfile::tempdir().unwrap();
        let blobs = root.path().join("blobs");
        let limits = Limits::default();
        let found = |size: usize| {
            let wanted = vec![(digest.clone(), u64::try_from(size).unwrap())];
            read_all(&blobs, wanted, &limits, &LabelKeys::default()).len()
        };
        let file = path(&blobs, &digest);
        assert_eq!(found(index.len()), 0, "there is no file");

        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, index).unwrap();
        assert_eq!(found(index.len()), 1);
        for size in [0, index.len() - 1, index.len() + 1] {
            assert_eq!(found(size), 0, "of {size} bytes");
        }
        fs::write(&file, MANIFEST).unwrap();
        assert_eq!(found(MANIFEST.len()), 0, "it is something else");

        let elsewhere = root.path().join("elsewhere");
        fs::write(&elsewhere, index).unwrap();
        fs::remove_file(&file).unwrap();
        symlink(&elsewhere, &file).unwrap();
        assert_eq!(found(index.len()), 0, "it is a link");
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
        assert_eq!(found(index.len()), 0, "it is a directory");
    }
}
