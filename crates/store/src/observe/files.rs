//! Reading bodies from containerd's own files.
//!
//! A blob is a file below the content store's root, named by its digest, and never written again.
//! The root is a path in containerd's eyes; whether it means the same in ours need not be known,
//! because a body that has the digest is the body. One that is not there, or is anything but what
//! its digest and length say, is left to be asked of containerd.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use reclaim_model::Digest;
use reclaim_oci::{Document, LabelKeys, Limits};

use crate::look::Looks;
use crate::off_thread::blocking;

/// How many files are read at a time: enough to keep a disk busy that has to seek.
const READERS: usize = 4;

/// Fewer files than this are not worth another reader.
const PER_READER: usize = 32;

/// How long a share of the files may take. It is some megabytes.
const PATIENCE: Duration = Duration::from_secs(30);

/// A body that is wanted.
#[derive(Debug)]
pub(super) struct Wish {
    pub(super) digest: Digest,
    /// Its length, as the store has it.
    pub(super) size: u64,
}

/// Reads what can be read of `wishes`, in no certain order.
pub(super) async fn read(
    looks: &Looks,
    root: &Path,
    mut wishes: Vec<Wish>,
    limits: Limits,
    labels: &Arc<LabelKeys>,
) -> Vec<(Digest, Document)> {
    let share = wishes.len().div_ceil(READERS).max(PER_READER);
    let mut readers = Vec::new();
    while !wishes.is_empty() {
        let mine = wishes.split_off(wishes.len().saturating_sub(share));
        let blobs = root.join("blobs");
        let labels = Arc::clone(labels);
        let kind = format!("documents, reader {}", readers.len());
        readers.push(async move {
            let reading = move || read_all(&blobs, mine, &limits, &labels);
            looks.look(&kind, PATIENCE, reading).await
        });
    }
    // One that a dead file system holds up has read nothing; all of its share is asked of
    // containerd.
    let read = futures::future::join_all(readers).await;
    blocking(move || read.into_iter().flatten().flatten().collect()).await
}

fn read_all(
    blobs: &Path,
    wishes: Vec<Wish>,
    limits: &Limits,
    labels: &LabelKeys,
) -> Vec<(Digest, Document)> {
    let read = wishes.into_iter().filter_map(|wish| {
        let Wish { digest, size } = wish;
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

/// Reads a plain file of `size` bytes whole. A longer one is cut off behind that, and so is not
/// what its digest says.
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

    fn wish(digest: &Digest, size: usize) -> Vec<Wish> {
        vec![Wish {
            digest: digest.clone(),
            size: u64::try_from(size).unwrap(),
        }]
    }

    #[test]
    fn only_a_plain_file_of_that_digest_and_length_counts() {
        let index = br#"{"schemaVersion":2,"manifests":[]}"#;
        let digest = reclaim_oci::digest_of(index);
        let root = tempfile::tempdir().unwrap();
        let blobs = root.path().join("blobs");
        let limits = Limits::default();
        let found =
            |size| read_all(&blobs, wish(&digest, size), &limits, &LabelKeys::default()).len();
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
