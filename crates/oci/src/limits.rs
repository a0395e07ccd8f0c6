//! Limits on what is read of a document, which may be hostile.

use crate::error::ReadError;
use crate::kind::Kind;

/// The largest manifest or index that is read, in bytes: 4 MiB.
///
/// Registries refuse larger ones (distribution `registry/handlers/manifests.go`,
/// `maxManifestBodySize`), and containerd's limit is hardly larger
/// (`core/remotes/docker/resolver.go`, `MaxManifestSize`, 4·1048²). A manifest with 128 layers, the
/// most that runtimes mount, has some 32 KiB.
pub const MAX_MANIFEST_BYTES: u64 = 4 << 20;

/// The largest image config that is read, in bytes: 8 MiB.
///
/// Configs are blobs, so neither registries nor the specification limit them, and their parts grow:
/// the history with whole build scripts, and `BuildKit`'s inline cache. Hence more than for
/// manifests; but not much more, because many are read at the same time.
pub const MAX_CONFIG_BYTES: u64 = 8 << 20;

/// The most bytes of labels that are kept of one image, with the map's own 48 a label: 64 KiB.
///
/// The inventory keeps labels for the whole run. Generated ones reach some hundreds; an image with
/// more can still be read. Labels that a request or Reclaim itself needs are kept in addition, and
/// other labels of Compose up to the same limit.
pub const MAX_LABEL_BYTES: usize = 64 << 10;

/// The deepest level at which a document is read; see [`reclaim_model::MAX_DOCUMENT_DEPTH`].
pub const MAX_DEPTH: usize = reclaim_model::MAX_DOCUMENT_DEPTH;

/// Limits of one walk. A document that exceeds them is an error, never a shortened document; only
/// labels are left out, and counted.
///
/// Children and diff IDs are bounded by the size of the document alone: a child takes at least 85
/// bytes and a diff ID 74, so there are at most 49,345 children and 113,360 diff IDs, in some 8 MiB
/// in addition to the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a manifest or an index.
    pub max_manifest_bytes: u64,
    /// Bytes of an image config.
    pub max_config_bytes: u64,
    /// Bytes of labels that are kept of one config. Others are left out and counted.
    pub max_label_bytes: usize,
    /// The deepest level that is read, counted from 0.
    pub max_depth: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_manifest_bytes: MAX_MANIFEST_BYTES,
            max_config_bytes: MAX_CONFIG_BYTES,
            max_label_bytes: MAX_LABEL_BYTES,
            max_depth: MAX_DEPTH,
        }
    }
}

impl Limits {
    /// Checks a size in bytes before the body is fetched, against the limit for any document.
    ///
    /// # Errors
    ///
    /// [`ReadError::TooLarge`]; do not fetch the blob.
    pub fn check_size(&self, size: u64) -> Result<(), ReadError> {
        check(size, self.max_manifest_bytes.max(self.max_config_bytes))
    }

    /// Checks the size of a body of a known kind.
    pub(crate) fn check_size_of(&self, kind: Kind, size: u64) -> Result<(), ReadError> {
        if kind == Kind::Config {
            check(size, self.max_config_bytes)
        } else {
            check(size, self.max_manifest_bytes)
        }
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

fn check(size: u64, limit: u64) -> Result<(), ReadError> {
    if size > limit {
        return Err(ReadError::TooLarge { limit, got: size });
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
            assert_eq!(limits.check_size_of(kind, limit), Ok(()));
            let got = limit + 1;
            assert_eq!(
                limits.check_size_of(kind, got),
                Err(ReadError::TooLarge { limit, got })
            );
        }
        assert_eq!(limits.check_size(8_388_608), Ok(()));
        limits.check_size(8_388_609).unwrap_err();
        assert_eq!(limits.check_depth(8), Ok(()));
        assert_eq!(limits.check_depth(9), Err(ReadError::TooDeep { limit: 8 }));
    }
}
