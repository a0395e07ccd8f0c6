//! Checks the units with systemd.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::failure::Failure;
use crate::machine::{self, SYSTEMD};
use crate::shell;
use crate::workspace::Workspace;

/// The greatest allowed exposure of a service by systemd's score, in tenths (the score is up to 10).
/// The remaining exposure is from running as root, reading the host's files, and asking whether the
/// clock is synchronized, which systemd takes for setting it.
const THRESHOLD: &str = "17";

/// The directory of units.
const UNITS: &str = "usr/lib/systemd/system";

/// Installs `systemd-analyze` if it is missing.
pub(super) fn provide() -> Result<(), Failure> {
    machine::provide(&[SYSTEMD])
}

/// Verifies every unit, and checks the exposure of each service.
pub(super) fn check(workspace: &Workspace) -> Result<(), Failure> {
    let root = workspace.empty_directory("deploy/systemd")?;
    let units = stage(workspace, &root)?;
    shell::show_and_run(verify(&root).args(&units))?;
    for service in units.iter().filter(|unit| unit.ends_with(".service")) {
        let mut security = Command::new("systemd-analyze");
        security.args(["security", "--offline=yes", "--no-pager"]);
        security.arg(format!("--threshold={THRESHOLD}"));
        security
            .arg(format!("--root={}", root.display()))
            .arg(service);
        let table = shell::read(&mut security).map_err(|failure| {
            failure.hint("for details, run `systemd-analyze security --offline=yes` on the file")
        })?;
        println!("{}", table.lines().last().unwrap_or_default().trim());
    }
    // The check must find a mistake.
    let path = root.join(UNITS).join("reclaim.service");
    let text = read(&path)?;
    write(&path, &text.replace("Type=notify", "Type=notifies"))?;
    let output = verify(&root)
        .arg("reclaim.service")
        .output()
        .map_err(|error| Failure::new(format!("start systemd-analyze: {error}")))?;
    if String::from_utf8_lossy(&output.stderr).contains("notifies") {
        return Ok(());
    }
    Err(Failure::new(
        "systemd-analyze did not find a mistake in a unit",
    ))
}

fn verify(root: &Path) -> Command {
    let mut verify = Command::new("systemd-analyze");
    // The manual pages exist only once the package is installed.
    verify.args(["verify", "--man=no", "--recursive-errors=yes"]);
    verify.arg(format!("--root={}", root.display()));
    verify
}

/// Creates a root directory with the units, the targets of the machine's systemd that they depend on,
/// and placeholders of the programs that they start. Returns the names of the units.
fn stage(workspace: &Workspace, root: &Path) -> Result<Vec<String>, Failure> {
    let units = root.join(UNITS);
    for directory in [&units, &root.join("usr/bin"), &root.join("bin")] {
        fs::create_dir_all(directory)
            .map_err(|error| Failure::file("create", directory, &error))?;
    }
    for program in ["usr/bin/reclaim", "bin/kill"] {
        let path = root.join(program);
        write(&path, "#!/bin/sh\n")?;
        let mode = fs::set_permissions(&path, fs::Permissions::from_mode(0o755));
        mode.map_err(|error| Failure::file("make executable", &path, &error))?;
    }
    copy(Path::new("/lib/systemd/system"), &units, |kind| {
        ["target", "slice"].contains(&kind)
    })?;
    copy(&workspace.root.join("deploy/systemd"), &units, |_| true)
}

/// Copies the units of the wanted kinds. Returns their names.
fn copy(from: &Path, to: &Path, is_wanted: fn(&str) -> bool) -> Result<Vec<String>, Failure> {
    let entries = fs::read_dir(from).map_err(|error| Failure::file("list", from, &error))?;
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| Failure::file("list", from, &error))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let kind = name.rsplit('.').next().unwrap_or_default();
        if is_wanted(kind) && entry.path().is_file() {
            fs::copy(entry.path(), to.join(&name))
                .map_err(|error| Failure::file("copy", &entry.path(), &error))?;
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

fn read(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|error| Failure::file("read", path, &error))
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    fs::write(path, text).map_err(|error| Failure::file("write", path, &error))
}
