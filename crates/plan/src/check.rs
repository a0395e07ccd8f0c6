//! The plan's own linter: what must be true of a plan before anything is removed.
//!
//! It does not trust the planner: it evaluates each rule again on the inventory, in the simplest
//! possible way.

mod copies;

use std::collections::{BTreeMap, BTreeSet};

use reclaim_model::{
    CollectorRules, Container, ContainerSource, Digest, GcRef, Inventory, LeaseResource, Namespace,
    NamespaceInventory, Plan, Reference, RemoveReason, ResolvedRequest, Selection, SnapshotId,
    Step,
};

use copies::loses_layers;

/// A plan that must not be carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPlan {
    /// The namespace would be left with containers and without images.
    #[error(
        "the plan would remove every image of namespace `{namespace}`, which has {containers} \
         container{}",
        if *containers == 1 { "" } else { "s" }
    )]
    EmptiesNamespace {
        /// Which namespace.
        namespace: Namespace,
        /// How many containers there are.
        containers: usize,
    },
    /// An image is not in the plan, or twice, or out of order, or the plan has an unknown image.
    #[error("image `{0}` is not in the plan exactly once")]
    NotPlannedOnce(String),
    /// A record that a container names would go.
    #[error("the plan would remove image `{image}`, which container `{container}` names")]
    NamedByContainer {
        /// The record.
        image: String,
        /// The container's ID.
        container: String,
    },
    /// A target from which a container was created would lose its last record.
    #[error(
        "the plan would leave no image of `{digest}`, which container `{container}` was created \
         from"
    )]
    LosesImageOfContainer {
        /// The target.
        digest: Digest,
        /// The container's ID.
        container: String,
    },
    /// An image that is to stay would lose the last image that keeps it.
    #[error(
        "the plan would remove every image that keeps image `{image}`, which is to stay: {}",
        leading.join(", ")
    )]
    LosesDependent {
        /// The image that is to stay.
        image: String,
        /// The images that keep it.
        leading: Vec<String>,
    },
    /// An image that stays would lose its layers, compressed and unpacked.
    #[error("the plan would free both copies of a layer of image `{image}`, manifest `{manifest}`")]
    LosesLayers {
        /// The image.
        image: String,
        /// The manifest that lists the layers.
        manifest: Digest,
    },
    /// An image that stays would lose every platform from which it could be started.
    #[error("the plan would free the last platform of image `{0}`")]
    LosesPlatforms(String),
    /// A snapshot under a container would go.
    #[error("the plan would free snapshot `{snapshot}`, which container `{container}` uses")]
    FreesUnderContainer {
        /// The snapshot.
        snapshot: SnapshotId,
        /// The container's ID.
        container: String,
    },
}

/// Checks a plan against the inventory that it was made from.
///
/// # Errors
///
/// The first [`InvalidPlan`]. All of them are fatal: the caller must not execute the plan. All but
/// [`InvalidPlan::EmptiesNamespace`], which the request can allow, would be faults of this crate.
pub fn check(
    plan: &Plan,
    inventory: &Inventory,
    registered: &[Container],
    request: &ResolvedRequest,
) -> Result<(), InvalidPlan> {
    let Some(namespace) = inventory.namespaces.get(&plan.namespace) else {
        return match plan.steps.first() {
            None => Ok(()),
            Some(step) => Err(InvalidPlan::NotPlannedOnce(step.image.name.clone())),
        };
    };
    planned_once(plan, namespace.images.iter().map(|image| &image.name))?;
    let containers = || namespace.containers.iter().chain(registered);
    loses_image(plan, containers())?;
    loses_dependent(plan, inventory, namespace)?;
    loses_layers(plan, inventory, namespace)?;
    frees_under_container(plan, namespace)?;
    // A request that names an image means it, even if a container was created by that name.
    if let Selection::Named(_) | Selection::Project(_) | Selection::Parts(_) = request.selection {
        return Ok(());
    }
    removes_named(plan, &namespace.containers, registered)?;
    if plan.kept.is_empty()
        && !plan.steps.is_empty()
        && containers().next().is_some()
        && !request.may_empty_namespace
    {
        return Err(InvalidPlan::EmptiesNamespace {
            namespace: plan.namespace.clone(),
            containers: containers().count(),
        });
    }
    Ok(())
}

