//! Proves whether a run of another process is over, and gives other processes the same proof.
//!
//! In this order; the first proof counts:
//!
//! 1. The lock file of the run ([`crate::run_lock`]), on the same boot.
//! 2. The boot: a run of this machine from another boot is over.
//! 3. The process ([`crate::owner`]), on the same boot in the same PID namespace.
//!
//! Without a proof, a run counts as under way until its lease expires.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use reclaim_model::{Lease, RunId};
use reclaim_store::Containerd;
use sha2::{Digest as _, Sha256};
use tracing::debug;

use crate::lease;
use crate::owner::{Liveness, Owner};
use crate::run_lock::{LockPlace, LockState, RunLock};

const OWNER: &str = "reclaim/owner";
const LOCK: &str = "reclaim/lock";
const BOOT: &str = "reclaim/boot";
const MACHINE: &str = "reclaim/machine";

/// The limit of containerd for a key and its value, in bytes.
const MAX_LABEL: usize = 4096;

/// The machine and boot of this process, and its lock directory.
#[derive(Debug, Clone, Default)]
pub(crate) struct Identity {
    pub(crate) locks: Option<PathBuf>,
    /// `None` if containerd runs elsewhere, and in containers that do not see the machine's ID.
    machine: Option<String>,
    boot: Option<String>,
}

impl Identity {
    /// Reads the IDs of the machine and its boot.
    pub(crate) fn read(is_containerd_here: bool) -> Self {
        let machine = is_containerd_here.then(|| fs::read_to_string("/etc/machine-id").ok());
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id");
        Self {
            locks: None,
            machine: machine.flatten().and_then(|id| machine_label(&id)),
            boot: boot.ok().map(|id| id.trim().to_owned()),
        }
    }

    /// Overrides the IDs of the machine and its boot.
    pub(crate) fn pretend(&mut self, machine: &str, boot: &str) {
        self.machine = machine_label(machine);
        self.boot = Some(boot.to_owned());
    }

    /// Takes the lock of a run; `None` without a usable directory.
    pub(crate) fn lock(&self, run: &RunId) -> Option<RunLock> {
        let directory = self.locks.as_deref()?;
        match RunLock::acquire(directory, &run.0) {
            Ok(lock) => Some(lock),
            Err(error) => {
                debug!(%error, directory = %directory.display(), "cannot create a lock file for the run");
                None
            }
        }
    }

    /// Returns the lease labels that identify this process.
    pub(crate) fn labels(&self, lock: Option<&RunLock>) -> BTreeMap<String, String> {
        let lock = lock.map(|lock| lock.place().to_string());
        let lock = lock.filter(|it| it.len() + LOCK.len() <= MAX_LABEL);
        let owner = Owner::this_process().map(|owner| owner.to_string());
        let labels = [
            (OWNER, owner),
            (LOCK, lock),
            (BOOT, self.boot.clone()),
            (MACHINE, self.machine.clone()),
        ];
        let known = labels.into_iter();
        known
            .filter_map(|(key, value)| Some((key.to_owned(), value?)))
            .collect()
    }

    /// Returns whether the run of a lease is proven to be over. Its lock file may be on a filesystem
    /// that hangs, which proves nothing.
    pub(crate) async fn is_abandoned(self: &Arc<Self>, store: &Containerd, lease: &Lease) -> bool {
        let (identity, lease) = (Arc::clone(self), lease.clone());
        let looking = move || identity.liveness(&lease) == Liveness::Gone;
        let looked = store.read_disk("lock file of a run", looking).await;
        looked.unwrap_or(false)
    }

    /// Returns whether the process that made a lease is running.
    pub(crate) fn process_liveness(&self, lease: &Lease) -> Liveness {
        if self.has_rebooted_since(lease) {
            return Liveness::Gone;
        }
        let owner = lease
            .labels
            .get(OWNER)
            .and_then(|owner| Owner::parse(owner));
        owner.map_or(Liveness::Unknown, |owner| owner.liveness())
    }

    /// Whether this machine has booted since it made a lease.
    fn has_rebooted_since(&self, lease: &Lease) -> bool {
        let label = |key| lease.labels.get(key).map(String::as_str);
        let machine = label(MACHINE);
        let (then, now) = (label(BOOT), self.boot.as_deref());
        machine.is_some()
            && machine == self.machine.as_deref()
            && then.is_some()
            && now.is_some()
            && then != now
    }

    /// Returns the labels without those that [`Self::labels`] sets.
    pub(crate) fn without_labels(labels: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let mut labels = labels.clone();
        labels.retain(|key, _| ![OWNER, LOCK, BOOT, MACHINE].contains(&key.as_str()));
        labels
    }

