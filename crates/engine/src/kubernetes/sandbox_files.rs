//! Reads containerd's configuration file and its imports.
//!
//! It reads each file once, in containerd's order: a file, its imports, then their imports. If one
//! cannot be read, the result is incomplete, and the caller keeps more images.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};

use path_clean::clean;

use super::read_text;
use super::sandbox::{ContainerdFile, NeededImages};

/// The maximum number of files. A node has a handful.
const MAX_FILES: usize = 100;

/// Where nerdctl and containerd's packages have the hosts of registries.
const DEFAULT_REGISTRY_HOSTS: &str = "/etc/containerd/certs.d";

/// The images that pods need according to containerd's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SandboxImages {
    /// The names that their records may have, sorted.
    pub names: Vec<String>,
    /// The files that could not be read, and why. Then other images may be needed, too.
    pub warnings: Vec<String>,
}

impl SandboxImages {
    /// Returns whether all files could be read, so that no other image is needed.
    pub fn is_whole(&self) -> bool {
        self.warnings.is_empty()
    }
}

/// Returns the images that pods need according to the file at `path` and its imports.
///
/// If the file does not exist, containerd uses its defaults, and these are returned.
pub fn read_sandbox_images(path: &Path) -> SandboxImages {
    read_needed_images(path, None)
}

/// Like [`read_sandbox_images`], with the sandbox image that the running containerd says that it
/// uses.
pub(super) fn read_needed_images(path: &Path, running: Option<&str>) -> SandboxImages {
    let mut needed = NeededImages::default();
    let warnings = read_files(path, |file| needed.take(file));
    if let Some(image) = running {
        needed.add_running(image);
    }
    SandboxImages {
        names: needed.names(),
        warnings,
    }
}

/// Returns the directories with the hosts of registries, `config_path` in the file at `path` and
/// its imports. Files that cannot be read are left out.
pub fn read_registry_hosts(path: &Path) -> Vec<PathBuf> {
    // An image whose mirror is not known stays.
    read_all_registry_hosts(path).0
}

/// Like [`read_registry_hosts`]. Also returns the files that could not be read, and why: others may be
/// configured there.
pub fn read_all_registry_hosts(path: &Path) -> (Vec<PathBuf>, Vec<String>) {
    let mut directories = DEFAULT_REGISTRY_HOSTS.to_owned();
    let unread = read_files(path, |file| {
        if let Some(named) = file.registry_hosts.filter(|named| !named.is_empty()) {
            directories = named;
        }
    });
    (directories.split(':').map(PathBuf::from).collect(), unread)
}

/// Calls `take` for each file, in containerd's order. Returns why some could not be read.
fn read_files(path: &Path, mut take: impl FnMut(ContainerdFile)) -> Vec<String> {
    let mut warnings = Vec::new();
    let mut seen = BTreeSet::new();
    let mut pending = VecDeque::from([path.to_owned()]);
    while let Some(file) = pending.pop_front() {
        if seen.contains(&file) {
            continue;
        }
        if seen.len() == MAX_FILES {
            warnings.push(format!(
                "containerd's configuration `{}`: it has more than {MAX_FILES} files",
                path.display()
            ));
            break;
        }
        let is_first = seen.is_empty();
        seen.insert(file.clone());
        let warn = |why: String| format!("containerd's configuration `{}`: {why}", file.display());
        let text = match read_text(&file) {
            Ok(text) => text,
            Err(error) if is_first && error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => {
                warnings.push(warn(error.to_string()));
                continue;
            }
        };
        let parsed = match ContainerdFile::parse(&text) {
            Ok(parsed) => parsed,
            Err(error) => {
                warnings.push(warn(error.to_string()));
                continue;
            }
        };
        for import in &parsed.imports {
            match matching(&file, import) {
                Ok(found) => pending.extend(found),
                Err(why) => warnings.push(warn(format!("import `{import}`: {why}"))),
            }
        }
        take(parsed);
    }
    warnings
}

