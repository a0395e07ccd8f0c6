//! `image rm --force` of an image in use, the only removal that also writes a record.

use reclaim_testkit::fault::{Act, Call, Fault, FaultProxy, Moment};
use reclaim_testkit::{BuiltImage, Containerd, Labels, Layer, NamespaceClient, Status, image};
use tonic::Code;

use crate::run::{PRUNE_DANGLING, Victim, reclaim, run_with_faults};

/// Removes the only name of an image that a container uses.
const FORCED: [&str; 6] = ["image", "rm", "--force", "--grace", "0s", "app:1"];

/// What happens to a call.
#[derive(Debug, Clone, Copy)]
enum Harm {
    /// It fails with a permanent error.
    Refused,
    /// The connection is lost.
    Lost,
    /// The binary is killed.
    Killed,
}

const HARMS: [(Moment, Harm); 4] = [
    (Moment::Before, Harm::Refused),
    (Moment::After, Harm::Lost),
    (Moment::Before, Harm::Killed),
    (Moment::After, Harm::Killed),
];

/// Restores the state with which every case begins: the image with its name and no other record.
async fn reset(namespace: &NamespaceClient, app: &BuiltImage) -> Result<(), Status> {
    let records = namespace.images().await?;
    if !records.contains_key(app.name()) {
        let none = Labels::new();
        namespace
            .create_image(app.name(), &app.target, &none)
            .await?;
    }
    for name in records.keys().filter(|name| *name != app.name()) {
        let kind = reclaim_testkit::Deletion::Async;
        namespace.delete_image(name, kind).await?;
    }
    Ok(())
}

/// Whether a record keeps the image, and all its content is there.
async fn is_kept(namespace: &NamespaceClient, app: &BuiltImage) -> bool {
    namespace.collect().await.unwrap();
    let images = namespace.images().await.unwrap();
    let blobs = namespace.blobs().await.unwrap();
    images.values().any(|digest| *digest == app.target.digest)
        && app.blobs.keys().all(|digest| blobs.contains_key(digest))
}

/// The image stays, with or without a name, whatever happens to a call, and the next run succeeds.
#[tokio::test(flavor = "multi_thread")]
async fn a_forced_removal_keeps_the_image_of_a_container() {
    let containerd = Containerd::builder().log_level("warn").start().await;
    let namespace = containerd.namespace("default");
    let app = image("docker.io/library/app:1")
        .layers([Layer::random(1, 2000)])
        .unpack("native")
        .build(&namespace)
        .await
        .unwrap();
    namespace.nerdctl_container("web", &app).await.unwrap();
    let proxy = FaultProxy::start(containerd.socket(), []);
    let undisturbed = reclaim(proxy.address(), &FORCED).await;
    assert_eq!(undisturbed.code, Some(0), "{undisturbed:#?}");
    assert!(is_kept(&namespace, &app).await);
    let calls: Vec<Call> = proxy.calls();
    drop(proxy);

    for call in calls {
        for (moment, harm) in HARMS {
            let ends = call.method != "events.v1.Events/Subscribe";
            if moment == Moment::After && !ends {
                continue;
            }
            reset(&namespace, &app).await.unwrap();
            let victim = Victim::default();
            let fault = Fault {
                call: call.clone(),
                moment,
                act: match harm {
                    Harm::Refused => Act::Refuse(Code::PermissionDenied),
                    Harm::Lost => Act::Cut,
                    Harm::Killed => victim.kill(),
                },
            };
            let ended = run_with_faults(containerd.socket(), &FORCED, [fault], &victim).await;
            let what = format!("{call} {moment:?} {harm:?}: {ended:#?}");
            assert!(is_kept(&namespace, &app).await, "{what}");
            let next = reclaim(containerd.address(), &PRUNE_DANGLING).await;
            assert_eq!(next.code, Some(0), "{what}\n{next:#?}");
            assert!(is_kept(&namespace, &app).await, "{what}\n{next:#?}");
        }
    }
}
