//! Random sequences of slims, prunes, pulls and undos: after each step every image can be started
//! from what its record keeps.
//!
//! `RECLAIM_EXACT_SEQUENCES=1000` runs another number, and `RECLAIM_EXACT_SEED=17` the sequences from
//! this seed on.

use std::collections::BTreeSet;
use std::fmt::{self, Write};
use std::iter;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use reclaim_engine::{Controls, Engine, Grace, RunError, RunOptions, no_progress};
use reclaim_model::{FilterArgs, ImageParts, Namespace, Part, PruneRequest, Report, chain};
use reclaim_testkit::{
    BuiltImage, Containerd, Dice, Labels, Layer, Manifest, NamespaceClient, NewContainer, Status,
    image, index, labels, number_from_env,
};
use tokio::runtime::Builder;
use tokio_util::sync::CancellationToken;

use crate::contents::StoreContents;
use crate::copies::{Platform, startable};
use crate::slim::platform;

/// Default number of sequences.
const SEQUENCES: u64 = 24;

/// Number of steps of a sequence.
const STEPS: usize = 25;

/// Number of images.
const IMAGES: usize = 6;

const SNAPSHOTTER: &str = "native";

/// What happens in a step.
#[derive(Debug, Clone)]
enum Step {
    /// Parts of one image, or of all, are freed.
    Slim {
        parts: Vec<Part>,
        image: Option<usize>,
        is_held: bool,
    },
    /// One image, or all unused ones, are removed.
    Prune { image: Option<usize>, is_held: bool },
    /// An image is fetched and unpacked.
    Pull(usize),
    /// An image whose snapshots exist is pulled: its labels are written, and no layer is fetched.
    PullUnpacked(usize),
    /// A container is created, for which the image is unpacked again if necessary.
    Start(usize),
    /// The container of an image is deleted.
    Stop(usize),
    /// The latest run is undone.
    Undo,
    /// The hold of the latest run is freed.
    Release,
    /// containerd collects.
    Collect,
}

impl Step {
    fn roll(dice: &mut Dice) -> Self {
        let image = dice.below(IMAGES);
        let one_or_all = dice.percent(50).then_some(image);
        let is_held = dice.percent(50);
        match dice.below(20) {
            0..=6 => Self::Slim {
                parts: match dice.below(6) {
                    0 | 1 => vec![Part::Snapshots],
                    2 | 3 => vec![Part::Layers],
                    4 => vec![Part::Platforms],
                    _ => vec![Part::Snapshots, Part::Layers, Part::Platforms],
                },
                image: one_or_all,
                is_held,
            },
            7 => Self::Prune {
                image: one_or_all,
                is_held,
            },
            8 | 9 => Self::Pull(image),
            10 | 11 => Self::PullUnpacked(image),
            12 | 13 => Self::Start(image),
            14 | 15 => Self::Stop(image),
            16 | 17 => Self::Undo,
            18 => Self::Release,
            _ => Self::Collect,
        }
    }
}

/// Why a sequence fails.
#[derive(Debug)]
struct Wrong(String);

impl From<Status> for Wrong {
    fn from(status: Status) -> Self {
        Self(format!("set up: {status}"))
    }
}

impl From<RunError> for Wrong {
    fn from(error: RunError) -> Self {
        Self(format!("run: {}", chain(&error)))
    }
}

/// A host with a few images, which share layers.
struct Host<'c> {
    containerd: &'c Containerd,
    namespace: NamespaceClient,
    engine: Engine,
    images: Vec<Pullable>,
}

/// An image that can be pulled.
#[derive(Debug, Clone)]
struct Pullable {
    name: String,
    layers: Vec<Layer>,
    config: Labels,
    form: Form,
}

/// The documents of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Oci,
    Docker,
    /// An index of several platforms, one of which is not unpacked.
    Index,
}

