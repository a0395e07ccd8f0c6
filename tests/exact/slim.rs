//! Random slims: parts of images are freed while their records stay.
//!
//! The engine runs in this process, because a plan names its cuts more precisely than the output of
//! a command.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use reclaim_engine::{Controls, Engine, Grace, RunOptions, no_progress};
use reclaim_model::{
    Amount, Cut, CutTarget, FilterArgs, ImageParts, Part, Plan, Platform, PruneRequest, Report,
    chain,
};
use reclaim_testkit::{
    Containerd, Dice, Labels, ObjectKind, RandomStore, SnapshotKind, StoreObject, Version,
    digest_of,
};
use tokio_util::sync::CancellationToken;

use crate::case::set_up;
use crate::check::{Change, Tally, Vanished, check_what_is_left, same};
use crate::contents::StoreContents;
use crate::copies::{platforms, startable};
use crate::prune::RandomPrune;
use crate::users::{all_documents, chain as chain_id, documents};

const CONTENT: &str = "containerd.io/gc.ref.content";
const SNAPSHOT: &str = "containerd.io/gc.ref.snapshot";

/// Options without a grace period.
const AT_ONCE: RunOptions = RunOptions {
    grace: Grace::Fixed(Duration::ZERO),
    undo_window: Duration::ZERO,
    max_deletes_per_second: None,
    wait: false,
};

/// Returns the store of a seed, with references in the forms of several clients, and most images
/// with the source that they were pulled from.
pub(crate) fn store(seed: u64) -> RandomStore {
    let mut store = RandomStore::generate(seed);
    let mut dice = Dice::new(seed ^ 0x4c41_4245_4c53);
    if dice.percent(60) {
        // Layers go only where every snapshotter in use has unpacked them.
        let is_second = |thing: &StoreObject| matches!(&thing.kind, ObjectKind::Snapshot { snapshotter, .. } if snapshotter != "native");
        store.objects.retain(|thing| !is_second(thing));
    }
    unpack_most(&mut store, &mut dice);
    let sources = sources(&store, &mut dice);
    for thing in &mut store.objects {
        if let ObjectKind::Blob { bytes, note: _ } = &thing.kind {
            let digest = digest_of(bytes).to_string();
            let of_blob = sources.get(&(thing.namespace.clone(), digest));
            thing.labels.extend(of_blob.cloned().unwrap_or_default());
            if dice.percent(40) {
                number(&mut thing.labels, dice.percent(75));
            }
        }
    }
    store
}

/// Unpacks most manifests completely, or all: of the others, little can be freed.
fn unpack_most(store: &mut RandomStore, dice: &mut Dice) {
    let chance = *dice.pick(&[60, 100, 100]);
    let namespaces: BTreeSet<String> = store
        .objects
        .iter()
        .map(|it| it.namespace.clone())
        .collect();
    for namespace in namespaces {
        let here = store.objects.iter().filter(|it| it.namespace == namespace);
        let here = RandomStore {
            seed: store.seed,
            objects: here.cloned().collect(),
        };
        let documents = all_documents(&here);
        for platform in platforms(&documents) {
            let diff_ids = documents[&platform.config]["rootfs"]["diff_ids"].as_array();
            let diff_ids = diff_ids.map_or(&[][..], Vec::as_slice);
            let Some(top) = platform.chain.filter(|_| dice.percent(chance)) else {
                continue;
            };
            let mut parent = None;
            for length in 1..=diff_ids.len() {
                let key = chain_id(&diff_ids[..length]).unwrap_or_default();
                let kind = ObjectKind::Snapshot {
                    snapshotter: "native".to_owned(),
                    key: key.clone(),
                    parent: parent.replace(key.clone()),
                    kind: SnapshotKind::Committed,
                    bytes: dice.between(1, 9000),
                };
                if !store
                    .objects
                    .iter()
                    .any(|it| it.namespace == namespace && is_snapshot(it, &key))
                {
                    store.objects.push(StoreObject {
                        namespace: namespace.clone(),
                        labels: Labels::new(),
                        kind,
                    });
                }
            }
            for thing in &mut store.objects {
                if let ObjectKind::Blob { bytes, note: _ } = &thing.kind
                    && thing.namespace == namespace
                    && digest_of(bytes).to_string() == platform.config
                {
                    let label = format!("{SNAPSHOT}.native");
                    thing.labels.insert(label, top.clone());
                }
            }
        }
    }
}

fn is_snapshot(thing: &StoreObject, wanted: &str) -> bool {
    matches!(
        &thing.kind,
        ObjectKind::Snapshot { snapshotter, key, .. } if snapshotter == "native" && key == wanted
    )
}

