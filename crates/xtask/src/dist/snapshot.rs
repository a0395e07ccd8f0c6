//! The files of a system, to find those that a package leaves behind.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// The files of dpkg itself, except for [`PACKAGE_INFO`].
const DPKG_FILES: [&str; 2] = ["var/lib/dpkg/", "var/log/dpkg.log"];

/// The files of dpkg about packages, which must be removed with a package.
const PACKAGE_INFO: &str = "var/lib/dpkg/info/";

/// All files of a system by path: mode (with the kind of file), owner, and size (0 of directories).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Snapshot(BTreeMap<PathBuf, (u32, u32, u64)>);

impl Snapshot {
    /// Lists all files below `root`, without other filesystems.
    pub(super) fn take(root: &Path) -> Result<Self, Failure> {
        let metadata = fs::symlink_metadata(root)
            .map_err(|error| Failure::file("read the metadata of", root, &error))?;
        let mut found = Self::default();
        found.walk(root, root, metadata.dev())?;
        Ok(found)
    }

    fn walk(&mut self, root: &Path, directory: &Path, device: u64) -> Result<(), Failure> {
        let failure = |error| Failure::file("list", directory, &error);
        for entry in fs::read_dir(directory).map_err(failure)? {
            let entry = entry.map_err(failure)?;
            let path = entry.path();
            let metadata = entry
                .metadata()
                .map_err(|error| Failure::file("read the metadata of", &path, &error))?;
            let name = path.strip_prefix(root).unwrap_or(&path).to_owned();
            let size = if metadata.is_dir() {
                0
            } else {
                metadata.size()
            };
            self.0.insert(name, (metadata.mode(), metadata.uid(), size));
            if metadata.is_dir() && metadata.dev() == device {
                self.walk(root, &path, device)?;
            }
        }
        Ok(())
    }

    /// Whether the file exists.
    pub(super) fn has(&self, path: &str) -> bool {
        self.0.contains_key(Path::new(path))
    }

    /// Returns the changes since an earlier snapshot, without the files of dpkg itself.
    pub(super) fn changes_since(&self, before: &Self) -> Vec<String> {
        let removed = before.0.keys().filter(|path| !self.0.contains_key(*path));
        let mut changes: Vec<String> = self
            .0
            .keys()
            .chain(removed)
            .filter(|path| !is_of_dpkg(path))
            .filter_map(|path| {
                let change = match (before.0.get(path), self.0.get(path)) {
                    (None, _) => "left behind",
                    (_, None) => "removed",
                    (before, now) if before != now => "changed",
                    _ => return None,
                };
                Some(format!("{change}: /{}", path.display()))
            })
            .collect();
        changes.sort();
        changes
    }
}

fn is_of_dpkg(path: &Path) -> bool {
    let path = path.to_string_lossy();
    !path.starts_with(PACKAGE_INFO) && DPKG_FILES.iter().any(|prefix| path.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn system(files: &[&str]) -> Snapshot {
        Snapshot(
            files
                .iter()
                .map(|path| (path.into(), (0o100_644, 0, 1)))
                .collect(),
        )
    }

    #[test]
    fn reports_files_left_removed_and_changed() {
        let before = system(&["etc/passwd", "etc/gone"]);
        let mut after = system(&["etc/passwd", "var/lib/reclaim/state"]);
        assert_eq!(
            after.changes_since(&before),
            ["left behind: /var/lib/reclaim/state", "removed: /etc/gone"]
        );
        after = before.clone();
        assert_eq!(after.changes_since(&before), Vec::<String>::new());
        after.0.insert("etc/passwd".into(), (0o100_600, 0, 1));
        assert_eq!(after.changes_since(&before), ["changed: /etc/passwd"]);
    }

    #[test]
    fn ignores_the_files_of_dpkg_but_not_those_about_packages() {
        let before = system(&[]);
        let after = system(&["var/lib/dpkg/status-old", "var/log/dpkg.log"]);
        assert_eq!(after.changes_since(&before), Vec::<String>::new());
        let after = system(&["var/lib/dpkg/info/reclaim.postrm"]);
        assert_eq!(
            after.changes_since(&before),
            ["left behind: /var/lib/dpkg/info/reclaim.postrm"]
        );
    }
}
