//! containerd uses the remote snapshotter, and passes its errors on.

use reclaim_testkit::{Containerd, Health, Layer, ProxySnapshotter, image};
use tonic::Code;

#[tokio::test(flavor = "multi_thread")]
async fn containerd_unpacks_into_a_proxy_and_passes_its_errors_on() {
    let mut proxy = ProxySnapshotter::start("lazy");
    let containerd: Containerd = proxy.containerd().start().await;
    let namespace = containerd.namespace("default");
    let app = image("app:1").layers([Layer::named("a", 100), Layer::named("b", 100)]);
    let app = app.unpack("lazy").build(&namespace).await.unwrap();
    namespace.nerdctl_container("web", &app).await.unwrap();
    let (_, top) = app.unpacked();
    let listed = namespace.snapshots("lazy").await.unwrap();
    assert_eq!(listed.len(), 3, "{listed:?}");
    assert_eq!(listed["web"].parent, Some(top.to_string()));
    assert_eq!(namespace.usage("lazy", "web").await.unwrap(), (4096, 1));

    proxy.set(Health::WithoutSizes(Code::Unimplemented));
    let usage = namespace.usage("lazy", "web").await.unwrap_err();
    assert_eq!(usage.code(), Code::Unimplemented);
    assert_eq!(namespace.snapshots("lazy").await.unwrap().len(), 3);
    proxy.set(Health::Failing(Code::Internal));
    namespace.snapshots("lazy").await.unwrap_err();
    proxy.set(Health::Healthy);
    assert_eq!(namespace.snapshots("lazy").await.unwrap().len(), 3);
    proxy.die().await;
    namespace.snapshots("lazy").await.unwrap_err();
}
