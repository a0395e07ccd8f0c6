//! How much of a hostile document is read at most.

use crate::error::ReadError;
use crate::kind::Kind;

/// The largest manifest or index that is read, in bytes: 4 MiB.
///
/// Registries refuse larger ones (distribution `registry/handlers/manifests.go`,
/// `maxManifestBodySize`) and containerd fetches hardly larger ones
/// (`core/remotes/docker/resolver.go`, `MaxManifestSize`, 4·1048²). A manifest with the 128
/// layers that runtimes mount at most takes some 32 KiB.
pub const MAX_MANIFEST_BYTES: u64 = 4 << 20;

/// The largest image config that is read, in bytes: 8 MiB.
///
/// Configs are blobs, so neither registries nor the specification bound them, and they hold
/// what grows: the history with whole build scripts, and `BuildKit`'s inline cache. Hence more
/// than for manifests; not much more, because many are read side by side.
pub const MAX_CONFIG_BYTES: u64 = 8 << 20;

/// The most children that one document may name, and the most diff IDs of one config.
///
/// Overlay mounts take 128 layers in Docker and 500 in the kernel; the largest public indexes
/// list some hundreds of manifests; artifacts with one layer a file reach thousands. It
/// bounds what a walk queues for one document; 4 MiB would have room for 38,000.
pub const MAX_CHILDREN: usize = 10_000;

/// The most labels that one config may carry.
///
/// Generated labels reach some hundreds. Each label filter looks at each label of each image,
/// and labels are kept in the inventory for the whole run.
pub const MAX_LABELS: usize = 4_096;

/// The deepest level at which a document is read; the target of an image is level 0.
///
/// The image specification allows an index in an index and names no bound. Images nest one
/// level (index, manifest, config: levels 0 to 2), some two. Digests make cycles impossible,
/// but not a chain of a million indexes.
pub const MAX_DEPTH: usize = 8;

/// Bounds on one walk. A document beyond them is an error, never a shortened document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a manifest or an index.
    pub max_manifest_bytes: u64,
    /// Bytes of an image config.
    pub max_config_bytes: u64,
    /// Children of one manifest or index; diff IDs of one config.
    pub max_children: usize,
    /// Labels of one config.
    pub max_labels: usize,
    /// The deepest level that is read, counted from 0.
    pub max_depth: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_manifest_bytes: MAX_MANIFEST_BYTES,
            max_config_bytes: MAX_CONFIG_BYTES,
            max_children: MAX_CHILDREN,
            max_labels: MAX_LABELS,
            max_depth: MAX_DEPTH,
        }
    }
}

impl Limits {
    /// Checks a size in bytes before the body is fetched: a descriptor's, or the store's.
    ///
    /// # Errors
    ///
    /// [`ReadError::TooLarge`]; do not fetch the blob. Kinds that are not read have no bound.
    pub fn check_size(&self, kind: Kind, size: u64) -> Result<(), ReadError> {
        let limit = match kind {
            Kind::Index | Kind::Manifest => self.max_manifest_bytes,
            Kind::Config => self.max_config_bytes,
            Kind::Schema1 | Kind::Leaf => return Ok(()),
        };
        if size > limit {
            return Err(ReadError::TooLarge {
                kind,
                limit,
                got: size,
            });
        }
        Ok(())
    }

    /// Checks the level of a document before it is read; the target of an image is level 0.
    ///
    /// # Errors
    ///
    /// [`ReadError::TooDeep`]; do not descend.
    pub fn check_depth(&self, depth: usize) -> Result<(), ReadError> {
        if depth > self.max_depth {
            return Err(ReadError::TooDeep {
                limit: self.max_depth,
            });
        }
        Ok(())
    }
}

/// Checks a count against its bound; `what` is the plural of what was counted.
pub(crate) fn check_count(what: &'static str, got: usize, limit: usize) -> Result<(), ReadError> {
    if got > limit {
        return Err(ReadError::TooMany { what, limit, got });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_exactly_the_limit() {
        let limits = Limits::default();
        for (kind, limit) in [
            (Kind::Index, 4_194_304),
            (Kind::Manifest, 4_194_304),
            (Kind::Config, 8_388_608),
        ] {
            assert_eq!(limits.check_size(kind, limit), Ok(()));
            let got = limit + 1;
            assert_eq!(
                limits.check_size(kind, got),
                Err(ReadError::TooLarge { kind, limit, got })
            );
        }
        assert_eq!(limits.check_depth(8), Ok(()));
        assert_eq!(limits.check_depth(9), Err(ReadError::TooDeep { limit: 8 }));
    }

    #[test]
    fn does_not_bound_what_is_not_read() {
        let limits = Limits::default();
        assert_eq!(limits.check_size(Kind::Leaf, u64::MAX), Ok(()));
    }
}