impl Pullable {
    /// Returns an image. It may be another form of the one before, with the same configuration.
    fn roll(dice: &mut Dice, number: usize, before: Option<&Self>) -> Self {
        let name = name(number);
        let form = *dice.pick(&[Form::Oci, Form::Docker, Form::Index]);
        if let Some(before) = before.filter(|it| it.form != form && dice.percent(30)) {
            let before = before.clone();
            return Self {
                name,
                form,
                ..before
            };
        }
        let mut layers: Vec<Layer> = (0..dice.between(1, 3))
            .map(|_| Layer::random(dice.below(4) as u64, 600))
            .collect();
        layers.dedup();
        if dice.percent(50) {
            layers.push(Layer::named(&name, 500));
        }
        Self {
            name,
            layers,
            config: labels([("of", dice.below(3).to_string())]),
            form,
        }
    }

    async fn pull(&self, namespace: &NamespaceClient) -> Result<BuiltImage, Status> {
        let (layers, config) = (self.layers.clone(), self.config.clone());
        let one = image(&self.name).layers(layers.clone());
        let one = one.config_labels(config.clone()).unpack(SNAPSHOTTER);
        let built = match self.form {
            Form::Oci => one.build(namespace).await?,
            Form::Docker => one.docker_schema2().build(namespace).await?,
            Form::Index => {
                let here = Manifest::new("linux/amd64").layers(layers);
                let here = here.config_labels(config).unpack(SNAPSHOTTER);
                let there = Manifest::new("linux/arm64").layers([Layer::named("arm64", 300)]);
                let both = index(&self.name).manifest(here).manifest(there);
                both.build(namespace).await?
            }
        };
        built.pulled(namespace).await
    }
}

fn name(number: usize) -> String {
    format!("docker.io/library/app{number}:1")
}

fn container(number: usize) -> String {
    format!("web{number}")
}

/// A sequence, and what it knows of its images.
struct Sequence<'h> {
    host: &'h Host<'h>,
    /// Each image as it was first pulled, with the labels of its blobs.
    pulled: Vec<(BuiltImage, Vec<(reclaim_model::Digest, Labels)>)>,
    log: String,
}

