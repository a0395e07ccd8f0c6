//! The client on the containerd in memory.

use std::time::Duration;

use reclaim_fake::api::services::v1::Image;
use reclaim_fake::api::types::Descriptor;
use reclaim_fake::{Call, Fake, Fault, Lease, Snapshot};
use reclaim_model::{ImageRecord, Namespace};
use reclaim_store::{Class, Containerd, Deletion, HeldBlob, LeaseDeletion};
use tokio::time::Instant;
use tonic::Code;

const NAMESPACE: &str = "default";

fn namespace() -> Namespace {
    NAMESPACE.parse().expect("a name")
}

/// Creates an image of one configuration and one layer, with a snapshot. Returns the layer.
fn put_image(fake: &Fake, name: &str) -> String {
    let now = fake.now();
    let reference = |key: &str, digest: &str| {
        let key = format!("containerd.io/gc.ref.{key}");
        [(key, digest.to_owned())]
    };
    fake.change(|state| {
        let layer = state.put_blob(NAMESPACE, format!("layer of {name}"), []);
        let labels = reference("snapshot.overlayfs", name);
        let config = state.put_blob(NAMESPACE, format!("config of {name}"), labels);
        let labels = reference("content.config", &config);
        let labels = labels.into_iter().chain(reference("content.l.0", &layer));
        let target = state.put_blob(NAMESPACE, format!("manifest of {name}"), labels);
        let place = ("overlayfs".to_owned(), name.to_owned());
        let mut snapshot = Snapshot::default();
        name.clone_into(&mut snapshot.info.name);
        snapshot.info.kind = 3;
        snapshot.bytes = 4096;
        state.put_snapshot(NAMESPACE, place, snapshot);
        state.put_image(NAMESPACE, image(name, target), now);
        layer
    })
}

fn image(name: &str, target: String) -> Image {
    Image {
        name: name.to_owned(),
        target: Some(Descriptor {
            digest: target,
            ..Descriptor::default()
        }),
        ..Image::default()
    }
}

async fn connect(fake: &Fake) -> Containerd {
    let store = Containerd::from_channel(fake.channel());
    store.refresh_version().await.expect("a version");
    store
}

async fn record(store: &Containerd, name: &str) -> ImageRecord {
    let found = store.image_record(&namespace(), name).await;
    found.expect("an answer").expect("a record")
}

#[tokio::test]
async fn a_synchronous_delete_collects_what_nothing_holds() {
    let fake = Fake::new("2.1.9");
    let (web, db) = (put_image(&fake, "web"), put_image(&fake, "db"));
    let store = connect(&fake).await;
    assert_eq!(&*store.version(), "2.1.9");
    let image = record(&store, "web").await;
    let deletion = store.delete_image(&namespace(), &image).await.unwrap();
    assert_eq!(deletion, Deletion::Removed);
    let has_blob = |digest: &String| {
        fake.look(|state| state.namespaces[NAMESPACE].content.contains_key(digest))
    };
    assert!(has_blob(&web), "nothing was collected yet");

    // A lease on a journal that refers to the image keeps it through a collection.
    let labels = [(
        "containerd.io/gc.ref.content.0".to_owned(),
        image.target.digest.to_string(),
    )];
    let blob = HeldBlob {
        body: b"journal".to_vec(),
        labels: labels.into(),
    };
    let created = store.create_lease(&namespace(), "hold", [].into()).await;
    assert!(created.unwrap());
    let journal = store.write_held(&namespace(), "hold", blob).await.unwrap();
    fake.collect();
    assert!(has_blob(&web) && has_blob(&journal.to_string()));

    let ended = store.delete_lease(&namespace(), "hold", true).await;
    assert_eq!(ended.unwrap(), LeaseDeletion::Deleted);
    assert!(!has_blob(&web) && has_blob(&db));
    let n_snapshots = fake.look(|state| state.namespaces[NAMESPACE].snapshots.len());
    assert_eq!(n_snapshots, 1, "the snapshot went with the configuration");
    assert_eq!(fake.look(|state| state.collections), 2);
}

