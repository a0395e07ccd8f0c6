//! Containers that engines register over an API, stored on disk.
//!
//! Each engine is an owner. Its lists keep images even after it stops renewing them, because the
//! containers of a crashed engine still need their images. Every plan then has a warning. Lists are
//! written to disk before a change returns, so they survive a restart of the daemon. If a list cannot
//! be read, its containers are unknown, and runs refuse.

mod file;
mod owner;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use dashmap::DashMap;
use jiff::{SignedDuration, Timestamp};
use reclaim_model::{Container, Namespace, chain};

use super::{ContainerStore, ContainerStoreError};

pub use owner::{OwnerName, OwnerNameError};

/// How long a list counts as fresh after it was renewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeToLive(Duration);

impl TimeToLive {
    /// The default.
    pub const DEFAULT: Self = Self(Duration::from_secs(300));

    /// Accepts a second to a day; `None` for other times.
    pub fn new(time: Duration) -> Option<Self> {
        const RANGE: std::ops::RangeInclusive<Duration> =
            Duration::from_secs(1)..=Duration::from_secs(24 * 60 * 60);
        RANGE.contains(&time).then_some(Self(time))
    }
}

/// The containers that one owner has registered in one namespace.
#[derive(Debug, Clone, PartialEq)]
pub struct OwnerList {
    /// The owner.
    pub owner: OwnerName,
    /// The namespace.
    pub namespace: Namespace,
    /// When it stops being fresh. It keeps images afterwards, too.
    pub expires: Timestamp,
    /// The containers, sorted by ID.
    pub containers: Vec<Container>,
}

/// The result of a call that changes or renews a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Renewed {
    /// When the list stops being fresh.
    pub expires: Timestamp,
    /// What the call changed.
    pub change: ListChange,
}

/// Which containers of a list a call changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListChange {
    /// The namespace of the list.
    pub namespace: Namespace,
    /// The IDs of containers that are new, or registered with other values.
    pub added: Vec<String>,
    /// The IDs of containers that are no longer in the list.
    pub removed: Vec<String>,
}

/// A change could not be written, and was not made.
#[derive(Debug, thiserror::Error)]
#[error("write the containers of `{owner}` to `{}`", path.display())]
pub struct RegisterError {
    owner: OwnerName,
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// The lists of all owners.
///
/// Its methods return owned values, so no lock leaves them.
#[derive(Debug, Default)]
pub struct RegisteredContainers {
    by_owner: DashMap<OwnerName, Lists>,
    /// The directory of the files; `None` keeps the lists in memory only.
    directory: Option<PathBuf>,
    /// Files that could not be read, and why. They are not overwritten.
    unreadable: Mutex<BTreeMap<PathBuf, String>>,
    /// Locked while a change is written, so that the files have the last change.
    writing: Mutex<()>,
}

type Lists = BTreeMap<Namespace, List>;

#[derive(Debug, Clone)]
struct List {
    expires: Timestamp,
    containers: BTreeMap<String, Container>,
}

impl RegisteredContainers {
    /// Creates an empty store in memory.
    pub fn in_memory() -> Self {
        Self::default()
    }

    /// Opens the store in a directory, which is created if it does not exist. A file that cannot be
    /// read is not an error here; it makes the store unreadable.
    ///
    /// # Errors
    ///
    /// If the directory cannot be created or listed.
    pub fn open(directory: PathBuf) -> io::Result<Self> {
        let mut store = Self::default();
        for read in file::read_all(&directory)? {
            match read {
                Ok((owner, lists)) => drop(store.by_owner.insert(owner, lists)),
                Err(error) => {
                    let why = chain(&error);
                    store.unreadable().insert(error.path().to_owned(), why);
                }
            }
        }
        store.directory = Some(directory);
        Ok(store)
    }

    /// Replaces the owner's list.
    ///
    /// # Errors
    ///
    /// If it may not be written. The old list stays in force; after a restart it may be either one.
    /// The caller should try again.
    pub fn replace(
        &self,
        owner: &OwnerName,
        namespace: &Namespace,
        containers: Vec<Container>,
        time_to_live: TimeToLive,
    ) -> Result<Renewed, RegisterError> {
        self.change(owner, namespace, time_to_live, |list| {
            list.clear();
            list.extend(containers.into_iter().map(|it| (it.id.clone(), it)));
        })
    }

    /// Adds containers to the owner's list, and replaces those with the same IDs.
    ///
    /// # Errors
    ///
    /// As [`Self::replace`].
    pub fn upsert(
        &self,
        owner: &OwnerName,
        namespace: &Namespace,
        containers: Vec<Container>,
        time_to_live: TimeToLive,
    ) -> Result<Renewed, RegisterError> {
        self.change(owner, namespace, time_to_live, |list| {
            list.extend(containers.into_iter().map(|it| (it.id.clone(), it)));
        })
    }

    /// Removes containers from the owner's list.
    ///
    /// # Errors
    ///
    /// As [`Self::replace`].
    pub fn remove(
        &self,
        owner: &OwnerName,
        namespace: &Namespace,
        ids: &[String],
        time_to_live: TimeToLive,
    ) -> Result<Renewed, RegisterError> {
        self.change(owner, namespace, time_to_live, |list| {
            for id in ids {
                list.remove(id);
            }
        })
    }

