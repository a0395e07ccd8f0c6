//! What is in the store, as far as it can be compared between runs.

use std::collections::{BTreeMap, BTreeSet};

use reclaim_testkit::{Labels, NamespaceClient};

/// The snapshotters of the stage.
pub(crate) const SNAPSHOTTERS: [&str; 2] = ["native", "overlayfs"];

/// Everything in one namespace by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct State {
    /// Image records with what they point at.
    pub(crate) images: BTreeMap<String, String>,
    pub(crate) blobs: BTreeMap<String, u64>,
    /// `snapshotter/key`.
    pub(crate) snapshots: BTreeSet<String>,
    pub(crate) leases: BTreeMap<String, Labels>,
    pub(crate) containers: BTreeSet<String>,
    pub(crate) ingests: BTreeSet<String>,
}

impl State {
    pub(crate) async fn of(namespace: &NamespaceClient) -> Self {
        let images = namespace.images().await.unwrap().into_iter();
        let blobs = namespace.blobs().await.unwrap().into_iter();
        let mut snapshots = BTreeSet::new();
        for snapshotter in SNAPSHOTTERS {
            let found = namespace.snapshots(snapshotter).await.unwrap();
            snapshots.extend(found.into_keys().map(|key| format!("{snapshotter}/{key}")));
        }
        Self {
            images: images.map(|(name, it)| (name, it.to_string())).collect(),
            blobs: blobs.map(|(it, size)| (it.to_string(), size)).collect(),
            snapshots,
            leases: namespace.leases().await.unwrap(),
            containers: namespace.containers().await.unwrap().into_keys().collect(),
            ingests: namespace.ingests().await.unwrap(),
        }
    }

    /// Says how `self` differs from what was expected; nothing if it does not.
    pub(crate) fn differences(&self, expected: &Self) -> Vec<String> {
        let [mine, theirs] = [self.lines(), expected.lines()];
        let missing = theirs.difference(&mine).map(|it| format!("lacks {it}"));
        let extra = mine.difference(&theirs).map(|it| format!("has {it}"));
        missing.chain(extra).collect()
    }

    /// Says what of `other` is missing here. Leases come and go.
    pub(crate) fn lacks(&self, other: &Self) -> Vec<String> {
        let (mine, theirs) = (self.lines(), other.lines());
        let missing = theirs.difference(&mine);
        let missing = missing.filter(|it| !it.starts_with("lease"));
        missing.map(|it| format!("lacks {it}")).collect()
    }

    fn lines(&self) -> BTreeSet<String> {
        let Self {
            images,
            blobs,
            snapshots,
            leases,
            containers,
            ingests,
        } = self;
        let images = images.iter().map(|(name, it)| format!("image {name} {it}"));
        let blobs = blobs.keys().map(|it| format!("blob {it}"));
        let snapshots = snapshots.iter().map(|it| format!("snapshot {it}"));
        let leases = leases.keys().map(|it| format!("lease {it}"));
        let containers = containers.iter().map(|it| format!("container {it}"));
        let ingests = ingests.iter().map(|it| format!("ingest {it}"));
        let all = images.chain(blobs).chain(snapshots);
        all.chain(leases).chain(containers).chain(ingests).collect()
    }
}
