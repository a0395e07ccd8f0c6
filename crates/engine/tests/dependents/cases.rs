//! A prune, a removal by name, a second look and an undo of an image and of those that depend on it.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use reclaim_engine::{Controls, Engine, Grace, Progress, RunOptions, Undone};
use reclaim_fake::api::services::v1::Container;
use reclaim_fake::{Fake, Fault, Image, Labels, Layer};
use reclaim_model::{
    KeepReason, NamedImages, PruneRequest, RefuseReason, RemoveReason, Report, Selection,
};
use reclaim_store::Containerd;
use tokio_util::sync::CancellationToken;

const NAMESPACE: &str = "default";
const INDEX: &str = "docker.io/library/index:1";
const ONE: &str = "docker.io/library/one:1";
const TWO: &str = "docker.io/library/two:1";
const OTHER: &str = "docker.io/library/other:1";
const PAST: &str = "2026-01-01T00:00:00Z";

struct Stage {
    fake: Fake,
    engine: Engine,
}

impl Stage {
    /// What the transfer service of 2.3 stores, and an image of its own.
    fn set() -> Self {
        let fake = Fake::new("2.3.4");
        let now = fake.now();
        fake.change(|state| {
            for name in [INDEX, ONE, TWO, OTHER] {
                let image = Image::new(vec![Layer::of(name)], &Labels::new());
                image.store(state, NAMESPACE, "overlayfs", None);
                let mut record = image.record(name);
                if [ONE, TWO].contains(&name) {
                    let label = |key: &str, value: &str| {
                        (format!("containerd.io/gc.{key}"), value.to_owned())
                    };
                    record.labels = [label("bref.image", INDEX), label("expire", PAST)].into();
                }
                state.put_image(NAMESPACE, record, now);
            }
        });
        let engine = Engine::new(Containerd::from_channel(fake.channel()));
        let collecting = fake.clone();
        fake.on_call(move |_| {
            collecting.collect();
            Fault::None
        });
        Self { fake, engine }
    }

    async fn run(&self, selection: impl Into<Selection>, window: Duration) -> Report {
        self.run_and(selection, window, &|_| {}).await
    }

    async fn run_and(
        &self,
        selection: impl Into<Selection>,
        window: Duration,
        meanwhile: &(dyn Fn(Progress) + Send + Sync),
    ) -> Report {
        let namespace = NAMESPACE.parse().unwrap();
        let request = PruneRequest::new(namespace, selection).may_empty_namespace(true);
        let options = RunOptions {
            grace: Grace::Fixed(Duration::ZERO),
            undo_window: window,
            max_deletes_per_second: None,
            wait: false,
        };
        let controls = Controls {
            options: &options,
            progress: meanwhile,
            cancel: &CancellationToken::new(),
        };
        let report = self.engine.prune(&request, None, controls).await.unwrap();
        assert_eq!(report.failed, [], "{report:?}");
        report
    }

    async fn undo(&self, names: &[&str]) -> Undone {
        let namespace = NAMESPACE.parse().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        self.engine
            .undo(&namespace, None, &names, false)
            .await
            .unwrap()
    }

    fn pin(&self, name: &str) {
        self.fake.change(|state| {
            let images = &mut state.namespace(NAMESPACE).images;
            let labels = &mut images.get_mut(name).unwrap().labels;
            labels.insert("io.cri-containerd.pinned".to_owned(), "pinned".to_owned());
        });
    }

    fn use_by_name(&self, name: &str) {
        let container = Container {
            id: "web".to_owned(),
            image: name.to_owned(),
            ..Container::default()
        };
        self.fake
            .change(|state| state.put_container(NAMESPACE, container));
    }

    /// The records with their labels after a collection.
    fn records(&self) -> BTreeMap<String, BTreeMap<String, String>> {
        self.fake.collect();
        self.fake.look(|state| {
            let images = state.namespaces[NAMESPACE].images.values();
            let images = images.map(|image| {
                let labels = image.labels.clone().into_iter().collect();
                (image.name.clone(), labels)
            });
            images.collect()
        })
    }

    fn names(&self) -> Vec<String> {
        self.records().into_keys().collect()
    }
}

fn unused() -> Selection {
    let request = PruneRequest::unused(NAMESPACE.parse().unwrap());
    request.selection
}

fn named(name: &str) -> NamedImages {
    NamedImages {
        names: vec![name.to_owned()],
        force: false,
        prune_parents: true,
    }
}

fn removed(report: &Report) -> Vec<&str> {
    report.removed.iter().map(|it| it.name.as_str()).collect()
}

#[tokio::test]
async fn a_pinned_one_survives_a_prune() {
    let stage = Stage::set();
    stage.pin(ONE);
    let report = stage.run(unused(), Duration::ZERO).await;
    assert_eq!(removed(&report), [OTHER, TWO]);
    assert_eq!(stage.names(), [INDEX, ONE]);
    let index = report.kept.iter().find(|it| it.name == INDEX).unwrap();
    assert_eq!(index.reason, KeepReason::DependentStays);
    assert_eq!(index.holders[0].to_string(), format!("image {ONE}"));
    assert_eq!(report.reclaimed.0, report.estimate.0);
}

