//! Mounts of private directories, which are unmounted before a directory is removed.

use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

/// Unmounts everything below `directory`, deepest first, lazily.
///
/// Lazily, because a busy mount must not keep the directory. Failures are not reported here: then
/// removing the directory fails, and names the path.
pub(super) fn unmount_below(directory: &Path) {
    let table = fs::read("/proc/self/mountinfo").expect("proc is mounted");
    for mount_point in mount_points_below(&table, directory) {
        unmount(&mount_point, UnmountFlags::DETACH).ok();
    }
}

/// Mounts a filesystem of this kind and so many bytes from a file next to `directory`.
pub(super) fn mount_image(kind: &str, directory: &Path, bytes: u64) {
    let image = directory.with_extension(kind);
    let file = fs::File::create(&image).expect("the private directory is writable");
    file.set_len(bytes).expect("a sparse file needs no space");
    drop(file);
    let mut make = Command::new(format!("mkfs.{kind}"));
    // Without it, mkfs.ext4 asks whether to use a file.
    let force = if kind == "ext4" { "-F" } else { "-f" };
    run(make.args(["-q", force]).arg(&image));
    let options = ["-t", kind, "-o", "loop"];
    run(Command::new("mount")
        .args(options)
        .arg(&image)
        .arg(directory));
}

fn run(command: &mut Command) {
    let status = command
        .status()
        .expect("the tools of the filesystem and mount are installed");
    assert!(status.success(), "{command:?}");
}

/// Mounts a filesystem of so many bytes in memory; `inodes` limits the inodes.
pub(crate) fn mount_memory(directory: &Path, bytes: u64, inodes: Option<u64>) {
    let limit = inodes.map_or_else(String::new, |inodes| format!(",nr_inodes={inodes}"));
    let options = format!("size={bytes},mode=711{limit}");
    let options = CString::new(options).expect("the options have no NUL");
    mount(
        "reclaim-test",
        directory,
        "tmpfs",
        MountFlags::empty(),
        options.as_c_str(),
    )
    .unwrap_or_else(|error| panic!("mount `{}`: {error}", directory.display()));
}

/// Returns the mount points strictly below `directory`, deepest first.
fn mount_points_below(table: &[u8], directory: &Path) -> Vec<PathBuf> {
    let mut points: Vec<PathBuf> = table
        .split(|byte| *byte == b'\n')
        // The fifth field of a line is the mount point, by proc(5).
        .filter_map(|line| line.split(|byte| *byte == b' ').nth(4))
        .map(unescape)
        .filter(|point| point != directory && point.starts_with(directory))
        .collect();
    // A path sorts before the paths below it.
    points.sort();
    points.reverse();
    points
}

/// Decodes the kernel's escapes: space, tab, newline and backslash as `\` and three octal digits.
fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, after)) = rest.split_first() {
        let octal = after.get(..3).filter(|_| first == b'\\');
        let escaped = octal
            .and_then(|digits| str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        bytes.push(escaped.unwrap_or(first));
        rest = if escaped.is_some() {
            &after[3..]
        } else {
            after
        };
    }
    PathBuf::from(std::ffi::OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_deepest_first_and_nothing_outside() {
        let table = br"22 1 254:0 / / rw - ext4 /dev/vda rw
23 22 0:5 / /tmp/kit rw - tmpfs tmpfs rw
24 23 0:6 / /tmp/kit/a rw - tmpfs tmpfs rw
25 24 0:7 / /tmp/kit/a/b\040c rw - tmpfs tmpfs rw
26 22 0:8 / /tmp/kitten rw - tmpfs tmpfs rw
";
        let points = mount_points_below(table, Path::new("/tmp/kit"));
        assert_eq!(
            points,
            [Path::new("/tmp/kit/a/b c"), Path::new("/tmp/kit/a")]
        );
    }
}
