//! The decision on one namespace: what goes, what stays and why, and what that frees.

use std::collections::BTreeSet;

use reclaim_model::{
    BuildHistory, Container, Cut, Freed, Inventory, KeepReason, Kept, Leased, Named, Namespace,
    NamespaceInventory, NotCounted, Pinned, Plan, RemoveReason, ResolvedRequest, Selection,
    Slimmed, SnapshotId, SnapshotSizes, Step,
};

use crate::cuts;
use crate::dependents::{keep_for_lost, unheld};
use crate::facts::Facts;
use crate::freed::{Difference, difference, difference_by_cuts};
use crate::graph::Graph;
use crate::history::{self, History};
use crate::leased::{HeldByLeases, is_spare};
use crate::named::still_removed;
use crate::parallel::both;
use crate::protected;
use crate::roles::Roles;
use crate::select::Verdict;
use crate::selection::{by_policy, evaluate, unused};
use crate::slim::{PartsRequest, Slim, slim};

/// A plan without the sizes of its snapshots, which only their snapshotter knows.
#[derive(Debug, Clone)]
pub struct Decision {
    namespace: Namespace,
    steps: Vec<Step>,
    slimmed: Vec<Slimmed>,
    kept: Vec<Kept>,
    named: Vec<Named>,
    /// What `difference` takes into account.
    cuts: Vec<Cut>,
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
        snapshots.map(|snapshot| snapshot.id.clone()).collect()
    }

    /// Completes the plan with the bytes that each snapshot occupies.
    ///
    /// A snapshot that was gone when it was measured is not freed by the plan and leaves it.
    pub fn into_plan(self, bytes: &SnapshotSizes) -> Plan {
        let mut plan = self.into_unmeasured_plan();
        plan.freed.measure(bytes);
        plan.not_counted.measure(bytes);
        plan.warnings.extend(bytes.warnings());
        plan
    }

    /// Makes the plan with unknown sizes of snapshots.
    pub fn into_unmeasured_plan(self) -> Plan {
        let Difference {
            freed,
            pending,
            kept_elsewhere,
            uncertain,
            spare: _,
        } = self.difference;
        let mut freed = freed.into_unmeasured();
        let History {
            cuts: of_history,
            freed: freed_by_history,
        } = self.history;
        let mut history = Pinned {
            configs: of_history.len(),
            freed: freed_by_history.into_unmeasured(),
        };
        let mut cuts = self.cuts;
        if self.has_history_go {
            cuts.extend(of_history);
            cuts.sort_unstable();
            freed.snapshots.append(&mut history.freed.snapshots);
            freed.snapshots.sort_unstable();
            history = Pinned::default();
        }
        Plan {
            namespace: self.namespace,
            steps: self.steps,
            slimmed: self.slimmed,
            kept: self.kept,
            named: self.named,
            cuts,
            freed,
            not_counted: NotCounted {
                pending: pending.into_unmeasured(),
                kept_elsewhere: Freed::new(kept_elsewhere, Vec::new()),
                history,
                doubtful: uncertain.into_unmeasured(),
                leased: self.leased,
            },
            warnings: self.warnings,
            target_free: None,
        }
    }
}

/// Decides on every image of the namespace that `request` names.
///
/// `registered` are containers of that namespace that engines know of beyond containerd's own
/// records. A namespace that the inventory does not have is one without images. The target of
/// the request does not count here: see [`limit()`](crate::limit()).
pub fn decide(
    inventory: &Inventory,
    registered: &[Container],
    request: &ResolvedRequest,
) -> Decision {
    if let Some(parts) = PartsRequest::of(request) {
        return decide_parts(inventory, registered, request, &parts);
    }
    decide_by(inventory, registered, request, |facts| {
        evaluate(facts, registered, request)
    })
}

