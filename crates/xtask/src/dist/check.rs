//! The package on a clean system: installed, run against a containerd, upgraded, removed, purged.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use super::snapshot::Snapshot;
use crate::chroot::Chroot;
use crate::failure::Failure;
use crate::machine::{self, CONTAINERD};
use crate::shell;
use crate::steps::Steps;
use crate::workspace::Workspace;

/// How often what does not come is looked for before that is a failure, and how long between.
const LOOKS: u32 = 300;
const PAUSE: Duration = Duration::from_millis(100);

/// What the package must bring.
const FILES: [&str; 9] = [
    "usr/bin/reclaim",
    "etc/reclaim/config.toml",
    "usr/lib/systemd/system/reclaim.service",
    "usr/lib/systemd/system/reclaim.socket",
    "usr/lib/systemd/system/reclaim-maintain.timer",
    "usr/share/man/man1/reclaim.1.gz",
    "usr/share/bash-completion/completions/reclaim",
    "usr/share/zsh/vendor-completions/_reclaim",
    "usr/share/fish/vendor_completions.d/reclaim.fish",
];

/// Runs all of it.
pub(super) fn run(workspace: &Workspace, steps: &mut Steps, package: &Path) -> Result<(), Failure> {
    machine::provide(&[CONTAINERD])?;
    let chroot = steps.step("a clean Debian", || Chroot::make(workspace, "dist/chroot"))?;
    let inside = chroot.root().join("reclaim.deb");
    let copied = fs::copy(package, &inside);
    copied.map_err(|error| Failure::file("copy", package, &error))?;
    let clean = Snapshot::take(chroot.root())?;
    steps.step("install and run", || {
        chroot.run("dpkg", &["--install", "/reclaim.deb"])?;
        installed(&chroot)?;
        serve(workspace, &chroot)
    })?;
    steps.step("upgrade, remove and purge", || {
        upgrade(&chroot)?;
        chroot.run("dpkg", &["--remove", "reclaim"])?;
        let removed = Snapshot::take(chroot.root())?;
        if removed.has("usr/bin/reclaim") || !removed.has("etc/reclaim/config.toml") {
            return Err(Failure::new(
                "removing keeps the binary or takes the configuration",
            ));
        }
        chroot.run("dpkg", &["--purge", "reclaim"])?;
        let left = Snapshot::take(chroot.root())?.changes_since(&clean);
        if left.is_empty() {
            return Ok(());
        }
        Err(Failure::new(format!("after purging, {}", left.join("; "))))
    })
}

/// Checks what is there, and that the commands that need no containerd work.
fn installed(chroot: &Chroot) -> Result<(), Failure> {
    let files = Snapshot::take(chroot.root())?;
    if let Some(missing) = FILES.iter().find(|path| !files.has(path)) {
        return Err(Failure::new(format!("the package brings no `/{missing}`")));
    }
    let version = chroot.run("reclaim", &["--version"])?;
    println!("{}", version.trim());
    let mut check = chroot.command("reclaim");
    let check = check.args(["config", "check"]).output();
    let check = check.map_err(|error| Failure::new(format!("chroot: {error}")))?;
    let words = String::from_utf8_lossy(&check.stderr);
    println!("{}", words.trim());
    if !check.status.success() || !words.contains("enabled policies: 0") {
        return Err(Failure::new(
            "the configuration that comes with the package has a policy",
        ));
    }
    // Says nothing if everything is as it was packed.
    let verified = chroot.run("dpkg", &["--verify", "reclaim"])?;
    if verified.is_empty() {
        return Ok(());
    }
    Err(Failure::new(format!(
        "not as it was packed: {}",
        verified.trim()
    )))
}

/// Starts the daemon with the configuration of the package on a containerd of our own, asks it
/// something, and ends it.
fn serve(workspace: &Workspace, chroot: &Chroot) -> Result<(), Failure> {
    let socket = chroot.root().join("run/containerd/containerd.sock");
    let directory = workspace.empty_directory("dist/containerd")?;
    let mut containerd = Running(start_containerd(&directory, &socket)?);
    // Where the unit has a RuntimeDirectory.
    let run = chroot.root().join("run/reclaim");
    fs::create_dir_all(&run).map_err(|error| Failure::file("make", &run, &error))?;
    until("the containerd of the check answers", || {
        let asked = chroot.run("reclaim", &["image", "ls"]);
        containerd.is_running() && asked.is_ok()
    })?;
    // As the unit has it: root, and none of root's capabilities.
    let mut daemon = chroot.command("setpriv");
    daemon.args(["--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"]);
    let daemon = daemon
        .args(["reclaim", "serve"])
        .stdin(Stdio::null())
        .spawn();
    let daemon = daemon.map_err(|error| Failure::new(format!("start reclaim: {error}")))?;
    let mut daemon = Running(daemon);
    until("`reclaim serve` answers", || {
        let host = ["--host", "unix:///run/reclaim/reclaim.sock", "history"];
        daemon.is_running() && chroot.run("reclaim", &host).is_ok()
    })?;
    daemon.end("reclaim serve")?;
    containerd.end("containerd")?;
    drop((daemon, containerd));
    // What was put there from outside. The socket of the daemon it has removed itself.
    for directory in [&run, &chroot.root().join("run/containerd")] {
        shell::remove_tree(directory)?;
    }
    println!("reclaim serve answered without capabilities, and ended when it was told to");
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
    let log = directory.join("log");
    let log = fs::File::create(&log).map_err(|error| Failure::file("write", &log, &error))?;
    let mut containerd = Command::new("containerd");
    containerd.arg("--config").arg(&file);
    containerd
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log);
    let started = containerd.spawn();
    started.map_err(|error| Failure::new(format!("start containerd: {error}")))
}

/// Installs the same again: a configuration that was changed must be as it was.
fn upgrade(chroot: &Chroot) -> Result<(), Failure> {
    let path = chroot.root().join("etc/reclaim/config.toml");
    let read = || fs::read_to_string(&path).map_err(|error| Failure::file("read", &path, &error));
    let changed = format!("{}\n[headroom]\nsize = \"1MB\"\n", read()?);
    fs::write(&path, &changed).map_err(|error| Failure::file("write", &path, &error))?;
    chroot.run("dpkg", &["--install", "/reclaim.deb"])?;
    if read()? != changed {
        return Err(Failure::new("an upgrade changes the configuration"));
    }
    // What a daemon leaves in its state directory goes with the package, too.
    let state = chroot.root().join("var/lib/reclaim");
    fs::create_dir_all(&state).map_err(|error| Failure::file("make", &state, &error))?;
    let file = state.join("last-use.redb");
    fs::write(&file, "state").map_err(|error| Failure::file("write", &file, &error))
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) -> Result<(), Failure> {
    for _ in 0..LOOKS {
        if is_so() {
            return Ok(());
        }
        thread::sleep(PAUSE);
    }
    Err(Failure::new(format!("waited in vain until {what}")))
}

/// A process that ends with the check, whatever comes of it.
struct Running(Child);

impl Running {
    fn is_running(&mut self) -> bool {
        matches!(self.0.try_wait(), Ok(None))
    }

    /// Tells it to end, and sees that it does so well.
    fn end(&mut self, name: &str) -> Result<(), Failure> {
        let pid = self.0.id().to_string();
        shell::run(Command::new("kill").args(["-TERM", &pid]))?;
        until(&format!("{name} ends"), || !self.is_running())?;
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