/// Returns the files of an import, relative to the importing file: the matching files in the order of
/// their names, or the named one.
fn matching(file: &Path, import: &str) -> Result<Vec<PathBuf>, String> {
    let directory = file.parent().unwrap_or(Path::new("/"));
    // Decided by the text, like containerd.
    let path = clean(directory.join(import));
    if !import.contains('*') {
        return Ok(vec![path]);
    }
    // The directory before the import is not a pattern.
    let pattern = path.to_str().ok_or("its path is not UTF-8")?;
    let options = glob::MatchOptions {
        require_literal_separator: true,
        ..glob::MatchOptions::new()
    };
    let found = glob::glob_with(pattern, options).map_err(|error| error.msg.to_owned())?;
    let found = found.take(MAX_FILES + 1);
    found
        .collect::<Result<_, _>>()
        .map_err(|error| error.error().to_string())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn write(directory: &Path, name: &str, text: &str) {
        let path = directory.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn sandbox(image: &str) -> String {
        format!("[plugins.cri]\nsandbox_image = '{image}'\n")
    }

    #[test]
    fn without_a_file_the_defaults_are_needed() {
        let folder = tempfile::tempdir().unwrap();
        let found = read_sandbox_images(&folder.path().join("config.toml"));
        assert!(found.is_whole());
        assert!(
            found
                .names
                .iter()
                .any(|it| it == "registry.k8s.io/pause:3.10")
        );
    }

    #[test]
    fn imports_are_followed_in_containerds_order() {
        let folder = tempfile::tempdir().unwrap();
        let main = folder.path().join("etc/config.toml");
        let text = "imports = ['../conf.d/*.toml', 'last.toml']\n";
        write(
            folder.path(),
            "etc/config.toml",
            &(text.to_owned() + &sandbox("r.example/a:1")),
        );
        write(folder.path(), "conf.d/1.toml", &sandbox("r.example/b:1"));
        write(folder.path(), "conf.d/2.toml", &sandbox("r.example/c:1"));
        write(folder.path(), "conf.d/3.txt", &sandbox("r.example/d:1"));
        write(folder.path(), "etc/last.toml", "");
        let found = read_sandbox_images(&main);
        assert_eq!(found.names, ["r.example/c:1"]);
        assert!(found.is_whole(), "{found:?}");
        // Imports of an import come after all imports of the first file.
        write(
            folder.path(),
            "conf.d/1.toml",
            "imports = ['/nowhere*', '../deep.toml']",
        );
        write(folder.path(), "deep.toml", &sandbox("r.example/e:1"));
        let found = read_sandbox_images(&main);
        assert_eq!(found.names, ["r.example/e:1"]);
        assert!(found.is_whole(), "{found:?}");
    }

    #[test]
    fn a_file_that_imports_itself_is_read_once() {
        let folder = tempfile::tempdir().unwrap();
        let main = folder.path().join("config.toml");
        let text = "imports = ['*.toml', 'config.toml', './x/../config.toml']\n";
        write(
            folder.path(),
            "config.toml",
            &(text.to_owned() + &sandbox("r.example/a:1")),
        );
        let found = read_sandbox_images(&main);
        assert_eq!(found.names, ["r.example/a:1"]);
        assert!(found.is_whole());
    }

    #[test]
    fn the_last_file_with_registry_hosts_counts() {
        let folder = tempfile::tempdir().unwrap();
        let main = folder.path().join("config.toml");
        let hosts = || read_registry_hosts(&main);
        assert_eq!(hosts(), [Path::new("/etc/containerd/certs.d")]);
        let old = "[plugins.'io.containerd.grpc.v1.cri'.registry]\nconfig_path = '/a:/b'\n";
        write(folder.path(), "config.toml", old);
        assert_eq!(hosts(), [Path::new("/a"), Path::new("/b")]);
        let imports = format!("imports = ['2.toml', '3.toml']\n{old}");
        write(folder.path(), "config.toml", &imports);
        let new = "[plugins.'io.containerd.cri.v1.images'.registry]\nconfig_path = '/c'\n";
        write(folder.path(), "2.toml", new);
        write(
            folder.path(),
            "3.toml",
            "[plugins.cri.registry]\nconfig_path = ''\n",
        );
        assert_eq!(hosts(), [Path::new("/c")]);
        write(folder.path(), "2.toml", "not TOML");
        assert_eq!(hosts(), [Path::new("/a"), Path::new("/b")]);
    }

    #[test]
    fn unreadable_files_are_reported_and_the_others_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let main = folder.path().join("config.toml");
        let text = "imports = ['bad.toml', 'gone.toml', 'folder', 'a***b']\n";
        write(
            folder.path(),
            "config.toml",
            &(text.to_owned() + &sandbox("r.example/a:1")),
        );
        write(
            folder.path(),
            "bad.toml",
            "[plugins.cri]\nsandbox_image = [",
        );
        write(folder.path(), "folder/x", "");
        let found = read_sandbox_images(&main);
        assert_eq!(found.names, ["r.example/a:1"]);
        assert_eq!(found.warnings.len(), 4, "{:#?}", found.warnings);
        assert!(found.warnings[0].contains("import `a***b`"));
        assert!(found.warnings[1].contains("bad.toml`: it is not TOML"));
        assert!(found.warnings[3].contains("folder`: it is not a file"));
    }

    #[test]
    fn the_size_and_number_of_files_are_limited() {
        let folder = tempfile::tempdir().unwrap();
        let main = folder.path().join("config.toml");
        write(
            folder.path(),
            "config.toml",
            "imports = ['d/*', '/dev/zero']",
        );
        for number in 0..150 {
            write(
                folder.path(),
                &format!("d/{number:03}.toml"),
                &sandbox("r.example/a:1"),
            );
        }
        let found = read_sandbox_images(&main);
        assert_eq!(found.warnings.len(), 1, "{:#?}", found.warnings);
        assert!(found.warnings[0].contains("more than 100 files"));
        write(folder.path(), "config.toml", &" ".repeat(1 << 21));
        let found = read_sandbox_images(&main);
        assert!(found.warnings[0].contains("longer than 1 MiB"));
        assert_eq!(
            read_sandbox_images(Path::new("/dev/zero")).warnings.len(),
            1
        );
    }
}