/// Checks that every image is in the plan exactly once, and that both lists are sorted.
fn planned_once<'a>(
    plan: &Plan,
    images: impl Iterator<Item = &'a String>,
) -> Result<(), InvalidPlan> {
    let mut steps = plan.steps.iter().map(|step| &step.image.name).peekable();
    let mut slimmed = plan.slimmed.iter().map(|slimmed| &slimmed.name).peekable();
    let mut kept = plan.kept.iter().map(|kept| &kept.name).peekable();
    for name in images {
        let is_step = steps.next_if_eq(&name).is_some();
        let is_slimmed = slimmed.next_if_eq(&name).is_some();
        let is_kept = kept.next_if_eq(&name).is_some();
        if [is_step, is_slimmed, is_kept]
            .map(usize::from)
            .iter()
            .sum::<usize>()
            != 1
        {
            return Err(InvalidPlan::NotPlannedOnce(name.clone()));
        }
    }
    match steps.next().or(slimmed.next()).or(kept.next()) {
        Some(name) => Err(InvalidPlan::NotPlannedOnce(name.clone())),
        None => Ok(()),
    }
}

/// Checks that no record goes that a container names, as it wrote it or in full.
///
/// For a container that a Docker Engine lists, dockerd chose the name in containerd's record among
/// those of its image; of that image only some record must stay.
fn removes_named(
    plan: &Plan,
    recorded: &[Container],
    registered: &[Container],
) -> Result<(), InvalidPlan> {
    let going = plan.steps.iter().map(|it| &it.image);
    let going: BTreeMap<&str, &Digest> = going
        .map(|image| (image.name.as_str(), &image.target.digest))
        .collect();
    let listed = registered.iter();
    let listed = listed.filter(|it| it.source == ContainerSource::Docker);
    let listed: BTreeMap<&str, &Digest> = listed
        .filter_map(|it| Some((it.id.as_str(), it.image_digest.as_ref()?)))
        .collect();
    let going_name = |container: &Container, is_listed: bool| {
        let full = Reference::parse_normalized(&container.image).ok();
        let full = full.map(|reference| reference.with_default_tag().to_string());
        let mut names = full.into_iter().chain([container.image.clone()]);
        let chosen_by_docker = listed.get(container.id.as_str()).filter(|_| !is_listed);
        names.find(|name| {
            let target = going.get(name.as_str());
            target.is_some_and(|target| chosen_by_docker.is_none_or(|chosen| chosen != target))
        })
    };
    let recorded = recorded.iter().map(|it| (it, false));
    let registered = registered.iter().map(|it| (it, true));
    for (container, is_listed) in recorded.chain(registered) {
        if let Some(image) = going_name(container, is_listed) {
            return Err(InvalidPlan::NamedByContainer {
                image,
                container: container.id.clone(),
            });
        }
    }
    Ok(())
}

/// Checks that a record stays of each target from which a container was created.
fn loses_image<'a>(
    plan: &'a Plan,
    mut containers: impl Iterator<Item = &'a Container>,
) -> Result<(), InvalidPlan> {
    let (replaced, going): (Vec<_>, Vec<_>) = plan
        .steps
        .iter()
        .partition(|it| it.reason == RemoveReason::Replaced);
    let targets = |steps: Vec<&'a Step>| steps.into_iter().map(|it| &it.image.target.digest);
    let going: BTreeSet<&Digest> = targets(going).collect();
    let kept = plan.kept.iter().map(|it| &it.target);
    let kept: BTreeSet<&Digest> = kept.chain(targets(replaced)).collect();
    let lost = containers.find_map(|container| {
        let digest = container.image_digest.as_ref()?;
        let is_lost = going.contains(digest) && !kept.contains(digest);
        is_lost.then(|| InvalidPlan::LosesImageOfContainer {
            digest: digest.clone(),
            container: container.id.clone(),
        })
    });
    lost.map_or(Ok(()), Err)
}

