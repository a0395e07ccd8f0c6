//! Looking again after records were removed, before a byte is freed.
//!
//! Between the first look and the removal somebody may have begun to use an image: resolved its
//! name, prepared a snapshot, recorded a container. All of it is still there, since the run's
//! lease holds it. So the store is listed once more, the removed records are put into the list
//! as if they were there, and the same judge judges again: what it would keep is restored.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use reclaim_model::{
    Container, DANGLING_PREFIX, Holder, ImageRecord, Inventory, KeepReason, Kept,
    NamespaceInventory, Reference, ResolvedRequest, RootMark, SnapshotKind, chain,
};
use reclaim_plan::decide_again;
use reclaim_store::{EventWatcher, StoreError};
use tracing::{info, warn};

use crate::engine::Engine;
use crate::error::RunError;
use crate::lease;
use crate::lease::unfinished;
use crate::off_thread::lend;
use crate::restore::{Restored, Restoring};
use crate::run::Run;

/// How often we look at most while things keep happening. Each look restores what it finds, so
/// the last one is as good as the first; on a node that is never quiet one has to end.
const MAX_LOOKS: usize = 3;

/// A record that has to come back.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    /// The name under which it was removed.
    pub(crate) name: String,
    /// The record to write. Its name is another where the old one is taken by now.
    pub(crate) image: ImageRecord,
    /// Why it has to.
    pub(crate) reason: KeepReason,
    /// Who needs it.
    pub(crate) holders: Vec<Holder>,
}

/// What came of looking again.
#[derive(Debug, Default)]
pub(crate) struct Looked {
    /// The records that had to come back.
    pub(crate) restored: Vec<Wanted>,
    /// The names of those that were not there and do not come back.
    pub(crate) gone: BTreeSet<String>,
    /// Why nothing could be seen, if so. Then everything had to come back.
    pub(crate) blind: Option<String>,
    /// What had to come back and could not be written, if anything. Then nothing may be
    /// released.
    pub(crate) stuck: Option<(Wanted, StoreError)>,
    /// What had to come back and has no content any more: the run was away for longer than its
    /// hold lasts, or another has finished it meanwhile.
    pub(crate) lost: Vec<Wanted>,
}

impl Engine {
    /// Restores those of `removed` that became used, and returns them.
    ///
    /// `first` is what the plan was made from. If the store cannot be read, all are restored:
    /// unknown means in use. One of `removed` that is there all the same is passed over.
    pub(crate) async fn restore_used(
        &self,
        run: Run<'_>,
        first: &mut Inventory,
        mut removed: Vec<ImageRecord>,
        watcher: Option<&EventWatcher>,
    ) -> Looked {
        let lease = unfinished(run.id);
        let restoring = self.restoring(run, &lease);
        let mut looked = Looked::default();
        for _ in 0..MAX_LOOKS {
            let events_before = watcher.map(EventWatcher::count);
            let wanted = match self.wanted(run, first, &mut removed).await {
                Ok((wanted, gone)) => {
                    looked.gone = gone;
                    wanted
                }
                Err(error) => {
                    let error = chain(&error);
                    warn!(%error, "the store cannot be looked at again; restoring everything");
                    looked.gone.clear();
                    looked.blind = Some(error);
                    removed.iter().map(unknown).collect()
                }
            };
            let mut restored_names = BTreeSet::new();
            for wanted in wanted {
                info!(image = %wanted.name, holders = ?wanted.holders, "restoring");
                let restored = match restore(restoring, &wanted.image).await {
                    Ok(restored) => restored,
                    Err(error) => {
                        looked.stuck = Some((wanted, error));
                        return looked;
                    }
                };
                restored_names.insert(wanted.name.clone());
                match restored {
                    Restored::PointsAt(_) => looked.restored.push(wanted),
                    Restored::ContentGone => looked.lost.push(wanted),
                }
            }
            lend(&mut removed, move |removed| {
                removed.retain(|image| !restored_names.contains(&image.name));
            })
            .await;
            if removed.is_empty() || watcher.map(EventWatcher::count) == events_before {
                break;
            }
        }
        looked
    }

    /// Restores all of `removed`, because there was no look, or too early a one: unknown means in
    /// use.
    pub(crate) async fn restore_all(
        &self,
        run: Run<'_>,
        removed: Vec<ImageRecord>,
        why: String,
    ) -> Looked {
        let lease = unfinished(run.id);
        let restoring = self.restoring(run, &lease);
        let mut looked = Looked {
            blind: Some(why),
            ..Looked::default()
        };
        for wanted in removed.iter().map(unknown) {
            match restore(restoring, &wanted.image).await {
                Ok(Restored::PointsAt(_)) => looked.restored.push(wanted),
                Ok(Restored::ContentGone) => looked.lost.push(wanted),
                Err(error) => {
                    looked.stuck = Some((wanted, error));
                    break;
                }
            }
        }
        looked
    }

