//! Which images a policy with `ask_registry` asks registries for.

use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use reclaim_engine::{Clock, Engine};
use reclaim_fake::{Fake, Image, Labels, Layer};
use reclaim_maintenance::{LastUseIndex, Maintenance, Policy, PolicyRun, Registries, Trigger};
use reclaim_model::{KeepReason, RuleFilters};
use reclaim_store::Containerd;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

const NAMESPACE: &str = "default";

/// A registry that has every image or none, and the paths that it was asked for.
struct Registry {
    address: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Registry {
    async fn start(has_all: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let address = listener.local_addr().expect("it is bound").to_string();
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let paths = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(answer(client, has_all, Arc::clone(&paths)));
            }
        });
        Self { address, asked }
    }

    fn n_asked(&self) -> usize {
        self.asked.lock().expect("no thread panics").len()
    }
}

async fn answer(mut client: TcpStream, has_all: bool, asked: Arc<Mutex<Vec<String>>>) {
    let mut request = String::new();
    while !request.ends_with("\r\n\r\n") {
        let byte = client.read_u8().await.expect("a request");
        request.push(byte.into());
    }
    let path = request.split(' ').nth(1).expect("a path").to_owned();
    let digest = path.rsplit('/').next().expect("a digest").to_owned();
    asked.lock().expect("no thread panics").push(path);
    let answer = if has_all {
        format!("HTTP/1.1 200 OK\r\ndocker-content-digest: {digest}\r\nconnection: close\r\n\r\n")
    } else {
        "HTTP/1.1 404 Not Found\r\nconnection: close\r\n\r\n".to_owned()
    };
    let written = client.write_all(answer.as_bytes()).await;
    written.expect("the client reads the answer");
}

/// Runs a policy on a host with this many images that were built on it.
async fn run(registry: &Registry, images: usize, change: impl FnOnce(&mut Policy)) -> PolicyRun {
    let now: Timestamp = "2026-03-15T04:30:00Z".parse().expect("a time");
    let fake = Fake::with_clock("2.1.9", move || now);
    fake.change(|state| {
        for number in 0..images {
            let image = Image::new(vec![Layer::of(&number.to_string())], &Labels::new());
            image.store(state, NAMESPACE, "overlayfs", None);
            let name = format!("{}/team/app{number}:1", registry.address);
            state.put_image(NAMESPACE, image.record(&name), now);
        }
    });
    let store = Containerd::from_channel(fake.channel()).with_clock(Clock::new(move || now));
    let maintenance = Maintenance {
        engine: Arc::new(Engine::new(store)),
        index: Arc::new(LastUseIndex::in_memory()),
        late: Arc::default(),
        quiet: Arc::default(),
        headroom: None,
        cluster_lock: None,
        kubelet_config: None,
        registries: Registries::default(),
    };
    let mut policy = Policy::of_name("p".parse().expect("a name"));
    policy.namespaces = vec![NAMESPACE.parse().expect("a name")];
    policy.rule.filters = RuleFilters::parse(&[], true).expect("no filters");
    policy.rule.min_age = std::time::Duration::ZERO;
    policy.ask_registry = true;
    change(&mut policy);
    let cancel = CancellationToken::new();
    maintenance.run(&policy, Trigger::Demand, &cancel).await
}

/// Returns the holders of the last copies in the report of a run.
fn last_copies(run: &PolicyRun) -> Vec<String> {
    let kept = run.reports.iter().flat_map(|report| &report.kept);
    let last = kept.filter(|image| image.reason == KeepReason::LastCopy);
    last.map(|image| image.holders[0].to_string()).collect()
}

#[tokio::test]
async fn without_the_key_no_registry_is_asked() {
    let registry = Registry::start(true).await;
    let kept = run(&registry, 2, |policy| policy.ask_registry = false).await;
    assert_eq!((kept.removed(), last_copies(&kept).len()), (0, 2));
    let removed = run(&registry, 2, |policy| policy.rule.last_copies = true).await;
    assert_eq!(removed.removed(), 2, "{removed:?}");
    assert_eq!(registry.n_asked(), 0);
}

#[tokio::test]
async fn only_images_that_would_go_are_asked_for() {
    let registry = Registry::start(true).await;
    let capped = run(&registry, 9, |policy| policy.max_images = Some(1)).await;
    assert_eq!(capped.removed(), 1, "{capped:?}");
    assert_eq!(registry.n_asked(), 1);
    let young = run(&registry, 9, |policy| {
        policy.rule.min_age = std::time::Duration::from_secs(60);
    });
    assert_eq!(young.await.removed(), 0);
    assert_eq!(registry.n_asked(), 1);
    let all = run(&registry, 9, |_| {}).await;
    assert_eq!(all.removed(), 9, "{all:?}");
    assert_eq!(registry.n_asked(), 10);
}

#[tokio::test]
async fn the_number_of_questions_of_a_run_is_limited() {
    let registry = Registry::start(false).await;
    let none = run(&registry, 40, |_| {}).await;
    assert_eq!(none.removed(), 0, "{none:?}");
    let holders = last_copies(&none);
    let count = |text: &str| holders.iter().filter(|it| it.contains(text)).count();
    assert_eq!(count("answered 404 Not Found"), 32, "{holders:#?}");
    assert_eq!(count("not asked: a run asks for 32 images at most"), 8);
    assert_eq!(registry.n_asked(), 32);
    // With a cap, an answer that proves nothing puts the next image in its place, a few times.
    let capped = run(&registry, 40, |policy| policy.max_images = Some(1)).await;
    assert_eq!(capped.removed(), 0, "{capped:?}");
    assert_eq!(registry.n_asked(), 35);
}
