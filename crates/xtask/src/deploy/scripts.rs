//! Runs the package's script for configuration on a machine with a systemd that only notes its orders.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::Failure;
use crate::shell;
use crate::workspace::Workspace;

/// A shell script that makes `/run` and `/usr/sbin` those of a machine with systemd, in its own mount
/// namespace, and executes a program. The arguments are the new `/usr/sbin`, the program and its arguments.
const ENTER: &str = "mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/system && \
                     mount --bind \"$0\" /usr/sbin && exec \"$@\"";

/// Programs of systemd and Debian. The last one sends orders like the real one, and waits for them.
const STUBS: [(&str, &str); 3] = [
    ("systemctl", "echo \"$*\" >>\"$ORDERS\"\n"),
    ("deb-systemd-helper", "exit 0\n"),
    ("deb-systemd-invoke", "exec systemctl --system \"$@\"\n"),
];

const RELOAD: &str = "--system daemon-reload";

/// Checks the orders of an installation and of an upgrade, which must not wait for a run to end.
pub(super) fn check(workspace: &Workspace) -> Result<(), Failure> {
    let stage = Stage::new(workspace)?;
    stage.expect(
        "",
        &[RELOAD, "--system start reclaim.socket reclaim.service"],
    )?;
    let restart = "--system --no-block try-restart reclaim.service";
    stage.expect("0.0.1-1", &[RELOAD, restart])?;
    // What an image builder says: start no services.
    program(&stage.sbin.join("policy-rc.d"), "exit 101\n")?;
    stage.expect("0.0.1-1", &[RELOAD])?;
    println!("an upgrade restarts the daemon without waiting for it");
    Ok(())
}

struct Stage<'w> {
    workspace: &'w Workspace,
    stubs: PathBuf,
    /// What the script sees as `/usr/sbin`.
    sbin: PathBuf,
    orders: PathBuf,
}

impl<'w> Stage<'w> {
    fn new(workspace: &'w Workspace) -> Result<Self, Failure> {
        let root = workspace.empty_directory("deploy/scripts")?;
        let [stubs, sbin] = ["stubs", "sbin"].map(|name| root.join(name));
        for directory in [&stubs, &sbin] {
            fs::create_dir(directory)
                .map_err(|error| Failure::file("create", directory, &error))?;
        }
        for (name, text) in STUBS {
            program(&stubs.join(name), text)?;
        }
        let orders = root.join("orders");
        Ok(Self {
            workspace,
            stubs,
            sbin,
            orders,
        })
    }

    /// Configures the package after this version, and compares the orders that systemd receives.
    fn expect(&self, version: &str, expected: &[&str]) -> Result<(), Failure> {
        fs::write(&self.orders, "")
            .map_err(|error| Failure::file("write", &self.orders, &error))?;
        let mut script = Command::new("unshare");
        script.args(["--mount", "--propagation", "private", "sh", "-c", ENTER]);
        script.arg(&self.sbin).arg("/bin/sh");
        script.arg(self.workspace.root.join("deploy/debian/postinst"));
        script
            .args(["configure", version])
            .env("ORDERS", &self.orders);
        script.env("PATH", format!("{}:/usr/bin:/bin", self.stubs.display()));
        shell::run(&mut script)?;
        let orders = fs::read_to_string(&self.orders)
            .map_err(|error| Failure::file("read", &self.orders, &error))?;
        if orders.lines().eq(expected.iter().copied()) {
            return Ok(());
        }
        Err(Failure::new(format!(
            "postinst configure {version}: expected the orders {expected:?}, found {orders:?}"
        )))
    }
}

fn program(path: &Path, text: &str) -> Result<(), Failure> {
    fs::write(path, format!("#!/bin/sh\n{text}"))
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o755)))
        .map_err(|error| Failure::file("write", path, &error))
}