/// Returns the labels with the sources of most targets, by namespace and digest.
fn sources(store: &RandomStore, dice: &mut Dice) -> BTreeMap<(String, String), Labels> {
    let mut sources: BTreeMap<(String, String), Labels> = BTreeMap::new();
    let chance = *dice.pick(&[70, 100]);
    for thing in &store.objects {
        if let ObjectKind::Image { name, target, .. } = &thing.kind
            && dice.percent(chance)
        {
            let (registry, path) = name.split_once('/').unwrap_or(("docker.io", name));
            let path = path.split(['@', ':']).next().unwrap_or(path);
            let label = format!("containerd.io/distribution.source.{registry}");
            let of_target = (thing.namespace.clone(), target.digest.to_string());
            let labels = sources.entry(of_target).or_default();
            labels.insert(label, path.to_owned());
        }
    }
    sources
}

/// Numbers the references of a puller's blob as builders do: the configuration first. Both forms are
/// there if an image was built and pulled.
fn number(labels: &mut Labels, is_only_form: bool) {
    let is_pullers = |key: &str| {
        let kinds = [".config", ".l.", ".m."];
        let kind = key.strip_prefix(CONTENT);
        kind.is_some_and(|kind| kinds.iter().any(|it| kind.starts_with(it)))
    };
    let found = labels.iter().filter(|(key, _)| is_pullers(key));
    let values: Vec<String> = found.map(|(_, value)| value.clone()).collect();
    if is_only_form {
        labels.retain(|key, _| !is_pullers(key));
    }
    let numbered = values.into_iter().enumerate();
    labels.extend(numbered.map(|(index, value)| (format!("{CONTENT}.{index}"), value)));
}

/// Returns the slim of a store, which is also that of a reduced one.
fn request(whole: &RandomStore, namespace: &str) -> PruneRequest {
    let mut dice = Dice::new(whole.seed ^ 0x534c_494d);
    let parts: &[Part] = match dice.below(8) {
        0 | 1 => &[Part::Snapshots],
        2..=4 => &[Part::Layers],
        5 => &[Part::Platforms],
        6 => &[Part::Snapshots, Part::Layers],
        _ => &[Part::Snapshots, Part::Layers, Part::Platforms],
    };
    let here = whole.objects.iter().filter(|it| it.namespace == namespace);
    let names: Vec<&String> = here
        .filter_map(|thing| match &thing.kind {
            ObjectKind::Image { name, .. } => Some(name),
            ObjectKind::Blob { .. }
            | ObjectKind::Snapshot { .. }
            | ObjectKind::Container { .. }
            | ObjectKind::Lease { .. }
            | ObjectKind::Ingest { .. }
            | ObjectKind::Sandbox { .. } => None,
        })
        .collect();
    let mut picked = Vec::new();
    if !names.is_empty() && dice.percent(30) {
        let n_names = dice.between(1, 3);
        picked = (0..n_names).map(|_| (*dice.pick(&names)).clone()).collect();
    }
    // Those of the generated images.
    let platforms = [vec![platform("amd64", "")], vec![platform("arm64", "v8")]];
    let mut filters = FilterArgs::default();
    if dice.percent(10) {
        filters.add("label!", "keep");
    }
    let parts = ImageParts {
        parts: parts.iter().copied().collect(),
        names: picked,
        filters,
        platforms: dice.pick(&platforms).clone(),
        docker_layers: dice.percent(80),
        mirrored_layers: false,
    };
    let namespace = namespace.parse().expect("a generated namespace");
    PruneRequest::new(namespace, parts)
}

pub(crate) fn platform(architecture: &str, variant: &str) -> Platform {
    Platform {
        os: "linux".to_owned(),
        architecture: architecture.to_owned(),
        variant: variant.to_owned(),
    }
}

/// Builds a store, slims it, and compares.
///
/// # Errors
///
/// The first violation.
pub(crate) async fn check(
    containerd: &Containerd,
    store: &RandomStore,
    prune: &RandomPrune,
) -> Result<Tally, String> {
    let set_up = set_up(containerd, store, prune).await;
    let before = set_up.map_err(|status| format!("set up: {status}"))?;
    let engine = Engine::connect(containerd.address()).await;
    let engine = engine.map_err(|error| format!("set up: {error}"))?;
    let request = request(&self::store(store.seed), &prune.namespace);
    let preview = engine.preview(&request, &no_progress).await;
    let plan = preview
        .map_err(|error| format!("plan {request:?}: {}", chain(&error)))?
        .plan;
    same("a dry run", &before, &read(containerd).await?)?;
    let controls = Controls {
        options: &AT_ONCE,
        progress: &no_progress,
        cancel: &CancellationToken::new(),
    };
    let report = engine.prune(&request, None, controls).await;
    let report = report.map_err(|error| format!("run {request:?}: {}", chain(&error)))?;
    let after = read(containerd).await?;

    let slim = Slim {
        store,
        namespace: &prune.namespace,
        version: containerd.version(),
        before: &before,
        after: &after,
        plan: &plan,
    };
    let checking = || {
        slim.check_report(&report)?;
        let vanished = slim.check_freed()?;
        slim.check_startable()?;
        Ok(Tally {
            removed: plan.slimmed.len(),
            blobs: vanished.blobs.len(),
            snapshots: vanished.snapshots.len(),
            pending: vanished.pending,
        })
    };
    checking().map_err(|wrong: String| format!("{wrong}\nby {request:?}\ncuts {:#?}", plan.cuts))
}

