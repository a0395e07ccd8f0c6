//! Containers that engines register from outside, and that outlive both them and us.
//!
//! Each engine is an owner. Its lists keep images for as long as it renews them, and afterwards as
//! well: an engine that has died must not lose what its containers need. What is past its time
//! is said in every plan. Lists are written to disk before a change returns, so that a daemon that
//! is started again knows them; one that cannot be read makes all that it could name unknown.

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
    /// Unless the owner says otherwise.
    pub const DEFAULT: Self = Self(Duration::from_secs(300));

    /// Takes a second to a day; `None` for anything else.
    pub fn new(time: Duration) -> Option<Self> {
        const RANGE: std::ops::RangeInclusive<Duration> =
            Duration::from_secs(1)..=Duration::from_secs(24 * 60 * 60);
        RANGE.contains(&time).then_some(Self(time))
    }
}

/// What one owner has registered in one namespace.
#[derive(Debug, Clone, PartialEq)]
pub struct OwnerList {
    /// Who.
    pub owner: OwnerName,
    /// Where.
    pub namespace: Namespace,
    /// Until when it is fresh. It keeps images afterwards, too.
    pub expires: Timestamp,
    /// Sorted by ID.
    pub containers: Vec<Container>,
}

/// A change could not be written down, and was not made.
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
/// The map's locks never leave its methods: what is returned is owned.
#[derive(Debug, Default)]
pub struct RegisteredContainers {
    by_owner: DashMap<OwnerName, Lists>,
    /// Where they are written; nowhere if there is none.
    directory: Option<PathBuf>,
    /// Files whose lists are not known, and why. Nothing is written over them.
    unreadable: Mutex<BTreeMap<PathBuf, String>>,
    /// Held while a change is written: the files are those of the last change.
    writing: Mutex<()>,
}

type Lists = BTreeMap<Namespace, List>;

#[derive(Debug, Clone)]
struct List {
    expires: Timestamp,
    containers: BTreeMap<String, Container>,
}

impl RegisteredContainers {
    /// Begins with none, and forgets all at the end of the process.
    pub fn in_memory() -> Self {
        Self::default()
    }

    /// Begins with what is written in a directory, which is made if it is not there. A file that
    /// cannot be read is no error yet: the store is unreadable then.
    ///
    /// # Errors
    ///
    /// If the directory cannot be made or listed.
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

    /// Puts a whole list in the place of the owner's last one. Returns until when it is fresh.
    ///
    /// # Errors
    ///
    /// If it cannot be written down for certain. The last list counts on then; after a restart it
    /// may be either. Whoever registers tries again.
    pub fn replace(
        &self,
        owner: &OwnerName,
        namespace: &Namespace,
        containers: Vec<Container>,
        time_to_live: TimeToLive,
    ) -> Result<Timestamp, RegisterError> {
        self.change(owner, namespace, time_to_live, |list| {
            list.clear();
            list.extend(containers.into_iter().map(|it| (it.id.clone(), it)));
        })
    }

    /// Adds containers to the owner's list, in the place of those of the same IDs.
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
    ) -> Result<Timestamp, RegisterError> {
        self.change(owner, namespace, time_to_live, |list| {
            list.extend(containers.into_iter().map(|it| (it.id.clone(), it)));
        })
    }

    /// Takes containers off the owner's list.
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
    ) -> Result<Timestamp, RegisterError> {
        self.change(owner, namespace, time_to_live, |list| {
            for id in ids {
                list.remove(id);
            }
        })
    }

    /// Ends all lists of an owner, also those that cannot be read.
    ///
    /// # Errors
    ///
    /// As [`Self::replace`].
    pub fn forget(&self, owner: &OwnerName) -> Result<(), RegisterError> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        self.write(owner, &Lists::new())?;
        self.by_owner.remove(owner);
        if let Some(directory) = &self.directory {
            self.unreadable().remove(&file::path(directory, owner));
        }
        Ok(())
    }

    /// Lists who has registered what, by owner and namespace.
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
    ) -> Result<Timestamp, RegisterError> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        self.demand_readable(owner)?;
        let found = self.by_owner.get(owner).map(|entry| entry.value().clone());
        let mut lists = found.unwrap_or_default();
        let lives = SignedDuration::try_from(time_to_live.0).unwrap_or(SignedDuration::MAX);
        let expires = reclaim_store::now().saturating_add(lives);
        let expires = expires.unwrap_or(Timestamp::MAX);
        let list = lists.entry(namespace.clone()).or_insert_with(|| List {
            expires,
            containers: BTreeMap::new(),
        });
        list.expires = expires;
        change(&mut list.containers);
        self.write(owner, &lists)?;
        self.by_owner.insert(owner.clone(), lists);
        Ok(expires)
    }

    /// What a list held that cannot be read is unknown; another in its place would forget it.
    fn demand_readable(&self, owner: &OwnerName) -> Result<(), RegisterError> {
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

/// Not all lists are known.
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
        let silent = lists.filter(|it| {
            it.namespace == *namespace && it.expires < now && !it.containers.is_empty()
        });
        let warnings = silent.map(|list| {
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
