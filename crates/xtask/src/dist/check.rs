//! Installs, runs, upgrades, removes and purges the package in a clean system.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use super::package::Stage;
use super::snapshot::Snapshot;
use crate::chroot::Chroot;
use crate::failure::Failure;
use crate::machine::{self, CONTAINERD};
use crate::shell;
use crate::steps::Steps;
use crate::workspace::Workspace;

/// The number of checks before a wait fails, and the pause between two: 30 s in all.
const CHECKS: u32 = 300;
const PAUSE: Duration = Duration::from_millis(100);

/// The files that the package must install.
const FILES: [&str; 13] = [
    "usr/bin/reclaim",
    "etc/reclaim/config.toml",
    "usr/lib/systemd/system/reclaim.service",
    "usr/lib/systemd/system/reclaim.socket",
    "usr/lib/systemd/system/reclaim-maintain.timer",
    "usr/share/man/man1/reclaim.1.gz",
    "usr/share/bash-completion/completions/reclaim",
    "usr/share/zsh/vendor-completions/_reclaim",
    "usr/share/fish/vendor_completions.d/reclaim.fish",
    "usr/share/doc/reclaim/copyright",
    "usr/share/doc/reclaim/changelog.Debian.gz",
    "usr/share/doc/reclaim/reclaim.cdx.json",
    "usr/share/doc/reclaim/third-party-notices.txt",
];

/// Runs all checks of the binaries and their packages. Those for other processors are not installed.
pub(super) fn run(
    workspace: &Workspace,
    steps: &mut Steps,
    stages: &[Stage],
    packages: &[PathBuf],
) -> Result<(), Failure> {
    machine::provide(&[CONTAINERD])?;
    for package in packages {
        check_files(package)?;
    }
    let native = stages.iter().position(|stage| stage.target.is_native());
    let package = &packages[native.unwrap_or_default()];
    let chroot = steps.step("a clean Debian", || {
        Chroot::create(workspace, "dist/chroot")
    })?;
    let inside = chroot.root().join("reclaim.deb");
    fs::copy(package, &inside).map_err(|error| Failure::file("copy", package, &error))?;
    let clean = Snapshot::take(chroot.root())?;
    steps.step("install and run", || {
        chroot.run("dpkg", &["--install", "/reclaim.deb"])?;
        check_installed(&chroot)?;
        serve(workspace, &chroot, stages)
    })?;
    steps.step("upgrade, remove and purge", || {
        upgrade(&chroot)?;
        chroot.run("dpkg", &["--remove", "reclaim"])?;
        let removed = Snapshot::take(chroot.root())?;
        if removed.has("usr/bin/reclaim") || !removed.has("etc/reclaim/config.toml") {
            return Err(Failure::new(
                "removing the package keeps the binary, or removes the configuration",
            ));
        }
        chroot.run("dpkg", &["--purge", "reclaim"])?;
        let left = Snapshot::take(chroot.root())?.changes_since(&clean);
        if left.is_empty() {
            return Ok(());
        }
        Err(Failure::new(format!("after purging: {}", left.join("; "))))
    })
}

/// Checks the files of a package, also of one for another processor.
fn check_files(package: &Path) -> Result<(), Failure> {
    let list = shell::read(Command::new("dpkg-deb").arg("--contents").arg(package))?;
    let has = |path: &str| {
        list.lines()
            .any(|line| line.ends_with(&format!(" ./{path}")))
    };
    if let Some(missing) = FILES.iter().find(|path| !has(path)) {
        let package = package.display();
        return Err(Failure::new(format!(
            "`{package}` does not have `/{missing}`"
        )));
    }
    Ok(())
}

/// Checks the installed files, and the commands that need no containerd.
fn check_installed(chroot: &Chroot) -> Result<(), Failure> {
    let files = Snapshot::take(chroot.root())?;
    if let Some(missing) = FILES.iter().find(|path| !files.has(path)) {
        return Err(Failure::new(format!(
            "the package does not install `/{missing}`"
        )));
    }
    let version = chroot.run("reclaim", &["--version"])?;
    println!("{}", version.trim());
    let output = chroot
        .command("reclaim")
        .args(["config", "check"])
        .output()
        .map_err(|error| Failure::new(format!("start chroot: {error}")))?;
    let messages = String::from_utf8_lossy(&output.stderr);
    println!("{}", messages.trim());
    if !output.status.success() || !messages.contains("enabled policies: 0") {
        return Err(Failure::new(
            "the packaged configuration is invalid or enables a policy",
        ));
    }
    let fleet = chroot.root().join("fleet.toml");
    fs::write(&fleet, "[fleet]\nturns = 1\n")
        .map_err(|error| Failure::file("write", &fleet, &error))?;
    // Each needs a feature.
    let collector = ["--otlp-endpoint", "http://127.0.0.1:4317"];
    let check = ["--config", "/fleet.toml", "config", "check"];
    chroot.run("reclaim", &[&collector[..], &check].concat())?;
    fs::remove_file(&fleet).map_err(|error| Failure::file("remove", &fleet, &error))?;
    // Prints only files that differ from the package.
    let verified = chroot.run("dpkg", &["--verify", "reclaim"])?;
    if verified.is_empty() {
        return Ok(());
    }
    Err(Failure::new(format!(
        "installed files differ from the package: {}",
        verified.trim()
    )))
}