#[tokio::test]
async fn a_record_that_moved_is_not_deleted() {
    for version in ["2.0.0", "1.7.20"] {
        let fake = Fake::new(version);
        put_image(&fake, "web");
        let store = connect(&fake).await;
        let before = record(&store, "web").await;
        put_image(&fake, "other");
        let other = record(&store, "other").await;
        let now = fake.now();
        fake.change(|state| {
            let target = other.target.digest.to_string();
            state.put_image(NAMESPACE, image("web", target), now);
        });
        let deletion = store.delete_image(&namespace(), &before).await;
        assert_eq!(deletion.unwrap(), Deletion::Moved, "{version}");
        assert_eq!(
            record(&store, "web").await.target.digest,
            other.target.digest
        );
    }
}

#[tokio::test]
async fn an_expired_lease_is_collected_with_its_content() {
    let fake = Fake::with_clock("1.6.20", || "2026-01-01T00:00:00Z".parse().unwrap());
    fake.change(|state| {
        let digest = state.put_blob(NAMESPACE, "blob", []);
        let leases = &mut state.namespace(NAMESPACE).leases;
        for (id, expiry) in [
            ("old", "2025-12-31T23:59:59Z"),
            ("new", "2026-01-02T00:00:00Z"),
        ] {
            let mut lease = Lease::default();
            lease.message.id = id.to_owned();
            let label = "containerd.io/gc.expire".to_owned();
            lease.message.labels = [(label, expiry.to_owned())].into();
            if id == "old" {
                lease
                    .resources
                    .insert(("content".to_owned(), digest.clone()));
            }
            leases.insert(id.to_owned(), lease);
        }
    });
    fake.collect();
    let left = fake.look(|state| {
        let space = &state.namespaces[NAMESPACE];
        let leases: Vec<String> = space.leases.keys().cloned().collect();
        (leases, space.content.len())
    });
    assert_eq!(left, (vec!["new".to_owned()], 0));
}

#[tokio::test(start_paused = true)]
async fn calls_fail_hang_and_lose_their_answers_on_request() {
    let fake = Fake::new("2.1.9");
    put_image(&fake, "web");
    let store = connect(&fake).await;
    let image = record(&store, "web").await;
    let faulty = |fault: Fault| {
        fake.on_call(move |call: &Call| match call.method.as_str() {
            "Images/Delete" => fault,
            _ => Fault::None,
        });
    };
    let exists = || fake.look(|state| state.namespaces[NAMESPACE].images.contains_key("web"));

    faulty(Fault::Fail(Code::Unavailable));
    let failed = store.delete_image(&namespace(), &image).await.unwrap_err();
    assert_eq!(failed.class(), Class::Retry);
    assert!(exists());

    faulty(Fault::Silence);
    let began = Instant::now();
    let failed = store.delete_image(&namespace(), &image).await.unwrap_err();
    assert!(failed.is_timeout());
    assert_eq!(began.elapsed().as_secs(), 25);
    assert!(exists());

    faulty(Fault::Delay(Duration::from_secs(3)));
    let began = Instant::now();
    let deletion = store.delete_image(&namespace(), &image).await;
    assert_eq!(deletion.unwrap(), Deletion::Removed);
    assert!(began.elapsed().as_secs() >= 3);

    put_image(&fake, "web");
    faulty(Fault::FailAfter(Code::Unavailable));
    store.delete_image(&namespace(), &image).await.unwrap_err();
    assert!(!exists(), "it was deleted, and the answer lost");
}

#[tokio::test(start_paused = true)]
async fn an_outage_breaks_the_event_stream_and_calls_until_it_ends() {
    let fake = Fake::new("2.1.9");
    put_image(&fake, "web");
    let store = connect(&fake).await;
    let mut events = store.events().await.unwrap();
    fake.stop();
    events.next().await.unwrap_err();
    let failed = store.namespaces().await.unwrap_err();
    assert!(failed.is_from_transport(), "{failed:?}");
    fake.start();
    assert_eq!(store.namespaces().await.unwrap(), [namespace()]);
    let mut events = store.events().await.unwrap();
    fake.change(|state| state.remove_image(NAMESPACE, "web"));
    let event = events.next().await.unwrap();
    let name = "web".to_owned();
    assert_eq!(
        event.kind,
        reclaim_model::UseEventKind::ImageDeleted { name }
    );
}
