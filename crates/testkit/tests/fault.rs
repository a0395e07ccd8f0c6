//! The fault proxy forwards calls and applies faults.

#![expect(clippy::unwrap_used, reason = "a failure of the setup ends the test")]

use std::time::Duration;

use reclaim_testkit::fault::{Act, Call, Fault, FaultProxy, Hook, Moment, Outage, Request, Then};
use reclaim_testkit::{Containerd, Labels, NamespaceClient, NewLease};
use tonic::Code;

const CREATE: &str = "leases.v1.Leases/Create";

fn fault(nth: usize, moment: Moment, act: Act) -> Fault {
    Fault {
        call: Call {
            method: CREATE.to_owned(),
            nth,
        },
        moment,
        act,
    }
}

async fn through(proxy: &FaultProxy) -> NamespaceClient {
    let channel = containerd_client::connect(proxy.address()).await.unwrap();
    NamespaceClient::new(channel, "default")
}

/// Tries to create a lease, and returns the code and whether the lease is there.
async fn create(client: &NamespaceClient, direct: &NamespaceClient, id: &str) -> (Code, bool) {
    let created = client.create_lease(NewLease::new(id)).await;
    let code = created.map_or_else(|status| status.code(), |()| Code::Ok);
    (code, direct.leases().await.unwrap().contains_key(id))
}

/// Calls of every kind are forwarded completely, in both directions, and recorded.
#[tokio::test(flavor = "multi_thread")]
async fn forwards_streams_with_trailers() {
    let containerd = Containerd::start().await;
    let proxy = FaultProxy::start(containerd.socket(), []);
    let client = through(&proxy).await;
    let bytes = vec![7; 9 << 20];
    let digest = client.write_blob(&bytes, &Labels::new()).await.unwrap();
    assert_eq!(client.read_blob(&digest).await.unwrap(), bytes);
    let missing = client.image_record("docker.io/library/none:1").await;
    assert_eq!(missing.unwrap_err().code(), Code::NotFound);
    let calls: Vec<String> = proxy.calls().iter().map(ToString::to_string).collect();
    assert_eq!(
        calls,
        [
            "content.v1.Content/Write #0",
            "content.v1.Content/Read #0",
            "images.v1.Images/Get #0"
        ]
    );
}

/// Each fault strikes its call once, at its moment.
#[tokio::test(flavor = "multi_thread")]
async fn a_fault_strikes_its_call_before_or_after_the_effect() {
    let containerd = Containerd::start().await;
    let direct = containerd.namespace("default");
    let proxy = FaultProxy::start(
        containerd.socket(),
        [
            fault(1, Moment::Before, Act::Refuse(Code::Unavailable)),
            fault(2, Moment::After, Act::Refuse(Code::Unknown)),
            fault(3, Moment::Before, Act::Reset),
            fault(4, Moment::After, Act::Reset),
            fault(5, Moment::Before, Act::Cut),
            fault(7, Moment::After, Act::Cut),
        ],
    );
    let client = through(&proxy).await;
    assert_eq!(create(&client, &direct, "0").await, (Code::Ok, true));
    let refused = create(&client, &direct, "1").await;
    assert_eq!(refused, (Code::Unavailable, false));
    assert_eq!(create(&client, &direct, "2").await, (Code::Unknown, true));
    assert_eq!(create(&client, &direct, "3").await, (Code::Internal, false));
    assert_eq!(create(&client, &direct, "4").await, (Code::Internal, true));
    let (code, is_there) = create(&client, &direct, "5").await;
    assert!(code != Code::Ok && !is_there, "{code}");
    // The client reconnects by itself.
    assert_eq!(create(&client, &direct, "6").await, (Code::Ok, true));
    let (code, is_there) = create(&client, &direct, "7").await;
    assert!(code != Code::Ok && is_there, "{code}");
    assert_eq!(proxy.struck(), 6);
}

/// A delayed call does not delay others, and a hook runs before the call takes effect.
#[tokio::test(flavor = "multi_thread")]
async fn delays_only_one_call() {
    let containerd = Containerd::start().await;
    let direct = containerd.namespace("default");
    let watcher = direct.clone();
    let hook = Hook::new(move || {
        let watcher = watcher.clone();
        async move {
            let leases = watcher.leases().await.unwrap();
            assert!(!leases.contains_key("watched"));
            Then::Continue
        }
    });
    let late = Duration::from_millis(300);
    let proxy = FaultProxy::start(
        containerd.socket(),
        [
            fault(0, Moment::Before, Act::Delay(late)),
            fault(1, Moment::Before, Act::Run(hook)),
        ],
    );
    let client = through(&proxy).await;
    let began = tokio::time::Instant::now();
    let (delayed, others) = tokio::join!(client.create_lease(NewLease::new("late")), async {
        let leases = client.leases().await;
        (leases, began.elapsed())
    });
    delayed.unwrap();
    assert!(began.elapsed() >= late);
    assert!(others.1 < late && others.0.unwrap().is_empty());
    client.create_lease(NewLease::new("watched")).await.unwrap();
    assert_eq!(proxy.struck(), 2);
}

/// A client sees its connection break with containerd, and reconnects after a restart.
#[tokio::test(flavor = "multi_thread")]
async fn reconnects_after_a_restart_of_containerd() {
    let mut containerd = Containerd::start().await;
    let proxy = FaultProxy::start(containerd.socket(), []);
    let client = through(&proxy).await;
    client.create_lease(NewLease::new("kept")).await.unwrap();
    containerd.kill().await;
    assert!(client.leases().await.is_err());
    containerd.restart().await;
    let mut leases = client.leases().await;
    for _ in 0..100 {
        if leases.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        leases = client.leases().await;
    }
    assert!(leases.unwrap().contains_key("kept"));
}

/// An outage is permanent and strikes only requests that match it.
#[tokio::test(flavor = "multi_thread")]
async fn an_outage_strikes_one_object_in_one_namespace() {
    let containerd = Containerd::start().await;
    let none = Labels::new();
    let mut digests = Vec::new();
    for bytes in [b"one", b"two"] {
        for namespace in ["here", "there"] {
            let namespace = containerd.namespace(namespace);
            digests.push(namespace.write_blob(bytes, &none).await.unwrap());
        }
    }
    let (one, two) = (&digests[0], &digests[2]);
    let outage = Outage::of(
        &Request {
            method: "content.v1.Content/Read".to_owned(),
            namespace: "here".to_owned(),
            texts: vec![one.to_string()],
        },
        Act::Refuse(Code::Internal),
    );
    let proxy = FaultProxy::with_outages(containerd.socket(), [outage]);
    let channel = containerd_client::connect(proxy.address()).await.unwrap();
    let [here, there] = ["here", "there"].map(|name| NamespaceClient::new(channel.clone(), name));
    for _ in 0..3 {
        let refused = here.read_blob(one).await.unwrap_err();
        assert_eq!(refused.code(), Code::Internal);
        assert_eq!(here.read_blob(two).await.unwrap(), b"two");
        assert_eq!(there.read_blob(one).await.unwrap(), b"one");
    }
    assert_eq!(proxy.struck(), 3);
    assert_eq!(proxy.requests()[1].texts, [two.to_string()]);
}
