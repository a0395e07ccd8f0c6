//! Who a process is, so that another can prove that it is gone.
//!
//! A PID alone proves nothing: it is reused, and means another process in another PID
//! namespace or after a reboot. Together with the boot, the PID namespace and the time at which
//! the process started it is unique.

use std::fmt;
use std::fs;

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

/// One process on one boot of one machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Owner {
    boot: String,
    pid_namespace: String,
    pid: u32,
    started: String,
}

/// What can be said of an [`Owner`] from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Liveness {
    /// It runs.
    Alive,
    /// It is proven to be gone.
    Gone,
    /// It cannot be seen from this kernel and PID namespace.
    Unknown,
}

impl Owner {
    /// Describes this process; `None` where `/proc` does not tell.
    pub(crate) fn this_process() -> Option<Self> {
        let pid = std::process::id();
        Some(Self {
            boot: read("/proc/sys/kernel/random/boot_id")?,
            pid_namespace: pid_namespace()?,
            pid,
            started: started(pid)?,
        })
    }

    /// Reads what [`Owner`]'s `Display` wrote.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('/');
        let owner = Self {
            boot: parts.next()?.to_owned(),
            pid_namespace: parts.next()?.to_owned(),
            pid: parts.next()?.parse().ok()?,
            started: parts.next()?.to_owned(),
        };
        parts.next().is_none().then_some(owner)
    }

    /// Says whether the process still runs.
    pub(crate) fn liveness(&self) -> Liveness {
        let Some(here) = Self::this_process() else {
            return Liveness::Unknown;
        };
        if self.boot != here.boot || self.pid_namespace != here.pid_namespace {
            // Another boot may be this machine's last one, or another machine to which the
            // socket is forwarded.
            return Liveness::Unknown;
        }
        match started(self.pid) {
            Some(started) if started == self.started => Liveness::Alive,
            None if exists(self.pid) => Liveness::Unknown,
            Some(_) | None => Liveness::Gone,
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            boot,
            pid_namespace,
            pid,
            started,
        } = self;
        write!(formatter, "{boot}/{pid_namespace}/{pid}/{started}")
    }
}

fn read(path: &str) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}

fn pid_namespace() -> Option<String> {
    let link = fs::read_link("/proc/self/ns/pid").ok()?;
    Some(link.to_str()?.to_owned())
}

/// Says whether there is such a process, also where `/proc` hides those of others: a mount
/// with `hidepid`, or a service with `ProtectProc=`. What cannot be told exists.
fn exists(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_none_or(|pid| test_kill_process(pid) != Err(Errno::SRCH))
}

/// The start time of a process in clock ticks since boot: field 22 of its `stat`, counted
/// after the name, which may itself contain spaces and parentheses.
fn started(pid: u32) -> Option<String> {
    let stat = read(&format!("/proc/{pid}/stat"))?;
    let (_, after_name) = stat.rsplit_once(')')?;
    Some(after_name.split_whitespace().nth(19)?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_alive_and_reads_back() {
        let owner = Owner::this_process().unwrap();
        assert_eq!(Owner::parse(&owner.to_string()), Some(owner.clone()));
        assert_eq!(owner.liveness(), Liveness::Alive);
    }

    #[test]
    fn a_reused_pid_is_gone_and_what_is_elsewhere_unknown() {
        let owner = Owner::this_process().unwrap();
        let reused = Owner {
            started: "1".to_owned(),
            ..owner.clone()
        };
        assert_eq!(reused.liveness(), Liveness::Gone);
        let rebooted = Owner {
            boot: "another".to_owned(),
            ..owner.clone()
        };
        assert_eq!(rebooted.liveness(), Liveness::Unknown);
        let elsewhere = Owner {
            pid_namespace: "pid:[1]".to_owned(),
            ..owner
        };
        assert_eq!(elsewhere.liveness(), Liveness::Unknown);
    }

    #[test]
    fn a_process_that_ended_is_gone_and_one_that_is_hidden_exists() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id();
        assert!(exists(pid));
        child.wait().unwrap();
        let ended = Owner {
            pid,
            ..Owner::this_process().unwrap()
        };
        assert_eq!(ended.liveness(), Liveness::Gone);
        // Signals tell of a process that may not be signalled, whatever /proc shows.
        assert!(exists(1));
    }

    #[test]
    fn refuses_what_it_did_not_write() {
        for text in ["", "a/b/c/d", "a/b/1", "a/b/1/d/e"] {
            assert_eq!(Owner::parse(text), None, "{text}");
        }
    }
}