impl Sequence<'_> {
    async fn run(&mut self, dice: &mut Dice) -> Result<(), Wrong> {
        for _ in 0..STEPS {
            let step = Step::roll(dice);
            let done = self.step(&step).await?;
            writeln!(self.log, "{step:?}: {done}")
                .map_err(|error: fmt::Error| Wrong(error.to_string()))?;
            self.check().await?;
        }
        Ok(())
    }

    async fn step(&self, step: &Step) -> Result<String, Wrong> {
        let Host { namespace, .. } = self.host;
        let here = default_namespace();
        Ok(match step {
            Step::Slim {
                parts,
                image,
                is_held,
            } => {
                let parts = ImageParts {
                    parts: parts.iter().copied().collect(),
                    names: image.iter().map(|number| name(*number)).collect(),
                    filters: FilterArgs::default(),
                    platforms: vec![platform("arm64", "")],
                    docker_layers: false,
                    mirrored_layers: false,
                };
                let request = PruneRequest::new(here, parts);
                let report = self.prune(&request, *is_held).await?;
                let slimmed = report
                    .slimmed
                    .iter()
                    .map(|it| (&*it.name, it.parts.keys().collect::<Vec<_>>()));
                format!(
                    "{:?} freed {:?}",
                    slimmed.collect::<Vec<_>>(),
                    report.reclaimed.0
                )
            }
            Step::Prune { image, is_held } => {
                let request = match image {
                    Some(number) => PruneRequest::images(here, [name(*number)]),
                    None => PruneRequest::unused(here),
                };
                let request = request.may_empty_namespace(true);
                let report = self.prune(&request, *is_held).await?;
                let removed = report.removed.iter().map(|it| &*it.name);
                format!("{:?}", removed.collect::<Vec<_>>())
            }
            Step::Pull(number) => {
                self.host.images[*number].pull(namespace).await?;
                String::new()
            }
            Step::PullUnpacked(number) => self.pull_unpacked(*number).await?,
            Step::Start(number) => self.start(*number).await?,
            Step::Stop(number) => {
                let id = container(*number);
                // Neither may exist.
                namespace.delete_container(&id).await.ok();
                namespace.remove_snapshot(SNAPSHOTTER, &id).await.ok();
                String::new()
            }
            Step::Undo => match self.host.engine.undo(&here, None, &[], false).await {
                Err(RunError::UnknownRun { .. }) => "nothing".to_owned(),
                undone => format!("{:?}", undone?),
            },
            Step::Release => match self.host.engine.release(&here, None).await {
                Err(RunError::UnknownRun { .. }) => "nothing".to_owned(),
                released => released?.to_string(),
            },
            Step::Collect => {
                namespace.collect().await?;
                String::new()
            }
        })
    }

    async fn prune(&self, request: &PruneRequest, is_held: bool) -> Result<Report, Wrong> {
        let options = RunOptions {
            grace: Grace::Fixed(Duration::ZERO),
            undo_window: Duration::from_secs(if is_held { 3600 } else { 0 }),
            max_deletes_per_second: None,
            wait: false,
        };
        let controls = Controls {
            options: &options,
            progress: &no_progress,
            cancel: &CancellationToken::new(),
        };
        let report = self.host.engine.prune(request, None, controls).await?;
        if report.unfinished.is_some() || !report.failed.is_empty() {
            return Err(Wrong(format!("unfinished: {report:#?}")));
        }
        let freed = report.reclaimed.0;
        if report.collection.is_some() && freed != report.estimate.0 {
            return Err(Wrong(format!("freed {freed:?}: {report:#?}")));
        }
        Ok(report)
    }

    /// As containerd's client, which skips the layers below a chain that exists.
    async fn pull_unpacked(&self, number: usize) -> Result<String, Wrong> {
        let namespace = &self.host.namespace;
        let (built, of_blobs) = &self.pulled[number];
        let (_, top) = built.unpacked();
        let records = namespace.images().await?;
        if !records.contains_key(built.name()) || !self.exists(top).await? {
            return Ok("not there".to_owned());
        }
        let present = namespace.blobs().await?;
        // It fetches no other platforms.
        for (blob, labels) in of_blobs
            .iter()
            .filter(|(blob, _)| present.contains_key(blob))
        {
            for (key, value) in labels {
                namespace.set_blob_label(blob, key, value).await?;
            }
        }
        Ok(String::new())
    }

    /// Creates a container, as engines do: from the chain if it exists, or else it is unpacked.
    async fn start(&self, number: usize) -> Result<String, Wrong> {
        let namespace = &self.host.namespace;
        let (built, _) = &self.pulled[number];
        let id = container(number);
        let containers = namespace.containers().await?;
        if containers.contains_key(&id) || !namespace.images().await?.contains_key(built.name()) {
            return Ok("not now".to_owned());
        }
        let (_, top) = built.unpacked();
        let is_unpacked = self.exists(top).await?;
        if !is_unpacked {
            let blobs = namespace.blobs().await?;
            let mut layers = built.manifests[0].layers.iter();
            if !layers.all(|layer| blobs.contains_key(&layer.digest)) {
                return Err(Wrong(format!("`{}` cannot be unpacked", built.name())));
            }
            self.host.images[number].pull(namespace).await?;
        }
        let none = Labels::new();
        let parent = top.to_string();
        let prepared = namespace.prepare(SNAPSHOTTER, &id, &parent, &none);
        prepared.await?;
        let new = NewContainer::new(&id).image(built.name());
        namespace
            .create_container(new.snapshot(SNAPSHOTTER, &id))
            .await?;
        Ok(format!("unpacked before: {is_unpacked}"))
    }

    async fn exists(&self, chain: &reclaim_model::Digest) -> Result<bool, Wrong> {
        let snapshots = self.host.namespace.snapshots(SNAPSHOTTER).await?;
        Ok(snapshots.contains_key(&chain.to_string()))
    }

    /// Every image can be started, and every container has its snapshots.
    async fn check(&self) -> Result<(), Wrong> {
        let contents = StoreContents::read(self.host.containerd).await?;
        let here = &contents.namespaces["default"];
        let mut platforms = Vec::new();
        let mut expected = BTreeSet::new();
        for (built, _) in &self.pulled {
            let manifest = &built.manifests[0];
            let platform = Platform {
                manifest: manifest.manifest.digest.to_string(),
                config: manifest.config.digest.to_string(),
                layers: manifest
                    .layers
                    .iter()
                    .map(|it| it.digest.to_string())
                    .collect(),
                chain: manifest.chain_ids.last().map(ToString::to_string),
            };
            if here.images.contains_key(built.name()) {
                expected.insert((built.name().to_owned(), platform.manifest.clone()));
            }
            platforms.push(platform);
        }
        let found = startable(here, self.host.containerd.version(), &platforms);
        if let Some((name, _)) = expected.difference(&found).next() {
            return Err(Wrong(format!("`{name}` cannot be started from its record")));
        }
        let mut containers = here.containers.keys();
        let has_snapshot =
            |id: &String| here.snapshots.contains_key(&format!("{SNAPSHOTTER}/{id}"));
        match containers.find(|id| !has_snapshot(id)) {
            Some(id) => Err(Wrong(format!("container `{id}` lost its snapshot"))),
            None => Ok(()),
        }
    }
}

