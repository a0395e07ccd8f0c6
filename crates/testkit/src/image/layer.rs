//! Layers of one file each: incompressible bytes from a seed, or a program.

use bytes::Bytes;

use crate::namespace::digest_of;

/// The unit of a tar archive, by POSIX.
const TAR_BLOCK: usize = 512;

/// A layer with one file.
///
/// The blob is an uncompressed tar, so its digest is also the diff ID. Layers with the same seed and
/// length are the same blob; with another seed they differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer(Content);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Content {
    /// So many bytes, generated from the seed.
    Seeded {
        seed: u64,
        bytes: usize,
    },
    Program {
        name: String,
        file: Bytes,
    },
}

impl Layer {
    /// Returns the layer of `seed` with a file of `bytes`.
    pub fn random(seed: u64, bytes: usize) -> Self {
        Self(Content::Seeded { seed, bytes })
    }

    /// Returns a layer with a program for containers in the root directory.
    pub fn program(name: &str, file: Vec<u8>) -> Self {
        Self(Content::Program {
            name: name.to_owned(),
            file: file.into(),
        })
    }

    /// Returns the layer of `name` with a file of `bytes`, for images that share a base.
    pub fn named(name: &str, bytes: usize) -> Self {
        let digest = digest_of(name.as_bytes());
        let first = digest.bytes().iter().take(8);
        let seed = first.fold(0, |seed, byte| seed << 8 | u64::from(*byte));
        Self::random(seed, bytes)
    }

    /// Returns the name of the layer's file.
    pub(super) fn file_name(&self) -> String {
        match &self.0 {
            Content::Seeded { seed, bytes: _ } => format!("layer-{seed:016x}"),
            Content::Program { name, file: _ } => name.clone(),
        }
    }

    /// Returns the permissions of the layer's file.
    pub(super) fn mode(&self) -> u32 {
        match &self.0 {
            Content::Seeded { .. } => 0o644,
            Content::Program { .. } => 0o755,
        }
    }

    /// Returns the bytes of the layer's file.
    pub(super) fn file(&self) -> Bytes {
        match &self.0 {
            Content::Seeded { seed, bytes } => seeded(*seed, *bytes).into(),
            Content::Program { name: _, file } => file.clone(),
        }
    }

    /// Returns the blob: a POSIX tar with the file.
    pub(super) fn tar(&self) -> Vec<u8> {
        let file = self.file();
        let mut tar = tar_header(&self.file_name(), self.mode(), file.len());
        tar.extend(file);
        // The last block of the file is padded, and two empty blocks end the archive.
        let end = tar.len().next_multiple_of(TAR_BLOCK) + 2 * TAR_BLOCK;
        tar.resize(end, 0);
        tar
    }
}

fn seeded(mut seed: u64, bytes: usize) -> Vec<u8> {
    let mut file = Vec::with_capacity(bytes + 8);
    while file.len() < bytes {
        file.extend(split_mix(&mut seed).to_le_bytes());
    }
    file.truncate(bytes);
    file
}

/// `SplitMix64`: short, and its output does not compress.
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Returns the header block of a regular file, owned by root, from 1970.
fn tar_header(name: &str, mode: u32, size: usize) -> Vec<u8> {
    let mut header = vec![0; TAR_BLOCK];
    let mut put = |offset: usize, field: &[u8]| {
        header[offset..offset + field.len()].copy_from_slice(field);
    };
    put(0, name.as_bytes());
    put(100, format!("{mode:07o}\0").as_bytes());
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tar_extracts_a_layer() {
        let layer = Layer::named("base", 1000);
        let directory = tempfile::tempdir().unwrap();
        let archive = directory.path().join("layer.tar");
        std::fs::write(&archive, layer.tar()).unwrap();
        let status = std::process::Command::new("tar")
            .current_dir(directory.path())
            .args(["-xf", "layer.tar"])
            .status()
            .unwrap();
        assert!(status.success());
        let file = std::fs::read(directory.path().join(layer.file_name())).unwrap();
        assert_eq!(file, layer.file());
    }

    #[test]
    fn depends_on_seed_and_length() {
        assert_eq!(Layer::named("a", 9).tar(), Layer::named("a", 9).tar());
        assert_ne!(Layer::named("a", 9).tar(), Layer::named("b", 9).tar());
        assert_ne!(Layer::random(1, 9).file(), Layer::random(2, 9).file());
    }
}
