//! Decides which image records to remove, and says why for every one.
//!
//! This crate is the judge. It is handed what was seen ([`Inventory`]) and what is wanted
//! ([`PruneRequest`]) and returns a [`Decision`]. It reads no clock, makes no call and starts
//! no task, so the same arguments give the same decision, byte for byte, in whatever order the
//! store listed its things.
//!
//! # How a record survives
//!
//! We look for a reason to keep, never for a reason to remove. The rules of `select` run in
//! the order of [`KeepReason`](reclaim_model::KeepReason); the first that matches is reported.
//! What nothing keeps is a candidate.
//!
//! # What the plan may assume
//!
//! Nothing about now. The inventory was stale when it arrived: a pull may have begun, a tag
//! may have moved. So each [`Step`] carries the record that it was judged by, and the
//! execution refuses it when the record has changed. What could not be seen keeps everything
//! that it could be hiding.
//!
//! # What this crate never does
//!
//! It names image records only. Blobs and snapshots are freed by containerd's own collector;
//! which ones it will free is computed here by the collector's own rules.

mod anatomy;
mod check;
mod freed;
mod graph;
mod holdings;
mod mark;
mod rows;
mod select;
mod sizes;
mod usage;

use std::collections::BTreeMap;

use reclaim_model::{
    Container, Freed, FreedBlob, FreedSnapshot, Inventory, Kept, Namespace, NamespaceInventory,
    Plan, PruneRequest, SnapshotId, Step,
};

use anatomy::Anatomy;
use graph::Graph;
use select::Verdict;
use usage::Anatomies;

pub use check::{Finding, check};
pub use rows::rows;
pub use sizes::{ImageSize, Makeup, makeup};

/// A plan but for the size of its snapshots, which their snapshotter has to be asked for.
#[derive(Debug, Clone)]
pub struct Decision {
    namespace: Namespace,
    steps: Vec<Step>,
    kept: Vec<Kept>,
    blobs: Vec<FreedBlob>,
    snapshots: Vec<SnapshotId>,
    warnings: Vec<String>,
}

impl Decision {
    /// Returns the snapshots that will go, sorted. Their sizes make the decision a plan.
    pub fn snapshots(&self) -> &[SnapshotId] {
        &self.snapshots
    }

    /// Completes the plan with the bytes that each snapshot occupies.
    ///
    /// A snapshot without an entry had gone by the time it was measured; it is not ours to
    /// free and leaves the plan.
    pub fn into_plan(self, bytes: &BTreeMap<SnapshotId, u64>) -> Plan {
        let snapshots = self.snapshots.into_iter().filter_map(|id| {
            let bytes = *bytes.get(&id)?;
            Some(FreedSnapshot { id, bytes })
        });
        Plan {
            namespace: self.namespace,
            steps: self.steps,
            kept: self.kept,
            freed: Freed {
                blobs: self.blobs,
                snapshots: snapshots.collect(),
            },
            warnings: self.warnings,
        }
    }
}

/// Judges every image of the namespace that `request` names.
///
/// `registered` are containers of that namespace that engines know of beyond containerd's own
/// records. A namespace that the inventory does not have is one without images.
pub fn decide(inventory: &Inventory, registered: &[Container], request: &PruneRequest) -> Decision {
    let empty = NamespaceInventory::default();
    let found = inventory.namespaces.get(&request.namespace);
    let namespace = found.unwrap_or(&empty);
    let graph = Graph::new(namespace, inventory.rules);
    let anatomies = anatomies(namespace, inventory);
    let usage = usage::usage(&graph, &anatomies, registered, inventory.observed_at);
    let verdicts = select::select(namespace, &anatomies, &usage, &request.filters);

    let mut steps = Vec::new();
    let mut kept = Vec::new();
    let mut going = Vec::new();
    for (index, (image, verdict)) in namespace.images.iter().zip(verdicts).enumerate() {
        match verdict {
            Verdict::Remove(reason) => {
                going.push(index);
                steps.push(Step {
                    image: image.clone(),
                    reason,
                });
            }
            Verdict::Keep(reason, holders) => kept.push(Kept {
                name: image.name.clone(),
                target: image.target.digest.clone(),
                reason,
                holders: holders.into_iter().collect(),
            }),
        }
    }
    let freed = freed::difference(inventory, &request.namespace, &graph, &going);
    Decision {
        namespace: request.namespace.clone(),
        steps,
        kept,
        blobs: freed.blobs,
        snapshots: freed.snapshots,
        warnings: warnings(inventory, namespace, &anatomies),
    }
}

fn anatomies<'a>(namespace: &'a NamespaceInventory, inventory: &'a Inventory) -> Anatomies<'a> {
    let mut anatomies = Anatomies::new();
    for image in &namespace.images {
        anatomies
            .entry(&image.target.digest)
            .or_insert_with(|| Anatomy::of(image, &namespace.blobs, &inventory.documents));
    }
    anatomies
}

/// Says what could not be seen: in this namespace, and of its images.
fn warnings(
    inventory: &Inventory,
    namespace: &NamespaceInventory,
    anatomies: &Anatomies<'_>,
) -> Vec<String> {
    let gaps = inventory.namespaces.iter().flat_map(|(name, namespace)| {
        let gaps = namespace.gaps.iter();
        gaps.map(move |gap| format!("namespace `{name}`: {gap}"))
    });
    let unreadable = namespace.images.iter().filter_map(|image| {
        let (digest, why) = anatomies[&image.target.digest].unreadable?;
        let name = &image.name;
        Some(format!(
            "image `{name}` is kept: `{digest}` cannot be read: {why}"
        ))
    });
    gaps.chain(unreadable).collect()
}
