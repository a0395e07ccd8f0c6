//! Generated layers, as gzip compresses those of real images.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};

use reclaim_model::Digest;
use reclaim_testkit::digest_of;

use crate::host::{named, platforms};
use crate::images::{GARBAGE, IMAGES, LEASED};

/// gzip leaves about two of five bytes of such layers: 48.5 of 117 MB of `debian:12`.
const UNPACKED: usize = 5;
const COMPRESSED: usize = 2;

/// The size of an unpacked file, which is about the average in `debian:12`, in whole blocks of a disk.
const FILE: usize = 20_480;

/// The unit of a tar archive.
const BLOCK: usize = 512;

/// A compressed layer.
pub(crate) struct Layer {
    pub(crate) bytes: Vec<u8>,
    /// The digest of the archive, before compression.
    pub(crate) diff_id: Digest,
}

/// All layers by name, generated once.
pub(crate) struct Layers {
    by_name: BTreeMap<String, Layer>,
    scale: u32,
}

impl Layers {
    /// Generates the layers of all images, with sizes divided by `scale`.
    pub(crate) fn generate(scale: u32) -> Self {
        let directory = tempfile::tempdir().expect("there is a temporary directory");
        let mut layers = Self {
            by_name: BTreeMap::new(),
            scale,
        };
        let file = directory.path().join("layer.tar");
        for shape in &IMAGES {
            for platform in platforms(shape) {
                for (name, size) in named(shape, &platform) {
                    layers.add(&name, size, &file);
                }
            }
        }
        for (number, size) in GARBAGE.iter().chain(&LEASED).enumerate() {
            layers.add(&garbage(number), *size, &file);
        }
        layers
    }

    /// Returns a layer by name.
    pub(crate) fn get(&self, name: &str) -> &Layer {
        &self.by_name[name]
    }

    fn add(&mut self, name: &str, kilobytes: u32, file: &Path) {
        if self.by_name.contains_key(name) {
            return;
        }
        let compressed = kilobytes as usize * 1000 / self.scale as usize;
        let tar = tar(name, compressed * UNPACKED / COMPRESSED);
        let diff_id = digest_of(&tar);
        fs::write(file, tar).expect("the directory is writable");
        let gzip = Command::new("gzip")
            .args(["-1", "--no-name", "--stdout"])
            .stdin(File::open(file).expect("the file was just written"))
            .stderr(Stdio::inherit())
            .output()
            .expect("gzip is installed");
        assert!(gzip.status.success(), "gzip failed");
        let layer = Layer {
            bytes: gzip.stdout,
            diff_id,
        };
        self.by_name.insert(name.to_owned(), layer);
    }
}

/// Returns the name of a layer that no image has.
pub(crate) fn garbage(number: usize) -> String {
    format!("garbage {number}")
}

/// Returns an archive with files of so many bytes in all, of which gzip leaves about two fifths.
fn tar(name: &str, bytes: usize) -> Vec<u8> {
    let seed = digest_of(name.as_bytes());
    let mut state = number(&seed.bytes()[..8]);
    // In the names of files, so that no layer hides another's.
    let layer = number(&seed.bytes()[8..16]);
    let mut tar = Vec::new();
    let mut left = bytes.max(1);
    for file in 0.. {
        if left == 0 {
            break;
        }
        let size = left.min(FILE);
        let path = format!("{layer:016x}-{file}");
        tar.extend(header(&path, size));
        let end = tar.len() + size;
        let random = tar.len() + size * COMPRESSED / UNPACKED;
        while tar.len() < random {
            tar.extend(split_mix(&mut state).to_le_bytes());
        }
        tar.resize(end, b'#');
        tar.resize(tar.len().next_multiple_of(BLOCK), 0);
        left -= size;
    }
    tar.resize(tar.len() + 2 * BLOCK, 0);
    tar
}

fn number(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// `SplitMix64`: short, and its output does not compress.
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Returns the header of a regular file, by POSIX.
fn header(path: &str, size: usize) -> Vec<u8> {
    let mut header = vec![0; BLOCK];
    let mut put = |offset: usize, field: &[u8]| {
        header[offset..offset + field.len()].copy_from_slice(field);
    };
    put(0, path.as_bytes());
    put(100, b"0000644\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, format!("{size:011o}\0").as_bytes());
    put(136, b"00000000000\0");
    // The checksum counts its own field as spaces.
    put(148, b"        ");
    put(156, b"0");
    put(257, b"ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
}
