//! A child process that never outlives its test.
//!
//! Dropping [`Process`] ends it: SIGTERM, a bounded wait, SIGKILL. All signals go through a pidfd,
//! so they cannot reach another process that reuses the ID.
//!
//! # When the test process is killed
//!
//! Then no destructor runs, and the kernel kills the child, which runs under
//! `setpriv --pdeathsig KILL` if util-linux is installed. The kernel sends that signal when the
//! parent *thread* ends, not the process, and threads of tests end early. So one thread, which lives
//! as long as the process, spawns all children.

use std::env;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::OnceLock;
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};

/// How long a daemon may take to stop after SIGTERM. containerd takes milliseconds, and longer on a
/// loaded machine.
const GRACE: Duration = Duration::from_secs(10);

/// A running or ended child process.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    pidfd: OwnedFd,
}

impl Process {
    /// Starts `command`.
    pub(crate) fn spawn(command: Command) -> io::Result<Self> {
        let child = spawn_in_thread(command)?;
        let pid = Pid::from_child(&child);
        // Nothing has waited for the child yet, so its ID is not reused.
        let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
        Ok(Self { child, pidfd })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns how the process ended, or `None` while it runs.
    pub(crate) fn exit_status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be waited for")
    }

    /// Ends the process at once and waits for it.
    pub(crate) fn kill(&mut self) {
        self.signal(Signal::KILL);
        let ended = self.child.wait();
        ended.expect("a child can be waited for");
    }

    /// Sends SIGTERM, waits up to [`GRACE`], then kills the process.
    fn end(&mut self) {
        self.signal(Signal::TERM);
        if !self.ends_within(GRACE) {
            self.signal(Signal::KILL);
        }
        let ended = self.child.wait();
        ended.expect("a child can be waited for");
    }

    pub(crate) fn signal(&self, signal: Signal) {
        // Fails only if the process has already ended.
        pidfd_send_signal(&self.pidfd, signal).ok();
    }

    /// Waits until the process has ended, which makes its pidfd readable.
    fn ends_within(&self, limit: Duration) -> bool {
        let limit = Timespec::try_from(limit).expect("the limit is small");
        let mut fds = [PollFd::new(&self.pidfd, PollFlags::IN)];
        let ready = rustix::io::retry_on_intr(|| poll(&mut fds, Some(&limit)));
        ready.is_ok_and(|count| count > 0)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// A command to spawn, and the sender of its result.
type Spawn = (Command, Sender<io::Result<Child>>);

/// Spawns `command` in the thread that lives as long as the process.
fn spawn_in_thread(command: Command) -> io::Result<Child> {
    static SPAWNER: OnceLock<Sender<Spawn>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (commands, inbox) = mpsc::channel::<Spawn>();
        thread::spawn(move || {
            for (mut command, answer) in inbox {
                // If the caller is gone, no other code ends the child.
                if let Err(unread) = answer.send(command.spawn())
                    && let Ok(mut orphan) = unread.0
                {
                    orphan.kill().ok();
                }
            }
        });
        commands
    });
    let (answer, child) = mpsc::channel();
    spawner
        .send((command, answer))
        .expect("the thread lives as long as the process");
    child.recv().expect("the thread answers every command")
}

/// Returns the program busybox, which must be static, as in Debian's package `busybox-static`.
///
/// # Panics
///
/// If it is not on `PATH`.
pub fn busybox() -> Vec<u8> {
    let path = find_on_path("busybox").expect("busybox-static is installed");
    std::fs::read(path).expect("a program can be read")
}

/// Sends a signal to a child that has not been waited for.
pub fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).expect("a child can be signalled");
}

/// Returns a command that runs `binary`, which the kernel kills when this process ends, if util-linux
/// is installed.
pub(crate) fn bound_command(binary: &Path) -> Command {
    let Some(setpriv) = find_on_path("setpriv") else {
        return Command::new(binary);
    };
    let mut command = Command::new(setpriv);
    command.args(["--pdeathsig", "KILL", "--"]).arg(binary);
    command
}

/// Returns the path of a program, if it is on `PATH`.
pub(crate) fn find_on_path(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|directory| directory.join(program))
        .find(|candidate| candidate.is_file())
}
