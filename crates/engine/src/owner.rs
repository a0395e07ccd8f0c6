//! Identifies a process, so that another can prove that it is gone.
//!
//! A PID alone proves nothing: it is reused, and belongs to another process in another PID namespace
//! or after a reboot. With the boot, the PID namespace and the start time it is unique.

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

/// Whether an [`Owner`] is running, as far as this process can see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Liveness {
    /// It is running.
    Alive,
    /// It is proven to be gone.
    Gone,
    /// It cannot be seen from this kernel and PID namespace.
    Unknown,
}

impl Owner {
    /// Returns the owner for this process; `None` if `/proc` cannot be read.
    pub(crate) fn this_process() -> Option<Self> {
        let pid = std::process::id();
        Some(Self {
            boot: read("/proc/sys/kernel/random/boot_id")?,
            pid_namespace: pid_namespace()?,
            pid,
            started: started(pid)?,
        })
    }

    /// Parses the output of `Display`.
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

    /// Returns whether the process is still running.
    pub(crate) fn liveness(&self) -> Liveness {
        let Some(here) = Self::this_process() else {
            return Liveness::Unknown;
        };
        if self.boot != here.boot || self.pid_namespace != here.pid_namespace {
            // Another boot may be of another machine, if the socket is forwarded.
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

/// Returns whether a process exists, even if `/proc` hides it (`hidepid`, `ProtectProc=`). If that
/// is unknown, it counts as existing.
fn exists(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_none_or(|pid| test_kill_process(pid) != Err(Errno::SRCH))
}

/// Returns the start time of a process in clock ticks since boot: field 22 of its `stat`, counted
/// after the name, which may contain spaces and parentheses.
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
    fn a_reused_pid_is_gone_and_another_boot_or_namespace_is_unknown() {
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
    fn an_ended_process_is_gone_and_a_hidden_one_exists() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id();
        assert!(exists(pid));
        child.wait().unwrap();
        let ended = Owner {
            pid,
            ..Owner::this_process().unwrap()
        };
        assert_eq!(ended.liveness(), Liveness::Gone);
        // A signal reveals a process even without the permission to signal it.
        assert!(exists(1));
    }

    #[test]
    fn refuses_invalid_text() {
        for text in ["", "a/b/c/d", "a/b/1", "a/b/1/d/e"] {
            assert_eq!(Owner::parse(text), None, "{text}");
        }
    }
}