/// What was planned, and what was observed.
struct Slim<'a> {
    store: &'a RandomStore,
    namespace: &'a str,
    version: Version,
    before: &'a StoreContents,
    after: &'a StoreContents,
    plan: &'a Plan,
}

impl Slim<'_> {
    /// The run did what the plan says, and the report has every image once.
    fn check_report(&self, report: &Report) -> Result<(), String> {
        let plan = self.plan;
        same("cuts", &plan.cuts, &report.cuts)?;
        same("images slimmed", &plan.slimmed, &report.slimmed)?;
        same("images kept", &plan.kept, &report.kept)?;
        same("images refused", &Vec::new(), &report.refused)?;
        same("warnings", &plan.warnings, &report.warnings)?;
        same("bytes", &plan.freed.amount(), &report.reclaimed.0)?;
        let mut reported: Vec<&String> = plan.slimmed.iter().map(|it| &it.name).collect();
        reported.extend(plan.kept.iter().map(|it| &it.name));
        reported.sort_unstable();
        let here = &self.before.namespaces[self.namespace];
        same("images", &here.images.keys().collect(), &reported)
    }

    /// The plan names what is gone, and nothing else has changed.
    fn check_freed(&self) -> Result<Vanished, String> {
        let freed = &self.plan.freed;
        let mut cut = self.before.clone();
        remove_labels(&mut cut, self.namespace, &self.plan.cuts)?;
        let change = Change {
            version: self.version,
            before: self.before,
            after: self.after,
            is_collected: !self.plan.cuts.is_empty(),
        };
        let severed = Change {
            before: &cut,
            ..change
        };
        check_what_is_left(&severed, self.namespace, &BTreeSet::new())?;
        let vanished = Vanished::by(&change);
        let blobs = freed.blobs.iter();
        let blobs = blobs.map(|blob| (blob.digest.to_string(), blob.bytes));
        same("blobs freed", &blobs.collect(), &vanished.blobs)?;
        let snapshots = freed.snapshots.iter().map(|snapshot| {
            let id = format!("{}/{}", snapshot.id.snapshotter, snapshot.id.key);
            (id, snapshot.bytes.unwrap_or(u64::MAX))
        });
        same("snapshots freed", &snapshots.collect(), &vanished.snapshots)?;
        let is_nothing = freed.amount() == Amount::default() && !self.plan.cuts.is_empty();
        if is_nothing && here_only(self.before) {
            return Err("labels are cut for nothing".to_owned());
        }
        Ok(vanished)
    }

    /// What a record could start before, it can start after, but for platforms that went.
    fn check_startable(&self) -> Result<(), String> {
        let here = &self.before.namespaces[self.namespace];
        let platforms = platforms(&documents(self.store, &self.before.blobs()));
        let mut were = startable(here, self.version, &platforms);
        let gone = self.plan.cuts.iter().filter_map(Cut::platform);
        let gone: BTreeSet<String> = gone.map(ToString::to_string).collect();
        // It goes from indexes. A record of the manifest itself keeps it.
        were.retain(|(name, manifest)| {
            !gone.contains(manifest) || here.images[name].target.digest.to_string() == *manifest
        });
        let left = &self.after.namespaces[self.namespace];
        let are = startable(left, self.version, &platforms);
        match were.difference(&are).next() {
            None => Ok(()),
            Some((name, manifest)) => Err(format!(
                "`{name}` cannot be started from {manifest} any more"
            )),
        }
    }
}

/// Whether there is one namespace: another one may keep what a cut releases.
fn here_only(contents: &StoreContents) -> bool {
    contents.namespaces.len() == 1
}

async fn read(containerd: &Containerd) -> Result<StoreContents, String> {
    let contents = StoreContents::read(containerd).await;
    contents.map_err(|status| format!("read the store: {status}"))
}

/// Removes the labels of cuts, by their texts.
fn remove_labels(
    contents: &mut StoreContents,
    namespace: &str,
    cuts: &[Cut],
) -> Result<(), String> {
    let namespace = contents.namespaces.get_mut(namespace);
    let blobs = &mut namespace.ok_or("no namespace")?.blobs;
    for cut in cuts {
        let blob = blobs.get_mut(&cut.blob.to_string());
        let labels = &mut blob.ok_or("a cut of a missing blob")?.labels;
        let (kind, target) = match &cut.target {
            CutTarget::Content { digest } => (CONTENT.to_owned(), digest.to_string()),
            CutTarget::Snapshot(id) => {
                (format!("{SNAPSHOT}.{}", id.snapshotter), id.key.to_string())
            }
        };
        let is_cut = |key: &str, value: &str| {
            let rest = key.strip_prefix(kind.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '/']))
                && value == target
        };
        let n_labels = labels.len();
        labels.retain(|key, value| !is_cut(key, value));
        if labels.len() == n_labels {
            return Err(format!("a cut of no label: {cut:?}"));
        }
    }
    Ok(())
}