fn default_namespace() -> Namespace {
    "default".parse().expect("a name")
}

/// Empties the store, pulls the images of a seed, and runs its sequence.
async fn check(containerd: &Containerd, seed: u64) -> Result<(), String> {
    let mut dice = Dice::new(seed ^ 0x5345_5155);
    let mut images: Vec<Pullable> = Vec::new();
    for number in 0..IMAGES {
        images.push(Pullable::roll(&mut dice, number, images.last()));
    }
    let emptied = containerd.empty().await;
    emptied.map_err(|status| format!("set up: {status}"))?;
    let engine = Engine::connect(containerd.address()).await;
    let host = Host {
        containerd,
        namespace: containerd.namespace("default"),
        engine: engine.map_err(|error| format!("set up: {error}"))?,
        images,
    };
    let mut sequence = Sequence {
        host: &host,
        pulled: Vec::new(),
        log: String::new(),
    };
    let ran = async {
        for image in &host.images {
            let built = image.pull(&host.namespace).await?;
            let infos = host.namespace.blob_infos().await?;
            let own = infos
                .into_iter()
                .filter(|(digest, _)| built.blobs.contains_key(digest));
            let own = own.map(|(digest, info)| (digest, info.labels));
            // The labels of layers say nothing.
            let own = own.filter(|(_, labels)| !labels.is_empty()).collect();
            sequence.pulled.push((built, own));
        }
        sequence.run(&mut dice).await
    };
    let ran: Result<(), Wrong> = ran.await;
    let log = sequence.log;
    ran.map_err(|Wrong(wrong)| {
        format!(
            "{wrong}\nafter\n{log}\nto repeat: RECLAIM_EXACT_SEED={seed} RECLAIM_EXACT_SEQUENCES=1"
        )
    })
}

#[test]
fn no_sequence_leaves_an_image_without_both_copies() {
    let first = number_from_env("RECLAIM_EXACT_SEED").unwrap_or(0);
    let last = first + number_from_env("RECLAIM_EXACT_SEQUENCES").unwrap_or(SEQUENCES);
    let next = AtomicU64::new(first);
    let n_workers = 2;
    thread::scope(|scope| {
        for _ in 0..n_workers {
            scope.spawn(|| {
                let runtime = Builder::new_current_thread().enable_all().build();
                let runtime = runtime.expect("a runtime with one thread starts");
                runtime.block_on(async {
                    let containerd = Containerd::quiet().log_level("warn").start().await;
                    let collected = containerd.namespace("default").collect().await;
                    collected.expect("containerd collects");
                    let seeds = || Some(next.fetch_add(1, Ordering::Relaxed));
                    for seed in iter::from_fn(seeds).take_while(|seed| *seed < last) {
                        if let Err(wrong) = check(&containerd, seed).await {
                            next.store(last, Ordering::Relaxed);
                            panic!("sequence {seed}: {wrong}");
                        }
                    }
                });
            });
        }
    });
}