    fn restoring<'r>(&'r self, run: Run<'r>, lease: &'r str) -> Restoring<'r> {
        Restoring {
            store: &self.store,
            namespace: &run.request.namespace,
            lease,
            patience: run.patience,
        }
    }

    /// Judges the removed records again, against the store as it is now. Returns those that
    /// have to come back, and the names of those that are gone for good.
    async fn wanted(
        &self,
        run: Run<'_>,
        first: &mut Inventory,
        removed: &mut Vec<ImageRecord>,
    ) -> Result<(Vec<Wanted>, BTreeSet<String>), RunError> {
        let request = run.request;
        let namespace = &request.namespace;
        let looking = run.patience.retry(|| self.store.observe_users(namespace));
        let mut seen = looking.await?;
        let registered = self.registered(namespace).await?;
        let is_ours = |lease: &_| lease::run(lease).as_ref() == Some(run.id);
        seen.leases.retain(|lease| !is_ours(lease));
        let again = Again {
            observed_at: self.store.now(),
            has_unlisted_containers: self.has_unlisted_containers(namespace),
            request: request.clone(),
            registered,
            seen,
        };
        let removed_before = std::mem::take(removed);
        let evaluated;
        (*removed, evaluated) = lend(first, move |first| {
            let evaluated = again.evaluate(first, &removed_before);
            (removed_before, evaluated)
        })
        .await;
        Ok(evaluated)
    }
}

/// What removed records are evaluated by once more.
struct Again {
    observed_at: Timestamp,
    has_unlisted_containers: bool,
    request: ResolvedRequest,
    /// Containers beyond containerd's own records.
    registered: Vec<Container>,
    /// The namespace, but for its blobs.
    seen: NamespaceInventory,
}

impl Again {
    /// Returns the records that have to come back, and the names of those that are gone for good.
    fn evaluate(
        self,
        first: &mut Inventory,
        removed: &[ImageRecord],
    ) -> (Vec<Wanted>, BTreeSet<String>) {
        let Self {
            observed_at,
            has_unlisted_containers,
            request,
            registered,
            mut seen,
        } = self;
        let namespace = &request.namespace;
        if let Some(before) = first.namespaces.get_mut(namespace) {
            count_newcomers(&mut seen, before);
            seen.blobs = std::mem::take(&mut before.blobs);
            seen.pod_images = before.pod_images.clone();
        }
        seen.has_unlisted_containers = has_unlisted_containers;
        let injected = inject(&mut seen, removed);
        let mut inventory = Inventory {
            rules: first.rules,
            observed_at,
            namespaces: [(namespace.clone(), seen)].into(),
            documents: std::mem::take(&mut first.documents),
            label_keys: first.label_keys.clone(),
        };
        let gone = injected.iter().map(|(_, image)| image.name.as_str());
        let decision = decide_again(&inventory, &registered, &request, &gone.collect());
        let kept = decision.kept().iter().map(|kept| (&*kept.name, kept));
        let kept: BTreeMap<&str, &Kept> = kept.collect();
        let mut wanted = Vec::new();
        let mut gone = BTreeSet::new();
        for (name, image) in injected {
            match kept.get(&*image.name) {
                Some(kept) => wanted.push(Wanted {
                    name,
                    image,
                    reason: kept.reason,
                    holders: kept.holders.clone(),
                }),
                None => {
                    gone.insert(name);
                }
            }
        }
        // Lent to the second evaluation, because they are large and still needed.
        first.documents = std::mem::take(&mut inventory.documents);
        if let Some(before) = first.namespaces.get_mut(namespace)
            && let Some(seen) = inventory.namespaces.get_mut(namespace)
        {
            before.blobs = std::mem::take(&mut seen.blobs);
        }
        (wanted, gone)
    }
}

/// Writes a record again; under another name if the old one points elsewhere by now.
async fn restore(restoring: Restoring<'_>, image: &ImageRecord) -> Result<Restored, StoreError> {
    let restored = restoring.write(image).await?;
    match &restored {
        Restored::PointsAt(there) if *there != image.target.digest => {
            restoring.write(&under_its_digest(image)).await
        }
        Restored::PointsAt(_) | Restored::ContentGone => Ok(restored),
    }
}

/// Counts every active snapshot or view that was not there before as a use, whoever holds it.
///
/// Its lease may have been listed just before it was prepared, and its container may not be
/// recorded yet. An old one that nobody holds is garbage; a new one is a creation in flight.
fn count_newcomers(seen: &mut NamespaceInventory, before: &NamespaceInventory) {
    for (snapshotter, snapshots) in &mut seen.snapshots {
        let known = before.snapshots.get(snapshotter).map_or(&[][..], |it| it);
        for snapshot in snapshots {
            let is_new = known
                .binary_search_by(|it| it.key.cmp(&snapshot.key))
                .is_err();
            if is_new && snapshot.kind != SnapshotKind::Committed {
                snapshot.gc.root = RootMark::Exact;
            }
        }
    }
}

