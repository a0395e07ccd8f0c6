//! Decides which image records to remove, and says why for every one.
//!
//! This crate is the judge. It is handed what was seen ([`Inventory`]) and what is wanted
//! ([`ResolvedRequest`]) and returns a [`Decision`]. It reads no clock, makes no call and starts
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
mod case;
mod catalog;
mod check;
mod disk_usage;
mod doubt;
mod finder;
mod freed;
mod graph;
mod history;
mod holdings;
mod in_use;
mod leased;
mod left;
mod limit;
mod mark;
mod named;
mod names;
mod parts;
mod project;
mod project_usage;
mod roles;
mod rows;
mod rule;
mod select;
mod shortfall;
mod sizes;
mod targets;
mod usage;
mod use_limit;
mod weights;
mod why;

use std::collections::BTreeSet;

use reclaim_model::{
    BuildHistory, Container, Freed, FreedSnapshot, Inventory, Kept, Leased, Named, Namespace,
    NamespaceInventory, NotCounted, Pinned, Plan, RemoveReason, ResolvedRequest, Selection,
    SnapshotId, SnapshotSizes, Step, Unpin,
};

use case::Case;
use freed::{Difference, Things};
use graph::Graph;
use history::History;
use leased::{HeldByLeases, is_spare};
use roles::Roles;
use select::Verdict;
use targets::Targets;

pub use catalog::{Catalog, CatalogConfig, CatalogImage, CatalogManifest, catalog};
pub use check::{Finding, check};
pub use disk_usage::{UsageInput, disk_usage};
pub use in_use::targets_in_use;
pub use left::left;
pub use limit::{TooLittle, limit};
pub use named::pin_group;
pub use project::{Chosen, Existence, Listed, choose};
pub use project_usage::projects;
pub use rows::rows;
pub use shortfall::shortfall;
pub use sizes::{Makeup, makeup};
pub use use_limit::{Limited, Rung, ladder, limit_by_use};
pub use why::{NotFound, Question, why};

/// A plan but for the size of its snapshots, which their snapshotter has to be asked for.
#[derive(Debug, Clone)]
pub struct Decision {
    namespace: Namespace,
    steps: Vec<Step>,
    kept: Vec<Kept>,
    named: Vec<Named>,
    difference: Difference,
    history: History,
    leased: Leased,
    has_history_go: bool,
    warnings: Vec<String>,
}

impl Decision {
    /// Returns the images that stay, sorted by name.
    pub fn kept(&self) -> &[Kept] {
        &self.kept
    }

    /// Returns the snapshots that will go, sorted. Their sizes make the decision a plan.
    pub fn snapshots(&self) -> &[SnapshotId] {
        &self.difference.freed.snapshots
    }

    /// Returns the snapshots that are garbage already, sorted.
    pub fn pending_snapshots(&self) -> &[SnapshotId] {
        &self.difference.pending.snapshots
    }

    /// Returns the snapshots that only build history holds, sorted.
    pub fn history_snapshots(&self) -> &[SnapshotId] {
        &self.history.freed.snapshots
    }

    /// Returns the snapshots that only leases hold, sorted.
    pub fn leased_snapshots(&self) -> Vec<SnapshotId> {
        let snapshots = self.leased.things.snapshots.iter();
        snapshots.map(|it| it.id.clone()).collect()
    }

    /// Completes the plan with the bytes that each snapshot occupies.
    ///
    /// A snapshot that had gone by the time it was measured is not ours to free and leaves the
    /// plan.
    pub fn into_plan(self, bytes: &SnapshotSizes) -> Plan {
        let mut plan = self.into_unmeasured_plan();
        plan.freed.measure(bytes);
        plan.not_counted.measure(bytes);
        plan.warnings.extend(bytes.warnings());
        plan
    }

    /// Makes the plan without asking what the snapshots occupy: their sizes are unknown.
    pub fn into_unmeasured_plan(self) -> Plan {
        let Difference {
            freed,
            pending,
            kept_elsewhere,
            doubtful,
            spare: _,
        } = self.difference;
        let mut freed = unmeasured(freed);
        let History {
            mut unpins,
            freed: of_history,
        } = self.history;
        let mut history = Pinned {
            configs: unpins.len(),
            freed: unmeasured(of_history),
        };
        if self.has_history_go {
            freed.snapshots.append(&mut history.freed.snapshots);
            freed.snapshots.sort_unstable();
            history = Pinned::default();
        } else {
            unpins.clear();
        }
        Plan {
            namespace: self.namespace,
            steps: self.steps,
            kept: self.kept,
            named: self.named,
            unpins,
            freed,
            not_counted: NotCounted {
                pending: unmeasured(pending),
                kept_elsewhere: Freed::new(kept_elsewhere, Vec::new()),
                history,
                doubtful: unmeasured(doubtful),
                leased: self.leased,
            },
            warnings: self.warnings,
        }
    }
}

fn unmeasured(things: Things) -> Freed {
    let snapshots = things.snapshots.into_iter();
    let snapshots = snapshots.map(|id| FreedSnapshot { id, bytes: None });
    Freed::new(things.blobs, snapshots.collect())
}