/// Decides which parts of images go.
fn decide_parts(
    inventory: &Inventory,
    registered: &[Container],
    request: &ResolvedRequest,
    parts: &PartsRequest<'_>,
) -> Decision {
    let empty = NamespaceInventory::default();
    let found = inventory.namespaces.get(&request.namespace);
    let namespace = found.unwrap_or(&empty);
    let facts = Facts::new(inventory, namespace, registered);
    let roles = Roles::new(namespace, registered);
    let Slim {
        cuts,
        slimmed,
        kept,
        named,
    } = slim(inventory, &facts, registered, &roles, parts);
    let kept = kept.into_iter().map(|(index, (reason, holders))| {
        let image = &namespace.images[index];
        Kept {
            name: image.name.clone(),
            target: image.target.digest.clone(),
            reason,
            holders: roles.assign(holders),
        }
    });
    let kept: Vec<Kept> = kept.collect();
    Decision {
        namespace: request.namespace.clone(),
        steps: Vec::new(),
        slimmed: slimmed.into_values().collect(),
        warnings: warnings(inventory, &facts, &kept),
        kept,
        named,
        difference: difference_by_cuts(inventory, &request.namespace, &facts.graph, &cuts),
        cuts,
        history: History::default(),
        leased: Leased::default(),
        has_history_go: false,
    }
}

/// Decides again after the images of `removed` have gone, in an inventory that shows them as if
/// they were still there: those that are kept have to come back.
///
/// For a prune that is the whole evaluation. Of images that were named it only counts whether
/// something in use is left without its image; what the names now mean does not matter.
pub fn decide_again(
    inventory: &Inventory,
    registered: &[Container],
    request: &ResolvedRequest,
    removed: &BTreeSet<&str>,
) -> Decision {
    decide_by(inventory, registered, request, |facts| {
        let mut verdicts = match &request.selection {
            Selection::Filters(filters) => unused(facts, filters, request.conditions.as_ref()),
            Selection::Rule(images) => by_policy(facts, images),
            Selection::Named(images) => still_removed(facts, registered, removed, images.force),
            Selection::Project(_) => still_removed(facts, registered, removed, false),
            // No record goes.
            Selection::Parts(_) => return (Vec::new(), Vec::new()),
        };
        // What was not removed stays, and with it what it depends on.
        let images = facts.graph.namespace.images.iter();
        for (image, verdict) in images.zip(&mut verdicts) {
            if verdict.is_removal() && !removed.contains(image.name.as_str()) {
                *verdict = Verdict::Keep(KeepReason::NotConfirmed, BTreeSet::new());
            }
        }
        keep_for_lost(facts, &mut verdicts);
        (verdicts, Vec::new())
    })
}

