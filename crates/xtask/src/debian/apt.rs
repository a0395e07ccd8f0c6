//! A separate apt, which reads one suite and installs nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::Failure;
use crate::shell;

/// The keys that sign Debian's suites, from the package `debian-archive-keyring`, which every Debian
/// has. A stable release has the keys of later ones, too.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// An apt whose lists are up to date.
#[derive(Debug)]
pub(super) struct Apt {
    directory: PathBuf,
}

impl Apt {
    /// Creates the directories and the list of sources, and updates the lists of the suite.
    pub(super) fn set_up(directory: &Path, suite: &str) -> Result<Self, Failure> {
        for program in ["apt-get", "dpkg"] {
            if shell::find(program).is_none() {
                return Err(Failure::new(format!("`{program}` is not on PATH"))
                    .hint("fetching packages of Debian needs Debian"));
            }
        }
        if !Path::new(KEYRING).is_file() {
            return Err(
                Failure::new(format!("`{KEYRING}` is missing, to check signatures"))
                    .hint("as root: apt-get install debian-archive-keyring"),
            );
        }
        let mirror = mirror()?;
        for below in ["lists/partial", "cache/archives/partial"] {
            let path = directory.join(below);
            fs::create_dir_all(&path).map_err(|error| Failure::file("create", &path, &error))?;
        }
        // An empty status means that nothing is installed.
        let sources = format!("deb [signed-by={KEYRING}] {mirror} {suite} main\n");
        let configuration = configuration(directory);
        for (name, text) in [
            ("status", ""),
            ("sources.list", sources.as_str()),
            ("apt.conf", configuration.as_str()),
        ] {
            let path = directory.join(name);
            fs::write(&path, text).map_err(|error| Failure::file("write", &path, &error))?;
        }
        let apt = Self {
            directory: directory.to_owned(),
        };
        shell::read(apt.command("apt-get").arg("update")).map_err(|failure| {
            failure.hint(format!("check that {mirror} is reachable and has {suite}"))
        })?;
        Ok(apt)
    }

    /// Returns the newest version of a package.
    pub(super) fn newest(&self, package: &str) -> Result<String, Failure> {
        let mut show = self.command("apt-cache");
        let record = shell::read(show.args(["show", "--no-all-versions", package]))?;
        record
            .lines()
            .find_map(|line| line.strip_prefix("Version: "))
            .map(str::to_owned)
            .ok_or_else(|| Failure::new(format!("the suite has no version of `{package}`")))
    }

    /// Downloads one version of a package and unpacks it into `root`.
    pub(super) fn unpack(&self, package: &str, version: &str, root: &Path) -> Result<(), Failure> {
        // apt-get downloads into the current directory and chooses the name.
        let downloads = self.directory.join("download");
        if downloads.exists() {
            fs::remove_dir_all(&downloads)
                .map_err(|error| Failure::file("remove", &downloads, &error))?;
        }
        fs::create_dir(&downloads).map_err(|error| Failure::file("create", &downloads, &error))?;
        let mut download = self.command("apt-get");
        download.arg("download").arg(format!("{package}={version}"));
        shell::read(download.current_dir(&downloads))?;
        for file in entries(&downloads)? {
            shell::read(Command::new("dpkg").arg("--extract").arg(file).arg(root))?;
        }
        fs::remove_dir_all(&downloads).map_err(|error| Failure::file("remove", &downloads, &error))
    }

    /// Returns a command of apt that reads the configuration of this directory after the machine's.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .arg("-qq")
            .arg("-c")
            .arg(self.directory.join("apt.conf"));
        command
    }
}

/// Returns the configuration of the apt in `directory`. Other settings of the machine stay in force,
/// such as a proxy.
fn configuration(directory: &Path) -> String {
    let directory = directory.display();
    format!(
        r#"Dir::State "{directory}";
Dir::State::lists "{directory}/lists";
Dir::State::status "{directory}/status";
Dir::Cache "{directory}/cache";
Dir::Etc::SourceList "{directory}/sources.list";
Dir::Etc::SourceParts "/dev/null";
// Pins, the default release and the hooks of the machine are for its own packages and lists.
Dir::Etc::Preferences "/dev/null";
Dir::Etc::PreferencesParts "/dev/null";
APT::Default-Release "";
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
// A mirror may be out of date; its packages are still signed, and good enough for tests.
Acquire::Check-Valid-Until "false";
// By default apt only warns if it cannot download lists, and uses old ones.
APT::Update::Error-Mode "any";
// apt's own user cannot write below the home of the user who runs this.
APT::Sandbox::User "";
// These indexes are for desktops, and as large as the list itself.
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
"#
    )
}

fn entries(directory: &Path) -> Result<Vec<PathBuf>, Failure> {
    fs::read_dir(directory)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect())
        .map_err(|error| Failure::file("list", directory, &error))
}

/// Returns the address of this machine's mirror of Debian. apt itself reads the lists of sources,
/// and recognises Debian by the signed Release files.
pub(crate) fn mirror() -> Result<String, Failure> {
    if let Some(mirror) = known_mirror()? {
        return Ok(mirror);
    }
    // Container images have no lists, so apt knows no mirror. Updating needs root; a failure is
    // reported below.
    let updated = shell::run(Command::new("apt-get").args(["-qq", "update"]));
    known_mirror()?.ok_or_else(|| {
        let cause = match updated {
            Ok(()) => String::new(),
            Err(failure) => format!(": {}", failure.message()),
        };
        Failure::new(format!(
            "apt of this machine has no mirror of Debian{cause}"
        ))
        .hint("on Debian, run as root: apt-get update")
    })
}

fn known_mirror() -> Result<Option<String>, Failure> {
    let mut targets = Command::new("apt-get");
    targets.args(["indextargets", "--format", "$(REPO_URI)"]);
    // Debian-Security has the same origin with another label, and not these suites.
    targets.args(["Created-By: Packages", "Origin: Debian", "Label: Debian"]);
    let addresses = shell::read(&mut targets)?;
    Ok(addresses.lines().next().map(str::to_owned))
}
