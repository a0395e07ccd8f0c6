//! A node with very many images: evaluating them must not hold an async thread. A node with one
//! core has only one, and it answers `/live`, too.

#![expect(
    clippy::unwrap_used,
    reason = "a test ends where something is not as it says"
)]

mod polls;

use std::sync::Arc;
use std::time::Duration;

use polls::measured;
use reclaim_engine::{Engine, no_progress};
use reclaim_maintenance::LastUseIndex;
use reclaim_model::{Namespace, PruneRequest, Separator};
use reclaim_testkit::ManyImages;

const IMAGES: usize = 100_000;

/// How many of them are different.
const MANIFESTS: usize = 1_000;

/// A poll that takes longer than this part of the whole did part of the evaluation.
const PART: u32 = 10;

fn all_unused() -> PruneRequest {
    PruneRequest::unused(namespace()).may_empty_namespace(true)
}

fn namespace() -> Namespace {
    ManyImages::NAMESPACE.parse().unwrap()
}

/// Does work on the only async thread, and asserts that no poll of it takes long.
async fn holds_no_thread<T: Send + 'static>(
    what: &str,
    work: impl Future<Output = T> + Send + 'static,
) -> T {
    let (done, took) = tokio::spawn(measured(work)).await.unwrap();
    #[expect(clippy::print_stderr, reason = "the figures, with `--no-capture`")]
    {
        eprintln!("{what}: {:?}, longest poll {:?}", took.all, took.longest);
    }
    assert!(took.all > Duration::from_millis(100), "{what} is not long");
    let most = took.all / PART;
    assert!(
        took.longest < most,
        "{what}: {:?} of {:?}",
        took.longest,
        took.all
    );
    done
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn evaluating_100_000_images_does_not_hold_the_only_thread() {
    let many = ManyImages::start(IMAGES, MANIFESTS);
    let engine = Arc::new(Engine::connect(many.address()).await.unwrap());
    let on = || Arc::clone(&engine);
    let preview = holds_no_thread("preview", {
        let engine = on();
        async move { engine.preview(&all_unused(), &no_progress).await.unwrap() }
    });
    let preview = preview.await;
    assert_eq!(preview.plan.steps.len(), IMAGES);
    let (report, _) = holds_no_thread("report", preview.into_report()).await;
    assert_eq!(report.removed.len(), IMAGES);
    let usage = holds_no_thread("disk usage", {
        let engine = on();
        async move { engine.disk_usage(&no_progress).await.unwrap() }
    });
    assert_eq!(usage.await.namespaces.len(), 1);
    let answers = holds_no_thread("why", {
        let engine = on();
        async move {
            engine
                .why(&namespace(), "registry.example/team-1/app-1:1")
                .await
                .unwrap()
        }
    });
    assert_eq!(answers.await.len(), 1);
    let listing = holds_no_thread("listing", {
        let engine = on();
        async move { engine.listing(&namespace()).await.unwrap() }
    });
    assert_eq!(listing.await.details.images.len(), MANIFESTS);
    let list = holds_no_thread("images", {
        let engine = on();
        async move { engine.images(&namespace(), false).await.unwrap() }
    });
    assert_eq!(list.await.images.len(), IMAGES);
    let projects = holds_no_thread("projects", {
        let engine = on();
        async move {
            engine
                .projects(&namespace(), false, Separator::Hyphen)
                .await
                .unwrap()
        }
    });
    assert_eq!(projects.await.projects.len(), 0);
    let index = Arc::new(LastUseIndex::in_memory());
    holds_no_thread("last use", {
        let (engine, index) = (on(), Arc::clone(&index));
        async move { index.reconcile(&engine).await.unwrap() }
    })
    .await;
    assert_eq!(index.uses(&namespace()).targets.len(), MANIFESTS);
}