fn decide_by(
    inventory: &Inventory,
    registered: &[Container],
    request: &ResolvedRequest,
    evaluate: impl FnOnce(&Facts<'_>) -> (Vec<Verdict>, Vec<Named>),
) -> Decision {
    let empty = NamespaceInventory::default();
    let found = inventory.namespaces.get(&request.namespace);
    let namespace = found.unwrap_or(&empty);
    let facts = Facts::new(inventory, namespace, registered);
    let (verdicts, named) = evaluate(&facts);

    let roles = Roles::new(namespace, registered);
    let going = verdicts.iter().enumerate();
    // What is replaced keeps what it kept, under another name.
    let going = going.filter(|(_, verdict)| {
        verdict.is_removal() && **verdict != Verdict::Remove(RemoveReason::Replaced)
    });
    let going: Vec<usize> = going.map(|(index, _)| index).collect();
    let (difference, (steps, kept)) = both(
        || {
            let is_spare = |holding: &_| is_spare(holding, &roles);
            difference(
                inventory,
                &request.namespace,
                &facts.graph,
                &going,
                is_spare,
            )
        },
        || divide(&facts, &roles, verdicts),
    );
    let warnings = warnings(inventory, &facts, &kept);
    let (history, spare) = match request.selection {
        Selection::Filters(_) | Selection::Rule(_) => {
            let history = history::history(inventory, &facts.graph, &going);
            (history, difference.spare.clone())
        }
        // Of images that are named it matters what they would have freed.
        Selection::Named(_) | Selection::Project(_) | Selection::Parts(_) => {
            let spare = facts.parts_of(&going, &difference.spare);
            (History::default(), spare)
        }
    };
    let held = HeldByLeases {
        inventory,
        namespace: &request.namespace,
        graph: &facts.graph,
        roles: &roles,
    };
    let leased = held.divide(&spare, &history.freed.snapshots, |holding| {
        is_spare(holding, &roles)
    });
    Decision {
        namespace: request.namespace.clone(),
        steps,
        slimmed: Vec::new(),
        kept,
        named,
        cuts: Vec::new(),
        difference,
        history,
        leased,
        has_history_go: request.build_history == BuildHistory::Unpin
            && request.target_free.is_none(),
        warnings,
    }
}

/// Divides the images into those that go and those that stay.
fn divide(facts: &Facts<'_>, roles: &Roles<'_>, verdicts: Vec<Verdict>) -> (Vec<Step>, Vec<Kept>) {
    let images = &facts.graph.namespace.images;
    let mut steps = Vec::new();
    let mut kept = Vec::new();
    for (index, (image, verdict)) in images.iter().zip(verdicts).enumerate() {
        match verdict {
            Verdict::Remove(reason) => steps.push(Step {
                image: image.clone(),
                reason,
                lifted: protected::lifted(facts, index),
            }),
            Verdict::Keep(reason, holders) => kept.push(Kept {
                name: image.name.clone(),
                target: image.target.digest.clone(),
                reason,
                holders: roles.assign(holders),
            }),
        }
    }
    (steps, kept)
}

/// Returns those of `cuts` that would not be made now, given that their labels are gone. They have to
/// come back.
pub fn no_longer_cut(
    mut inventory: Inventory,
    registered: &[Container],
    request: &ResolvedRequest,
    cuts: &[Cut],
) -> Vec<Cut> {
    let Some(seen) = inventory.namespaces.get_mut(&request.namespace) else {
        return cuts.to_vec();
    };
    cuts::restore(seen, cuts);
    let (inventory, seen) = (&inventory, &inventory.namespaces[&request.namespace]);
    let still = if let Some(parts) = PartsRequest::of(request) {
        let facts = Facts::new(inventory, seen, registered);
        let roles = Roles::new(seen, registered);
        slim(inventory, &facts, registered, &roles, &parts).cuts
    } else {
        history::cuts(inventory, &Graph::new(seen, inventory))
    };
    let wanted = cuts.iter().filter(|cut| still.binary_search(cut).is_err());
    wanted.cloned().collect()
}

/// Says what could not be read, in any namespace and of the images of this one, and which of the
/// kept images containerd removes.
fn warnings(inventory: &Inventory, facts: &Facts<'_>, kept: &[Kept]) -> Vec<String> {
    let namespace = facts.graph.namespace;
    let gaps = inventory.namespaces.iter().flat_map(|(name, namespace)| {
        let gaps = namespace.gaps.iter();
        gaps.map(move |gap| format!("namespace `{name}`: {gap}"))
    });
    let is_kept = |name: &str| kept.binary_search_by(|kept| (*kept.name).cmp(name)).is_ok();
    let images = namespace.images.iter().enumerate();
    let defects = images.filter_map(|(index, image)| {
        let defect = facts.targets.of_image(index).contents.defect?;
        let (name, what) = (&image.name, defect.text());
        Some(if is_kept(name) {
            format!("image `{name}` is kept: {what}; to remove it: reclaim image rm {name}")
        } else {
            format!("image `{name}`: {what}")
        })
    });
    let unheld = unheld(&facts.graph).into_iter();
    let unheld = unheld.map(|index| &namespace.images[index].name);
    let unheld = unheld.filter(|name| is_kept(name)).map(|name| {
        format!(
            "image `{name}` has expired, and nothing that it depends on is there; containerd's next \
             collection removes it"
        )
    });
    gaps.chain(defects).chain(unheld).collect()
}
