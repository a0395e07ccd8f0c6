//! An apt apart from the machine's: it reads one suite, and installs nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::file_failure;
use crate::failure::Failure;
use crate::shell;

/// The keys by which Debian's suites are signed, as the package `debian-archive-keyring`
/// brings them. Every Debian has it; its stable releases know the keys of what comes next.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// An apt whose lists are up to date.
#[derive(Debug)]
pub(super) struct Apt {
    directory: PathBuf,
}

impl Apt {
    /// Makes the directories and the list of sources, and reads what the suite has.
    pub(super) fn set_up(directory: &Path, suite: &str) -> Result<Self, Failure> {
        for program in ["apt-get", "dpkg"] {
            if shell::find(program).is_none() {
                return Err(Failure::new(format!("no `{program}` on PATH"))
                    .hint("Debian's packages can be fetched on Debian only"));
            }
        }
        if !Path::new(KEYRING).is_file() {
            return Err(
                Failure::new(format!("no `{KEYRING}` to check signatures with"))
                    .hint("as root: apt-get install debian-archive-keyring"),
            );
        }
        let mirror = mirror()?;
        for below in ["lists/partial", "cache/archives/partial"] {
            let path = directory.join(below);
            let made = fs::create_dir_all(&path);
            made.map_err(|error| file_failure("make", &path, &error))?;
        }
        // An empty status: as if nothing were installed.
        let sources = format!("deb [signed-by={KEYRING}] {mirror} {suite} main\n");
        let configuration = configuration(directory);
        for (name, text) in [
            ("status", ""),
            ("sources.list", sources.as_str()),
            ("apt.conf", configuration.as_str()),
        ] {
            let path = directory.join(name);
            let written = fs::write(&path, text);
            written.map_err(|error| file_failure("write", &path, &error))?;
        }
        let apt = Self {
            directory: directory.to_owned(),
        };
        shell::read(apt.command("apt-get").arg("update")).map_err(|failure| {
            failure.hint(format!(
                "can {mirror} be reached, and does it have {suite}?"
            ))
        })?;
        Ok(apt)
    }

    /// Returns the newest version of a package.
    pub(super) fn newest(&self, package: &str) -> Result<String, Failure> {
        let mut show = self.command("apt-cache");
        let record = shell::read(show.args(["show", "--no-all-versions", package]))?;
        let version = record.lines().find_map(|it| it.strip_prefix("Version: "));
        let version = version.ok_or_else(|| Failure::new(format!("no version of `{package}`")))?;
        Ok(version.to_owned())
    }

    /// Downloads one version of a package and unpacks it into `root`.
    pub(super) fn unpack(&self, package: &str, version: &str, root: &Path) -> Result<(), Failure> {
        // apt-get puts it where it runs, under a name of its own making.
        let downloads = self.directory.join("download");
        if downloads.exists() {
            let removed = fs::remove_dir_all(&downloads);
            removed.map_err(|error| file_failure("remove", &downloads, &error))?;
        }
        let made = fs::create_dir(&downloads);
        made.map_err(|error| file_failure("make", &downloads, &error))?;
        let mut download = self.command("apt-get");
        download.arg("download").arg(format!("{package}={version}"));
        shell::read(download.current_dir(&downloads))?;
        for file in entries(&downloads)? {
            shell::read(Command::new("dpkg").arg("--extract").arg(file).arg(root))?;
        }
        let removed = fs::remove_dir_all(&downloads);
        removed.map_err(|error| file_failure("remove", &downloads, &error))
    }

    /// Returns a command of apt that reads this directory's configuration after the machine's.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .arg("-qq")
            .arg("-c")
            .arg(self.directory.join("apt.conf"));
        command
    }
}

/// Returns the configuration of an apt that lives in `directory`. What it leaves alone of the
/// machine's stays in force: a proxy, for instance.
fn configuration(directory: &Path) -> String {
    let directory = directory.display();
    format!(
        r#"Dir::State "{directory}";
Dir::State::lists "{directory}/lists";
Dir::State::status "{directory}/status";
Dir::Cache "{directory}/cache";
Dir::Etc::SourceList "{directory}/sources.list";
Dir::Etc::SourceParts "/dev/null";
// Pins and the default release of the machine are about what is installed on it, and what it
// runs after an update is about its own lists.
Dir::Etc::Preferences "/dev/null";
Dir::Etc::PreferencesParts "/dev/null";
APT::Default-Release "";
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
// A mirror may be behind, or show a day gone by: what it has is signed all the same, and all that
// tests need.
Acquire::Check-Valid-Until "false";
// Otherwise lists that could not be had are a warning, and old ones are used.
APT::Update::Error-Mode "any";
// apt's own user may not write below the home of the one who runs this.
APT::Sandbox::User "";
// For desktops that look for applications; as large as the list itself.
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
"#
    )
}

fn entries(directory: &Path) -> Result<Vec<PathBuf>, Failure> {
    let entries = fs::read_dir(directory).and_then(|entries| {
        let paths = entries.map(|entry| entry.map(|it| it.path()));
        paths.collect()
    });
    entries.map_err(|error| file_failure("list", directory, &error))
}

/// Returns the address from which this machine gets Debian. apt itself reads the files, of
/// every form, and knows by their signed Release files which of the sources are Debian.
pub(crate) fn mirror() -> Result<String, Failure> {
    if let Some(mirror) = known_mirror()? {
        return Ok(mirror);
    }
    // Images of containers come without lists, and then apt does not know. Needs root; what
    // fails here shows below.
    let updated = shell::run(Command::new("apt-get").args(["-qq", "update"]));
    known_mirror()?.ok_or_else(|| {
        let why = updated.err().map(|failure| format!(": {}", failure.what()));
        let why = why.unwrap_or_default();
        Failure::new(format!("this machine's apt knows no mirror of Debian{why}"))
            .hint("is this a Debian? If so, as root: apt-get update")
    })
}

fn known_mirror() -> Result<Option<String>, Failure> {
    let mut targets = Command::new("apt-get");
    targets.args(["indextargets", "--format", "$(REPO_URI)"]);
    // Debian-Security has the same origin under another label, and no such suites.
    targets.args(["Created-By: Packages", "Origin: Debian", "Label: Debian"]);
    let addresses = shell::read(&mut targets)?;
    Ok(addresses.lines().next().map(str::to_owned))
}