    /// Removes all lists of an owner, also unreadable ones. Returns those that could be read.
    ///
    /// # Errors
    ///
    /// As [`Self::replace`].
    pub fn forget(&self, owner: &OwnerName) -> Result<Vec<ListChange>, RegisterError> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        self.write(owner, &Lists::new())?;
        let forgotten = self.by_owner.remove(owner);
        if let Some(directory) = &self.directory {
            self.unreadable().remove(&file::path(directory, owner));
        }
        let lists = forgotten.into_iter().flat_map(|(_, lists)| lists);
        let changes = lists.map(|(namespace, list)| {
            ListChange::between(namespace, &list.containers, &BTreeMap::new())
        });
        Ok(changes.collect())
    }

    /// Returns the lists of all owners, by owner and namespace.
    pub fn lists(&self) -> Vec<OwnerList> {
        let owners = self.by_owner.iter();
        let lists = owners.flat_map(|entry| {
            let owner = entry.key().clone();
            let lists = entry.value().clone().into_iter();
            lists.map(move |(namespace, list)| OwnerList {
                owner: owner.clone(),
                namespace,
                expires: list.expires,
                containers: list.containers.into_values().collect(),
            })
        });
        let mut lists: Vec<OwnerList> = lists.collect();
        lists.sort_by(|a, b| (&a.owner, &a.namespace).cmp(&(&b.owner, &b.namespace)));
        lists
    }

    fn change(
        &self,
        owner: &OwnerName,
        namespace: &Namespace,
        time_to_live: TimeToLive,
        change: impl FnOnce(&mut BTreeMap<String, Container>),
    ) -> Result<Renewed, RegisterError> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        self.check_readable(owner)?;
        let found = self.by_owner.get(owner).map(|entry| entry.value().clone());
        let mut lists = found.unwrap_or_default();
        let lifetime = SignedDuration::try_from(time_to_live.0).unwrap_or(SignedDuration::MAX);
        let expires = reclaim_store::now().saturating_add(lifetime);
        let expires = expires.unwrap_or(Timestamp::MAX);
        let list = lists.entry(namespace.clone()).or_insert_with(|| List {
            expires,
            containers: BTreeMap::new(),
        });
        list.expires = expires;
        let before = list.containers.clone();
        change(&mut list.containers);
        let change = ListChange::between(namespace.clone(), &before, &list.containers);
        self.write(owner, &lists)?;
        self.by_owner.insert(owner.clone(), lists);
        Ok(Renewed { expires, change })
    }

    /// Checks that the owner's file was read: overwriting it would lose its containers.
    fn check_readable(&self, owner: &OwnerName) -> Result<(), RegisterError> {
        let Some(directory) = &self.directory else {
            return Ok(());
        };
        let path = file::path(directory, owner);
        let Some(why) = self.unreadable().get(&path).cloned() else {
            return Ok(());
        };
        let problem = format!("{why}; repair it, or forget the owner");
        Err(RegisterError {
            owner: owner.clone(),
            path,
            source: io::Error::new(io::ErrorKind::InvalidData, problem),
        })
    }

    fn unreadable(&self) -> MutexGuard<'_, BTreeMap<PathBuf, String>> {
        let unreadable = self.unreadable.lock();
        unreadable.unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, owner: &OwnerName, lists: &Lists) -> Result<(), RegisterError> {
        let Some(directory) = &self.directory else {
            return Ok(());
        };
        file::write(directory, owner, lists).map_err(|source| RegisterError {
            owner: owner.clone(),
            path: directory.clone(),
            source,
        })
    }
}

impl ListChange {
    fn between(
        namespace: Namespace,
        before: &BTreeMap<String, Container>,
        after: &BTreeMap<String, Container>,
    ) -> Self {
        let added = after.iter().filter(|(id, it)| before.get(*id) != Some(it));
        let removed = before.keys().filter(|id| !after.contains_key(*id));
        Self {
            namespace,
            added: added.map(|(id, _)| id.clone()).collect(),
            removed: removed.cloned().collect(),
        }
    }
}

/// Some lists could not be read.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("; "))]
struct Unreadable(Vec<String>);

#[async_trait]
impl ContainerStore for RegisteredContainers {
    fn name(&self) -> &'static str {
        "registered containers"
    }

    async fn containers(
        &self,
        namespace: &Namespace,
    ) -> Result<Vec<Container>, ContainerStoreError> {
        let unreadable: Vec<String> = self.unreadable().values().cloned().collect();
        if !unreadable.is_empty() {
            return Err(Box::new(Unreadable(unreadable)));
        }
        let lists = self.lists().into_iter();
        let here = lists.filter(|list| list.namespace == *namespace);
        Ok(here.flat_map(|list| list.containers).collect())
    }

    fn warnings(&self, namespace: &Namespace) -> Vec<String> {
        let now = reclaim_store::now();
        let lists = self.lists().into_iter();
        let stale = lists.filter(|list| {
            list.namespace == *namespace && list.expires < now && !list.containers.is_empty()
        });
        let warnings = stale.map(|list| {
            let OwnerList {
                owner,
                expires,
                containers,
                ..
            } = list;
            format!(
                "`{owner}` has not renewed its list since {expires:.0}; its containers ({}) still \
                 keep their images",
                containers.len()
            )
        });
        warnings.collect()
    }
}

#[cfg(test)]
mod tests;
