//! `[headroom]`: the reserve file that a policy deletes on a full filesystem.

use std::path::{Path, PathBuf};

use reclaim_maintenance::settings::{SizeOrAuto, Text};
use reclaim_maintenance::{Headroom, HeadroomSize, settings};
use reclaim_model::ByteSize;

/// The default name of the file, in the state directory.
const DEFAULT_NAME: &str = "headroom";

settings! {
    pub(super) struct HeadroomSection in "headroom" {
        /// Size of a reserve file, which a policy deletes on a full filesystem so that containerd has room for the writes that removing images takes. auto is 1% of the free space, from 4 MiB to 64 MiB; no file is made if that is less, or if the file would be on another filesystem than content and snapshots.
        size: Text<SizeOrAuto> = Text(SizeOrAuto::Auto), note "0 is none";
        /// Path of the reserve file. It must be on the filesystem of containerd's root.
        file: Option<PathBuf>, unset "headroom in the state directory";
    }
}

/// The checked section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeadroomConfig {
    /// The size of the file; `None` if there is no file.
    pub size: Option<HeadroomSize>,
    /// The path of the file, if it is not the default one.
    pub file: Option<PathBuf>,
}

impl From<HeadroomSection> for HeadroomConfig {
    fn from(section: HeadroomSection) -> Self {
        let HeadroomSection { size, file } = section;
        let size = match size.0 {
            SizeOrAuto::Auto => Some(HeadroomSize::Auto),
            SizeOrAuto::Size(ByteSize(0)) => None,
            SizeOrAuto::Size(ByteSize(bytes)) => Some(HeadroomSize::Bytes(bytes)),
        };
        Self { size, file }
    }
}

impl HeadroomConfig {
    /// Returns the reserve file, if there is one. `state` is the state directory.
    pub(crate) fn reserve(&self, state: &Path) -> Option<Headroom> {
        Some(Headroom {
            size: self.size?,
            file: self
                .file
                .clone()
                .unwrap_or_else(|| state.join(DEFAULT_NAME)),
        })
    }

    /// Returns the default file if this configuration has no file: an earlier one may have left it. A
    /// file with a configured path belongs to the user.
    pub(crate) fn obsolete(&self, state: &Path) -> Option<Headroom> {
        (self.size.is_none() && self.file.is_none()).then(|| Headroom {
            size: HeadroomSize::Auto,
            file: state.join(DEFAULT_NAME),
        })
    }
}