/// Judges every image of the namespace that `request` names.
///
/// `registered` are containers of that namespace that engines know of beyond containerd's own
/// records. A namespace that the inventory does not have is one without images. The target of
/// the request is not looked at: see [`limit()`].
pub fn decide(
    inventory: &Inventory,
    registered: &[Container],
    request: &ResolvedRequest,
) -> Decision {
    judge(inventory, registered, request, |case| {
        case.requested(registered, request)
    })
}

/// Judges again when the images of `removed` have gone, in an inventory that shows them as if
/// they were still there: those that are kept have to come back.
///
/// For a prune that is the judgement on everything. Of images that were named it only counts
/// whether somebody is left with nothing: what the names mean by now is another question.
pub fn decide_again(
    inventory: &Inventory,
    registered: &[Container],
    request: &ResolvedRequest,
    removed: &BTreeSet<&str>,
) -> Decision {
    judge(inventory, registered, request, |case| {
        match &request.selection {
            Selection::Filters(filters) => (case.verdicts(filters), Vec::new()),
            Selection::Rule(images) => (case.by_rule(images, &request.namespace), Vec::new()),
            Selection::Named(_) | Selection::Project(_) => {
                let is_forced =
                    matches!(&request.selection, Selection::Named(images) if images.force);
                let verdicts = named::still_removed(case, registered, removed, is_forced);
                (verdicts, Vec::new())
            }
        }
    })
}

fn judge(
    inventory: &Inventory,
    registered: &[Container],
    request: &ResolvedRequest,
    verdicts: impl FnOnce(&Case<'_>) -> (Vec<Verdict>, Vec<Named>),
) -> Decision {
    let empty = NamespaceInventory::default();
    let found = inventory.namespaces.get(&request.namespace);
    let namespace = found.unwrap_or(&empty);
    let case = Case::new(inventory, namespace, registered);
    let (verdicts, named) = verdicts(&case);

    let mut steps = Vec::new();
    let mut kept = Vec::new();
    let roles = Roles::new(namespace, registered);
    let mut going = Vec::new();
    for (index, (image, verdict)) in namespace.images.iter().zip(verdicts).enumerate() {
        match verdict {
            Verdict::Remove(reason) => {
                // What is replaced keeps what it kept, under another name.
                if reason != RemoveReason::Replaced {
                    going.push(index);
                }
                steps.push(Step {
                    image: image.clone(),
                    reason,
                });
            }
            Verdict::Keep(reason, holders) => kept.push(Kept {
                name: image.name.clone(),
                target: image.target.digest.clone(),
                reason,
                holders: roles.assign(holders),
            }),
        }
    }
    let warnings = warnings(inventory, namespace, &case.targets, &kept);
    let difference = freed::difference(
        inventory,
        &request.namespace,
        &case.graph,
        &going,
        |holding| is_spare(holding, &roles),
    );
    let history = match request.selection {
        Selection::Filters(_) | Selection::Rule(_) => {
            history::history(inventory, &case.graph, &going)
        }
        Selection::Named(_) | Selection::Project(_) => History::default(),
    };
    let spare = match request.selection {
        Selection::Filters(_) | Selection::Rule(_) => difference.spare.clone(),
        // Of images that are named it matters what they would have freed.
        Selection::Named(_) | Selection::Project(_) => case.parts_of(&going, &difference.spare),
    };
    let held = HeldByLeases {
        inventory,
        namespace: &request.namespace,
        graph: &case.graph,
        roles: &roles,
    };
    let leased = held.divide(&spare, &history.freed.snapshots, |it| is_spare(it, &roles));
    Decision {
        namespace: request.namespace.clone(),
        steps,
        kept,
        named,
        difference,
        history,
        leased,
        has_history_go: request.build_history == BuildHistory::Unpin
            && request.target_free.is_none(),
        warnings,
    }
}

/// Judges again when the labels of `unpins` are gone: returns those whose configurations
/// something besides build history holds. They have to come back.
pub fn no_longer_history(
    mut inventory: Inventory,
    namespace: &Namespace,
    unpins: &[Unpin],
) -> Vec<Unpin> {
    let Some(seen) = inventory.namespaces.get_mut(namespace) else {
        return unpins.to_vec();
    };
    for unpin in unpins {
        history::pin(seen, unpin);
    }
    let (inventory, seen) = (&inventory, &inventory.namespaces[namespace]);
    let still = history::unpins(inventory, &Graph::new(seen, inventory));
    let wanted = unpins.iter().filter(|it| still.binary_search(it).is_err());
    wanted.cloned().collect()
}

/// Says what could not be read: in any namespace, and of the images of this one.
fn warnings(
    inventory: &Inventory,
    namespace: &NamespaceInventory,
    targets: &Targets<'_>,
    kept: &[Kept],
) -> Vec<String> {
    let gaps = inventory.namespaces.iter().flat_map(|(name, namespace)| {
        let gaps = namespace.gaps.iter();
        gaps.map(move |gap| format!("namespace `{name}`: {gap}"))
    });
    let images = namespace.images.iter().enumerate();
    let defects = images.filter_map(|(index, image)| {
        let defect = targets.of_image(index).anatomy.defect?;
        let (name, what) = (&image.name, defect.text());
        let is_kept = kept.binary_search_by(|it| it.name.cmp(name)).is_ok();
        Some(if is_kept {
            format!("image `{name}` is kept: {what}; to be rid of it: reclaim image rm {name}")
        } else {
            format!("image `{name}`: {what}")
        })
    });
    gaps.chain(defects).collect()
}