#[tokio::test]
async fn all_go_together_and_come_back_as_they_were() {
    let window = Duration::from_hours(1);
    for selection in [unused(), named("index:1").into()] {
        let stage = Stage::set();
        let before = stage.records();
        let report = stage.run(selection, window).await;
        assert!(removed(&report).starts_with(&[INDEX, ONE]), "{report:?}");
        assert!(removed(&report).ends_with(&[TWO]), "{report:?}");
        assert!(!stage.records().contains_key(ONE));
        let undone = stage.undo(&[]).await;
        assert_eq!(undone.restored.len(), report.removed.len());
        assert_eq!(stage.records(), before);
    }
}

#[tokio::test]
async fn a_removal_by_name_reports_all_names() {
    let stage = Stage::set();
    let report = stage.run(named("index:1"), Duration::ZERO).await;
    let reasons: Vec<_> = report.removed.iter().map(|it| it.reason).collect();
    let dependent = RemoveReason::Dependent;
    assert_eq!(reasons, [RemoveReason::Named, dependent, dependent]);
    let removal = report.named[0].outcome().unwrap();
    assert_eq!(removal.untagged, ["index:1", "one:1", "two:1"]);
    assert_eq!(report.reclaimed.0, report.estimate.0);
    assert_eq!(report.reclaimed.0.blobs, 9);
    assert_eq!(stage.names(), [OTHER]);
}

/// An undo of one name restores what keeps it, too.
#[tokio::test]
async fn an_undo_of_one_restores_what_it_depends_on() {
    let stage = Stage::set();
    let report = stage.run(unused(), Duration::from_hours(1)).await;
    assert_eq!(report.removed.len(), 4);
    assert_eq!(stage.names(), Vec::<String>::new());
    let undone = stage.undo(&[TWO]).await;
    assert_eq!(undone.restored, [INDEX, TWO]);
    assert_eq!(stage.names(), [INDEX, TWO]);
    let undone = stage.undo(&[OTHER]).await;
    assert_eq!(undone.restored, [OTHER]);
    assert_eq!(stage.names(), [INDEX, OTHER, TWO]);
}

#[tokio::test]
async fn one_that_came_into_use_comes_back_with_what_it_depends_on() {
    for selection in [unused(), named("index:1").into()] {
        let stage = Stage::set();
        let is_used = Mutex::new(false);
        let meanwhile = |progress| {
            let mut is_used = is_used.lock().unwrap();
            if matches!(progress, Progress::LookingAgain) && !std::mem::replace(&mut is_used, true)
            {
                stage.use_by_name(ONE);
            }
        };
        let running = stage.run_and(selection, Duration::ZERO, &meanwhile);
        let report = running.await;
        let names = stage.names();
        assert!(
            names.starts_with(&[INDEX.to_owned(), ONE.to_owned()]),
            "{names:?}"
        );
        assert!(removed(&report).contains(&TWO));
        let refused: Vec<_> = report.refused.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(refused, [INDEX, ONE]);
        let RefuseReason::MustStay { reason, .. } = &report.refused[0].reason else {
            panic!("{report:?}");
        };
        assert_eq!(*reason, KeepReason::DependentStays);
    }
}

/// The name was given to another image in the meantime, so it is not removed.
#[tokio::test]
async fn one_that_could_not_be_removed_keeps_what_it_depends_on() {
    let stage = Stage::set();
    let moved = stage.fake.clone();
    stage.fake.on_call(move |call| {
        if call.method.ends_with("Images/Delete") {
            moved.change(|state| {
                let images = &mut state.namespace(NAMESPACE).images;
                let target = images.get(OTHER).and_then(|other| other.target.clone());
                if let Some(one) = images.get_mut(ONE).filter(|_| target.is_some()) {
                    one.target = target;
                }
            });
        }
        moved.collect();
        Fault::None
    });
    let report = stage.run(unused(), Duration::ZERO).await;
    let names = stage.names();
    assert!(
        names.starts_with(&[INDEX.to_owned(), ONE.to_owned()]),
        "{names:?}"
    );
    let index = report.refused.iter().find(|it| it.name == INDEX).unwrap();
    let RefuseReason::MustStay { reason, holders } = &index.reason else {
        panic!("{report:?}");
    };
    assert_eq!(*reason, KeepReason::DependentStays);
    assert_eq!(holders[0].id, ONE);
}

/// A new name appears between the preview and its confirmation.
#[tokio::test]
async fn a_confirmed_plan_takes_no_name_that_it_did_not_show() {
    let stage = Stage::set();
    let namespace = NAMESPACE.parse().unwrap();
    let request = PruneRequest::new(namespace, unused()).may_empty_namespace(true);
    let preview = stage.engine.preview(&request, &|_| {}).await.unwrap();
    let now = stage.fake.now();
    let new = "docker.io/library/three:1";
    stage.fake.change(|state| {
        let two = state.namespace(NAMESPACE).images[TWO].clone();
        let name = new.to_owned();
        state.put_image(
            NAMESPACE,
            reclaim_fake::api::services::v1::Image { name, ..two },
            now,
        );
    });
    let controls = Controls {
        options: &RunOptions::default(),
        progress: &|_| {},
        cancel: &CancellationToken::new(),
    };
    let pruning = stage.engine.prune(&request, Some(&preview.plan), controls);
    let report = pruning.await.unwrap();
    assert_eq!(removed(&report), [ONE, OTHER, TWO]);
    assert_eq!(report.refused[0].name, INDEX);
    assert_eq!(stage.names(), [INDEX, new]);
}
