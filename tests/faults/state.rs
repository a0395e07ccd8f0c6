//! The contents of the store, as far as they can be compared between runs.

use std::collections::{BTreeMap, BTreeSet};

use reclaim_testkit::{Labels, NamespaceClient};

/// The snapshotters of the fixture.
pub(crate) const SNAPSHOTTERS: [&str; 2] = ["native", "overlayfs"];

/// Everything in one namespace, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct State {
    /// Image records with their targets.
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
            images: images
                .map(|(name, target)| (name, target.to_string()))
                .collect(),
            blobs: blobs
                .map(|(digest, size)| (digest.to_string(), size))
                .collect(),
            snapshots,
            leases: namespace.leases().await.unwrap(),
            containers: namespace.containers().await.unwrap().into_keys().collect(),
            ingests: namespace.ingests().await.unwrap(),
        }
    }

    /// Returns how `self` differs from `expected`.
    pub(crate) fn differences(&self, expected: &Self) -> Vec<String> {
        let [found, expected] = [self.lines(), expected.lines()];
        let missing = expected
            .difference(&found)
            .map(|line| format!("lacks {line}"));
        let extra = found
            .difference(&expected)
            .map(|line| format!("has {line}"));
        missing.chain(extra).collect()
    }

    /// Returns what `self` lacks of `expected`, except leases.
    pub(crate) fn lacks(&self, expected: &Self) -> Vec<String> {
        expected
            .lines()
            .difference(&self.lines())
            .filter(|line| !line.starts_with("lease"))
            .map(|line| format!("lacks {line}"))
            .collect()
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
        let images = images
            .iter()
            .map(|(name, target)| format!("image {name} {target}"));
        let blobs = blobs.keys().map(|digest| format!("blob {digest}"));
        let snapshots = snapshots.iter().map(|key| format!("snapshot {key}"));
        let leases = leases.keys().map(|id| format!("lease {id}"));
        let containers = containers.iter().map(|id| format!("container {id}"));
        let ingests = ingests.iter().map(|key| format!("ingest {key}"));
        let all = images.chain(blobs).chain(snapshots);
        all.chain(leases).chain(containers).chain(ingests).collect()
    }
}
