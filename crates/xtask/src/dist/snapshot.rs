//! What files a system has, to see what a package leaves behind.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// What dpkg itself writes about what it did; besides [`OF_PACKAGE`] it is not the package's.
const OF_DPKG: [&str; 2] = ["var/lib/dpkg/", "var/log/dpkg.log"];

/// What of dpkg's belongs to a package, and must be gone with it.
const OF_PACKAGE: &str = "var/lib/dpkg/info/";

/// All files of a system, by path: mode with kind, owner, and size of what is no directory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Snapshot(BTreeMap<PathBuf, (u32, u32, u64)>);

impl Snapshot {
    /// Lists everything below `root`, and nothing of other filesystems.
    pub(super) fn take(root: &Path) -> Result<Self, Failure> {
        let metadata = fs::symlink_metadata(root);
        let metadata = metadata.map_err(|error| Failure::file("look at", root, &error))?;
        let mut found = Self::default();
        found.walk(root, root, metadata.dev())?;
        Ok(found)
    }

    fn walk(&mut self, root: &Path, directory: &Path, device: u64) -> Result<(), Failure> {
        let failure = |error| Failure::file("list", directory, &error);
        for entry in fs::read_dir(directory).map_err(failure)? {
            let entry = entry.map_err(failure)?;
            let path = entry.path();
            let metadata = entry.metadata();
            let metadata = metadata.map_err(|error| Failure::file("look at", &path, &error))?;
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

    /// Whether there is such a file.
    pub(super) fn has(&self, path: &str) -> bool {
        self.0.contains_key(Path::new(path))
    }

    /// Returns what is different from an earlier time, apart from what dpkg notes for itself.
    pub(super) fn changes_since(&self, before: &Self) -> Vec<String> {
        let all = self
            .0
            .keys()
            .chain(before.0.keys().filter(|it| !self.0.contains_key(*it)));
        let mut changes: Vec<String> = all
            .filter(|path| !is_of_dpkg(path))
            .filter_map(|path| {
                let word = match (before.0.get(path), self.0.get(path)) {
                    (None, _) => "left behind",
                    (_, None) => "removed",
                    (before, now) if before != now => "changed",
                    _ => return None,
                };
                Some(format!("{word}: /{}", path.display()))
            })
            .collect();
        changes.sort();
        changes
    }
}

fn is_of_dpkg(path: &Path) -> bool {
    let path = path.to_string_lossy();
    !path.starts_with(OF_PACKAGE) && OF_DPKG.iter().any(|it| path.starts_with(it))
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
    fn sees_what_is_left_removed_and_changed() {
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
    fn what_dpkg_notes_is_not_left_behind_but_what_it_notes_of_a_package_is() {
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