/// Starts the daemon with the packaged configuration on a private containerd, sends a request, and
/// stops it.
fn serve(workspace: &Workspace, chroot: &Chroot, stages: &[Stage]) -> Result<(), Failure> {
    let socket = chroot.root().join("run/containerd/containerd.sock");
    let directory = workspace.empty_directory("dist/containerd")?;
    let mut containerd = Running(start_containerd(&directory, &socket)?);
    // The RuntimeDirectory of the unit.
    let run = chroot.root().join("run/reclaim");
    fs::create_dir_all(&run).map_err(|error| Failure::file("create", &run, &error))?;
    wait_until("containerd answers", || {
        let listed = chroot.run("reclaim", &["image", "ls"]);
        containerd.is_running() && listed.is_ok()
    })?;
    for stage in stages {
        let mut reclaim = stage.target.command(&stage.binary)?;
        shell::read(reclaim.arg("--address").arg(&socket).args(["image", "ls"]))?;
        println!("the binary for {} reads containerd", stage.target.processor);
    }
    // Like the unit: as root, without root's capabilities.
    let spawned = chroot
        .command("setpriv")
        .args(["--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"])
        .args(["reclaim", "serve"])
        .stdin(Stdio::null())
        .spawn()
        .map_err(|error| Failure::new(format!("start reclaim: {error}")))?;
    let mut daemon = Running(spawned);
    wait_until("`reclaim serve` answers", || {
        let host = ["--host", "unix:///run/reclaim/reclaim.sock", "history"];
        daemon.is_running() && chroot.run("reclaim", &host).is_ok()
    })?;
    daemon.end("reclaim serve")?;
    containerd.end("containerd")?;
    drop((daemon, containerd));
    // These were created from outside. The daemon has removed its socket itself.
    for directory in [&run, &chroot.root().join("run/containerd")] {
        shell::remove_tree(directory)?;
    }
    println!("reclaim serve answers without capabilities, and stops on SIGTERM");
    Ok(())
}

fn start_containerd(directory: &Path, socket: &Path) -> Result<Child, Failure> {
    let text = format!(
        "version = 2\nroot = \"{0}/root\"\nstate = \"{0}/state\"\n\
         disabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = \"{1}\"\n",
        directory.display(),
        socket.display(),
    );
    let file = directory.join("config.toml");
    fs::write(&file, text).map_err(|error| Failure::file("write", &file, &error))?;
    let path = directory.join("log");
    let log = fs::File::create(&path).map_err(|error| Failure::file("create", &path, &error))?;
    let mut containerd = Command::new("containerd");
    containerd.arg("--config").arg(&file);
    containerd
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .map_err(|error| Failure::new(format!("start containerd: {error}")))
}

/// Installs the same package again, and checks that a changed configuration is kept.
fn upgrade(chroot: &Chroot) -> Result<(), Failure> {
    let path = chroot.root().join("etc/reclaim/config.toml");
    let read = || fs::read_to_string(&path).map_err(|error| Failure::file("read", &path, &error));
    let changed = format!("{}\n[headroom]\nsize = \"1MB\"\n", read()?);
    fs::write(&path, &changed).map_err(|error| Failure::file("write", &path, &error))?;
    chroot.run("dpkg", &["--install", "/reclaim.deb"])?;
    if read()? != changed {
        return Err(Failure::new("an upgrade changed the configuration"));
    }
    // Purging must also remove the state of a daemon.
    let state = chroot.root().join("var/lib/reclaim");
    fs::create_dir_all(&state).map_err(|error| Failure::file("create", &state, &error))?;
    let file = state.join("last-use.redb");
    fs::write(&file, "state").map_err(|error| Failure::file("write", &file, &error))
}

fn wait_until(condition: &str, mut is_met: impl FnMut() -> bool) -> Result<(), Failure> {
    for _ in 0..CHECKS {
        if is_met() {
            return Ok(());
        }
        thread::sleep(PAUSE);
    }
    Err(Failure::new(format!("timed out waiting until {condition}")))
}

/// A process. Dropping it kills it.
struct Running(Child);

impl Running {
    fn is_running(&mut self) -> bool {
        matches!(self.0.try_wait(), Ok(None))
    }

    /// Sends SIGTERM, and checks that the process succeeds.
    fn end(&mut self, name: &str) -> Result<(), Failure> {
        let pid = self.0.id().to_string();
        shell::run(Command::new("kill").args(["-TERM", &pid]))?;
        wait_until(&format!("{name} ends"), || !self.is_running())?;
        match self.0.wait() {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(Failure::new(format!("{name}: {status}"))),
            Err(error) => Err(Failure::new(format!("{name}: {error}"))),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.is_running() {
            self.0.kill().ok();
        }
        self.0.wait().ok();
    }
}