/// Checks that an expired image that stays keeps one of the images that its back references name.
///
/// An image that anything else may keep, or nothing, is left out: it has a back reference to something else
/// or to an image that expires, or a lease or label refers to it or to one of those images.
fn loses_dependent(
    plan: &Plan,
    inventory: &Inventory,
    namespace: &NamespaceInventory,
) -> Result<(), InvalidPlan> {
    let going: BTreeSet<&str> = plan.steps.iter().map(|it| it.image.name.as_str()).collect();
    if inventory.rules < CollectorRules::V2_2 || going.is_empty() {
        return Ok(());
    }
    let lasts = |name: &str| {
        let mut images = namespace.images.iter();
        images.any(|image| image.name == name && image.expires.is_none())
    };
    let images = namespace.images.iter();
    let expired = images.filter(|image| {
        let expires = image.expires.is_some_and(|it| it < inventory.observed_at);
        expires && !image.gc.back_refs.is_empty() && !going.contains(image.name.as_str())
    });
    for image in expired {
        let leading = image.gc.back_refs.iter();
        let leading: Option<Vec<&str>> = leading.map(name_of_image).collect();
        let Some(leading) = leading.filter(|names| names.iter().all(|name| lasts(name))) else {
            continue;
        };
        let all_go = leading.iter().all(|name| going.contains(name));
        let mut names = leading.iter().copied().chain([image.name.as_str()]);
        if all_go && !names.any(|name| is_referred_to(namespace, name)) {
            return Err(InvalidPlan::LosesDependent {
                image: image.name.clone(),
                leading: leading.into_iter().map(str::to_owned).collect(),
            });
        }
    }
    Ok(())
}

fn name_of_image(reference: &GcRef) -> Option<&str> {
    match reference {
        GcRef::Image(name) => Some(name),
        GcRef::Content(_) | GcRef::NoContent(_) | GcRef::Snapshot(_) | GcRef::Container(_) => None,
    }
}

/// Whether a lease or label refers to an image by its name.
fn is_referred_to(namespace: &NamespaceInventory, name: &str) -> bool {
    let leases = namespace.leases.iter().flat_map(|lease| &lease.resources);
    let mut resources = leases.filter(|it| matches!(it, LeaseResource::Image(it) if it == name));
    let snapshots = namespace.snapshots.values().flatten();
    let labels = snapshots.map(|snapshot| &snapshot.gc);
    let labels = labels.chain(namespace.blobs.iter().map(|blob| &blob.gc));
    let labels = labels.chain(namespace.images.iter().map(|image| &image.gc));
    let labels = labels.chain(namespace.containers.iter().map(|container| &container.gc));
    let labels = labels.chain(namespace.sandboxes.iter().map(|sandbox| &sandbox.gc));
    let mut references = labels.flat_map(|labels| &labels.refs);
    resources.next().is_some() || references.any(|it| name_of_image(it) == Some(name))
}

/// Checks that no snapshot goes on which a container is based, directly or not.
///
/// This covers containerd's own containers only: those that an engine registers hold their
/// snapshots by leases, if at all.
fn frees_under_container(plan: &Plan, namespace: &NamespaceInventory) -> Result<(), InvalidPlan> {
    let freed: BTreeSet<&SnapshotId> = plan.freed.snapshots.iter().map(|it| &it.id).collect();
    for container in &namespace.containers {
        let mut at = container.snapshot.clone();
        let mut seen = BTreeSet::new();
        while let Some(id) = at.filter(|id| seen.insert(id.clone())) {
            if freed.contains(&id) {
                return Err(InvalidPlan::FreesUnderContainer {
                    snapshot: id,
                    container: container.id.clone(),
                });
            }
            at = parent(namespace, &id);
        }
    }
    Ok(())
}

fn parent(namespace: &NamespaceInventory, id: &SnapshotId) -> Option<SnapshotId> {
    let shelf = namespace.snapshots.get(&id.snapshotter)?;
    let at = shelf
        .binary_search_by(|snapshot| (*snapshot.key).cmp(&*id.key))
        .ok()?;
    let parent = shelf[at].parent.as_deref()?;
    Some(SnapshotId::new(id.snapshotter.clone(), parent))
}