    fn liveness(&self, lease: &Lease) -> Liveness {
        let label = |key| lease.labels.get(key).map(String::as_str);
        let boot = label(BOOT);
        if boot.is_some() && boot == self.boot.as_deref() {
            let place = label(LOCK).and_then(LockPlace::parse);
            let state = place.map(|place| place.state(self.locks.as_deref()));
            match state.unwrap_or(LockState::Unseen) {
                LockState::Held => return Liveness::Alive,
                LockState::Free => return Liveness::Gone,
                LockState::Unseen => {}
            }
        }
        if self.has_rebooted_since(lease) {
            return Liveness::Gone;
        }
        let Some(owner) = label(OWNER).and_then(Owner::parse) else {
            return Liveness::Unknown;
        };
        let run = lease::run(lease);
        if Owner::this_process().as_ref() == Some(&owner)
            && let Some(run) = &run
        {
            return liveness_here(run);
        }
        owner.liveness()
    }
}

/// Returns the label for a machine ID: a hash, because the ID is confidential. `None` for text that
/// is not an ID, such as `uninitialized`.
fn machine_label(id: &str) -> Option<String> {
    let id = id.trim();
    let is_id = id.len() == 32 && id.bytes().all(|it| it.is_ascii_hexdigit());
    let is_set = id.bytes().any(|it| it != b'0');
    (is_id && is_set).then(|| {
        let hash = Sha256::new().chain_update("reclaim\n").chain_update(id);
        let bytes: [u8; 32] = hash.finalize().into();
        let mut half = [0; 16];
        half.copy_from_slice(&bytes[..16]);
        format!("{:032x}", u128::from_be_bytes(half))
    })
}

/// The runs of all engines in this process.
static RUNS_HERE: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

pub(crate) fn runs_here() -> MutexGuard<'static, BTreeSet<String>> {
    // Consistent after every change.
    RUNS_HERE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns whether a run of this process is still under way.
fn liveness_here(run: &RunId) -> Liveness {
    if runs_here().contains(&run.0) {
        Liveness::Alive
    } else {
        Liveness::Gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preview::new_run;

    fn lease(run: &RunId, labels: BTreeMap<String, String>) -> Lease {
        let run = (reclaim_model::RUN_LABEL.to_owned(), run.to_string());
        Lease {
            id: "lease".to_owned(),
            labels: labels.into_iter().chain([run]).collect(),
            expires: None,
            is_flat: false,
            created: None,
            resources: Vec::new(),
        }
    }

    fn on(machine: &str, boot: &str) -> Identity {
        Identity {
            locks: None,
            machine: Some(machine.to_owned()),
            boot: Some(boot.to_owned()),
        }
    }

    /// As [`Identity::labels`], without the process.
    fn named_by(identity: &Identity, lock: Option<&RunLock>) -> BTreeMap<String, String> {
        let mut labels = identity.labels(lock);
        labels.remove(OWNER);
        labels
    }

    #[test]
    fn a_reboot_ends_the_runs_of_that_machine_only() {
        let run = new_run();
        let dead = lease(&run, named_by(&on("this", "first"), None));
        let liveness = |identity: &Identity| identity.liveness(&dead);
        assert_eq!(liveness(&on("this", "second")), Liveness::Gone);
        assert_eq!(liveness(&on("this", "first")), Liveness::Unknown);
        assert_eq!(liveness(&on("another", "second")), Liveness::Unknown);
        let mut unknown = on("this", "second");
        unknown.machine = None;
        assert_eq!(liveness(&unknown), Liveness::Unknown);
        let nameless = lease(&run, named_by(&unknown, None));
        assert_eq!(unknown.liveness(&nameless), Liveness::Unknown);
    }

    #[test]
    fn a_lock_proves_whether_the_run_is_over() {
        let directory = tempfile::tempdir().unwrap();
        let run = new_run();
        let identity = Identity {
            locks: Some(directory.path().to_owned()),
            ..on("this", "first")
        };
        let lock = identity.lock(&run).unwrap();
        let named = lease(&run, named_by(&identity, Some(&lock)));
        assert_eq!(identity.liveness(&named), Liveness::Alive);
        drop(lock);
        assert_eq!(identity.liveness(&named), Liveness::Gone);
        // Locks of another kernel cannot be seen, even on a shared filesystem.
        assert_eq!(on("another", "second").liveness(&named), Liveness::Unknown);
    }

    #[test]
    fn only_a_valid_machine_id_has_a_label() {
        let id = "0123456789abcdef0123456789abcdef";
        let label = machine_label(&format!("{id}\n")).unwrap();
        assert_eq!(label.len(), 32);
        assert_ne!(label, id);
        assert_ne!(machine_label(&id.replace('0', "1")).unwrap(), label);
        for text in ["", "uninitialized\n", &"0".repeat(32), "0123"] {
            assert_eq!(machine_label(text), None, "{text}");
        }
    }
}