/// Puts removed records into an inventory as if they were there. Returns each with the name
/// that it was removed under.
fn inject(seen: &mut NamespaceInventory, removed: &[ImageRecord]) -> Vec<(String, ImageRecord)> {
    let mut injected = Vec::new();
    for image in removed {
        let there = seen.images.binary_search_by(|it| it.name.cmp(&image.name));
        match there.map(|at| &seen.images[at].target.digest) {
            Err(_) => injected.push((image.name.clone(), image.clone())),
            // Somebody made the same record again: it needs no restoring.
            Ok(digest) if *digest == image.target.digest => {}
            Ok(_) => injected.push((image.name.clone(), under_its_digest(image))),
        }
    }
    seen.images
        .extend(injected.iter().map(|(_, image)| image.clone()));
    seen.images.sort_by(|a, b| a.name.cmp(&b.name));
    // Two names of one repository may have moved away from the same target.
    seen.images
        .dedup_by(|later, earlier| later.name == earlier.name);
    injected
}

/// The record under the name `repository@digest`, or, where its name is no reference, under
/// Docker's name for an image without one.
fn under_its_digest(image: &ImageRecord) -> ImageRecord {
    let digest = &image.target.digest;
    let name = match Reference::parse_normalized(&image.name) {
        Ok(reference) => format!("{}@{digest}", reference.repository()),
        Err(_) => format!("{DANGLING_PREFIX}{digest}"),
    };
    ImageRecord {
        name,
        ..image.clone()
    }
}

fn unknown(image: &ImageRecord) -> Wanted {
    Wanted {
        name: image.name.clone(),
        image: image.clone(),
        reason: KeepReason::UsageUnknown,
        holders: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use reclaim_model::{GcLabels, Snapshot};

    use super::*;
    use crate::fixture::{digest, record};

    fn snapshot(key: &str, kind: SnapshotKind) -> Snapshot {
        Snapshot {
            key: key.into(),
            parent: None,
            kind,
            gc: GcLabels::default(),
        }
    }

    fn with(snapshots: Vec<Snapshot>) -> NamespaceInventory {
        NamespaceInventory {
            snapshots: [("overlayfs".into(), snapshots)].into(),
            ..NamespaceInventory::default()
        }
    }

    #[test]
    fn a_new_root_filesystem_is_a_use_and_an_old_one_or_a_layer_is_not() {
        let before = with(vec![
            snapshot("layer", SnapshotKind::Committed),
            snapshot("old", SnapshotKind::Active),
        ]);
        let mut seen = with(vec![
            snapshot("layer", SnapshotKind::Committed),
            snapshot("new", SnapshotKind::Active),
            snapshot("new layer", SnapshotKind::Committed),
            snapshot("old", SnapshotKind::Active),
            snapshot("view", SnapshotKind::View),
        ]);
        count_newcomers(&mut seen, &before);
        let lists = seen.snapshots.values().flatten();
        let counted = lists.filter(|it| it.gc.root != RootMark::None);
        assert_eq!(
            counted.map(|it| &*it.key).collect::<Vec<_>>(),
            ["new", "view"]
        );
        // Of a snapshotter that was not there before, all are new.
        let mut seen = with(vec![snapshot("new", SnapshotKind::Active)]);
        count_newcomers(&mut seen, &NamespaceInventory::default());
        let mut lists = seen.snapshots.values().flatten();
        assert!(lists.all(|it| it.gc.root == RootMark::Exact));
    }

    #[test]
    fn what_was_removed_is_shown_where_it_can_come_back() {
        let images = vec![
            record("docker.io/library/made:1", '1'),
            record("docker.io/library/moved:1", '2'),
            record("docker.io/library/moved:2", '2'),
            record("odd name", '2'),
        ];
        let mut seen = NamespaceInventory {
            images,
            ..NamespaceInventory::default()
        };
        let removed = [
            record("docker.io/library/gone:1", '1'),
            // Somebody has made the very same again.
            record("docker.io/library/made:1", '1'),
            record("docker.io/library/moved:1", '1'),
            record("docker.io/library/moved:2", '1'),
            record("odd name", '1'),
        ];
        let injected = inject(&mut seen, &removed);
        let told: Vec<_> = injected
            .iter()
            .map(|(name, it)| (&**name, &*it.name))
            .collect();
        let moved = format!("docker.io/library/moved@{}", digest('1'));
        let nameless = format!("{DANGLING_PREFIX}{}", digest('1'));
        let expected = [
            ("docker.io/library/gone:1", "docker.io/library/gone:1"),
            ("docker.io/library/moved:1", &*moved),
            ("docker.io/library/moved:2", &*moved),
            ("odd name", &*nameless),
        ];
        assert_eq!(told, expected);
        let names: Vec<&str> = seen.images.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names.len(), 7, "a name is there once: {names:?}");
        assert!(names.is_sorted());
        let unknown = unknown(&removed[0]);
        assert_eq!(unknown.name, unknown.image.name);
        assert_eq!(unknown.reason, KeepReason::UsageUnknown);
    }
}
