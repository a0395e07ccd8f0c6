//! A child process that does not outlive its test, however the test ends.
//!
//! Dropping [`Process`] ends it: SIGTERM, a bounded wait, SIGKILL. All signals go through a
//! pidfd, so they can never reach a stranger who was given the same number.
//!
//! # When the test process itself is killed
//!
//! No destructor runs then, so the kernel has to do it: the child runs under
//! `setpriv --pdeathsig KILL` where util-linux offers it. The kernel sends that signal when the
//! parent *thread* ends, not the parent process, and test threads end early and often. So all
//! children are started by one thread, the nursery, which lives as long as the process.

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

/// How long a daemon may take to end by itself. containerd needs milliseconds; a loaded
/// machine may need more.
const GRACE: Duration = Duration::from_secs(10);

/// A running or ended child process.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    pidfd: OwnedFd,
}

impl Process {
    /// Starts `command` from the nursery.
    pub(crate) fn spawn(command: Command) -> io::Result<Self> {
        let child = spawn_in_nursery(command)?;
        let pid = Pid::from_child(&child);
        // The child is not waited for before this returns, so its number is still its own.
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

    /// Asks the process to end, waits up to [`GRACE`], then kills it.
    fn end(&mut self) {
        self.signal(Signal::TERM);
        if !self.ends_within(GRACE) {
            self.signal(Signal::KILL);
        }
        let ended = self.child.wait();
        ended.expect("a child can be waited for");
    }

    pub(crate) fn signal(&self, signal: Signal) {
        // Fails only if the process has ended, which is what signals are sent for.
        pidfd_send_signal(&self.pidfd, signal).ok();
    }

    /// Waits until the process has ended; a pidfd becomes readable then.
    fn ends_within(&self, limit: Duration) -> bool {
        let limit = Timespec::try_from(limit).expect("the limit is seconds");
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

/// A command to start, and where its child or the reason against it goes.
type Order = (Command, Sender<io::Result<Child>>);

/// Starts `command` from the thread that never ends.
fn spawn_in_nursery(command: Command) -> io::Result<Child> {
    static NURSERY: OnceLock<Sender<Order>> = OnceLock::new();
    let nursery = NURSERY.get_or_init(|| {
        let (orders, inbox) = mpsc::channel::<Order>();
        thread::spawn(move || {
            for (mut command, answer) in inbox {
                // Who asked may have gone away; then the child has nobody to end it.
                if let Err(unread) = answer.send(command.spawn())
                    && let Ok(mut orphan) = unread.0
                {
                    orphan.kill().ok();
                }
            }
        });
        orders
    });
    let (answer, child) = mpsc::channel();
    nursery
        .send((command, answer))
        .expect("the nursery's thread lives as long as the process");
    child.recv().expect("the nursery answers every order")
}

/// Returns busybox, which needs no library: Debian's package `busybox-static`.
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

/// Returns the beginning of a command that runs `binary`, and has the kernel end it with this
/// process where util-linux is there to ask for it.
pub(crate) fn command_that_dies_with_us(binary: &Path) -> Command {
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
