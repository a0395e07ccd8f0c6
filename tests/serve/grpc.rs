//! The gRPC API.

use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use reclaim_api::grpc::proto::container_service_client::ContainerServiceClient;
use reclaim_api::grpc::proto::prune_response::Event;
use reclaim_api::grpc::proto::prune_service_client::PruneServiceClient;
use reclaim_api::grpc::proto::selection::Which;
use reclaim_api::grpc::proto::{self, Container};
use reclaim_testkit::{BuiltImage, Layer, Signal, image};
use tokio::net::UnixStream;
use tokio_stream::StreamExt;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Status, Streaming};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tower::service_fn;

use crate::daemon::Daemon;
use crate::rig::Rig;

const SERVICES: [&str; 3] = [
    "reclaim.v1.PruneService",
    "reclaim.v1.ContainerService",
    "reclaim.v1.MaintenanceService",
];

pub(crate) async fn channel(socket: &Path) -> Channel {
    let socket: PathBuf = socket.to_owned();
    let connector = service_fn(move |_: Uri| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    let endpoint = Endpoint::from_static("http://d");
    endpoint.connect_with_connector(connector).await.unwrap()
}

pub(crate) async fn pruner(daemon: &Daemon) -> PruneServiceClient<Channel> {
    PruneServiceClient::new(channel(daemon.socket()).await)
}

pub(crate) async fn registrar(daemon: &Daemon) -> ContainerServiceClient<Channel> {
    ContainerServiceClient::new(channel(daemon.socket()).await)
}

/// Plans the removal of all unused images.
pub(crate) async fn planned(pruner: &mut PruneServiceClient<Channel>) -> proto::PlanResponse {
    let request = Some(all());
    let plan = pruner.plan(proto::PlanRequest { request }).await;
    plan.unwrap().into_inner()
}

pub(crate) fn all() -> proto::Request {
    let filters = proto::Filters {
        all: true,
        filters: Vec::new(),
    };
    proto::Request {
        selection: Some(proto::Selection {
            which: Some(Which::Filters(filters)),
        }),
        ..proto::Request::default()
    }
}

pub(crate) async fn built(rig: &Rig, name: &str) -> BuiltImage {
    let built = image(&format!("docker.io/library/{name}")).layers([Layer::named(name, 900)]);
    built.build(&rig.namespace).await.unwrap()
}

/// Returns the progress of a run and its report.
pub(crate) async fn finished(
    mut events: Streaming<proto::PruneResponse>,
) -> Result<(Vec<proto::Progress>, proto::Report), Status> {
    let mut progress = Vec::new();
    while let Some(message) = events.next().await {
        match message?.event.unwrap() {
            Event::Progress(event) => progress.push(event),
            Event::Report(report) => return Ok((progress, report)),
        }
    }
    panic!("no report");
}

pub(crate) fn removed(report: &proto::Report) -> Vec<&str> {
    report
        .removed
        .iter()
        .map(|image| image.name.as_str())
        .collect()
}

#[tokio::test]
async fn prunes_with_progress() {
    let rig = Rig::start().await;
    built(&rig, "app:1").await;
    let daemon = Daemon::start(rig.containerd.address(), &[]).await;
    let mut pruner = pruner(&daemon).await;
    let request = proto::PruneRequest {
        request: Some(all()),
        options: None,
    };
    let events = pruner.prune(request.clone()).await.unwrap().into_inner();
    let (progress, report) = finished(events).await.unwrap();
    assert_eq!(removed(&report), ["docker.io/library/app:1"]);
    assert!(report.reclaimed.unwrap().content_bytes > 900);
    assert!(
        progress.iter().any(|progress| progress.steps == 1),
        "{progress:?}"
    );
    assert_eq!(rig.names().await.len(), 0);
}

/// A plan can be applied once.
#[tokio::test]
async fn applies_the_steps_of_a_plan_that_are_still_valid() {
    let rig = Rig::start().await;
    let app = built(&rig, "app:1").await;
    built(&rig, "moved:1").await;
    built(&rig, "used:1").await;
    let daemon = Daemon::start(rig.containerd.address(), &[]).await;
    let mut pruner = pruner(&daemon).await;
    let plan = planned(&mut pruner).await;
    assert_eq!(removed(plan.report.as_ref().unwrap()).len(), 3);
    // Meanwhile a tag moves, and a container and another image are created.
    let moved = "docker.io/library/moved:1";
    let none = reclaim_testkit::Labels::new();
    rig.namespace
        .update_image(moved, &app.target, &none)
        .await
        .unwrap();
    let web = reclaim_testkit::NewContainer::new("web").image("docker.io/library/used:1");
    rig.namespace.create_container(web).await.unwrap();
    built(&rig, "late:1").await;
    // A request with invalid options does not use up the plan.
    let too_fast = proto::ApplyRequest {
        plan: plan.plan.clone(),
        options: Some(proto::Options {
            max_deletes_per_second: Some(10_001),
            ..proto::Options::default()
        }),
    };
    let refused = pruner.apply(too_fast).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let request = proto::ApplyRequest {
        plan: plan.plan.clone(),
        options: None,
    };
    let events = pruner.apply(request.clone()).await.unwrap().into_inner();
    let (_, report) = finished(events).await.unwrap();
    assert_eq!(removed(&report), ["docker.io/library/app:1"]);
    let left = ["late:1", "moved:1", "used:1"].map(|name| format!("docker.io/library/{name}"));
    assert_eq!(rig.names().await, left.into());
    let again = pruner.apply(request).await.unwrap_err();
    assert_eq!(again.code(), Code::NotFound);
}

#[tokio::test]
async fn one_run_at_a_time_over_all_apis() {
    let rig = Rig::start().await;
    built(&rig, "app:1").await;
    let daemon = Daemon::start(rig.containerd.address(), &["--grace", "2s"]).await;
    let mut first = pruner(&daemon).await;
    let request = proto::PruneRequest {
        request: Some(all()),
        options: None,
    };
    let events = first.prune(request.clone()).await.unwrap().into_inner();
    let running = tokio::spawn(finished(events));
    while !rig.names().await.is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let events = first.prune(request.clone()).await.unwrap().into_inner();
    let busy = finished(events).await.unwrap_err();
    assert_eq!(busy.code(), Code::Aborted);
    assert!(
        busy.message()
            .starts_with("a prune operation is already running"),
        "{busy}"
    );
    assert_eq!(busy.metadata().get("reclaim-error").unwrap(), "busy");
    let docker = daemon.prune(r#"{"dangling":["false"]}"#).await;
    assert_eq!(docker.refused(409), "a prune operation is already running");
    running.await.unwrap().unwrap();
    let waiting = proto::PruneRequest {
        options: Some(proto::Options {
            wait: true,
            ..proto::Options::default()
        }),
        ..request
    };
    let events = first.prune(waiting).await.unwrap().into_inner();
    finished(events).await.unwrap();
}

/// It would lock the namespace for weeks, and keep the daemon from ending.
#[tokio::test]
async fn refuses_a_grace_period_of_weeks() {
    let rig = Rig::start().await;
    built(&rig, "app:1").await;
    let mut daemon = Daemon::start(rig.containerd.address(), &[]).await;
    let mut pruner = pruner(&daemon).await;
    let request = proto::PruneRequest {
        request: Some(all()),
        options: Some(proto::Options {
            grace: Some(prost_types::Duration {
                seconds: 720 * 60 * 60,
                nanos: 0,
            }),
            ..proto::Options::default()
        }),
    };
    let refused = pruner.prune(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert_eq!(refused.message(), "grace: accepted are auto and 0s to 1m");
    assert!(rig.namespace.leases().await.unwrap().is_empty());
    assert_eq!(rig.names().await.len(), 1);
    daemon.signal(Signal::TERM);
    assert!(daemon.ended().await.success());
}

#[tokio::test]
async fn finishes_a_run_whose_client_disconnects() {
    let rig = Rig::start().await;
    built(&rig, "app:1").await;
    let daemon = Daemon::start(rig.containerd.address(), &["--grace", "300ms"]).await;
    {
        let mut pruner = pruner(&daemon).await;
        let request = proto::PruneRequest {
            request: Some(all()),
            options: None,
        };
        let events = pruner.prune(request).await.unwrap();
        while !rig.names().await.is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        drop(events);
    }
    while !rig.namespace.leases().await.unwrap().is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(rig.namespace.blobs().await.unwrap().len(), 0);
}

/// The request has the services of the project.
#[tokio::test]
async fn prunes_the_images_of_a_project() {
    let rig = Rig::start().await;
    for (name, service) in [
        ("shop-web", "web"),
        ("own/api", "api"),
        ("shop-gone", "gone"),
    ] {
        let of_project = [
            ("com.docker.compose.project", "shop"),
            ("com.docker.compose.service", service),
        ];
        image(&format!("docker.io/library/{name}:latest").replace("library/own", "own"))
            .config_labels(reclaim_testkit::labels(of_project))
            .layers([Layer::named(name, 900)])
            .build(&rig.namespace)
            .await
            .unwrap();
    }
    built(&rig, "db:1").await;
    let daemon = Daemon::start(rig.containerd.address(), &[]).await;
    let mut pruner = pruner(&daemon).await;
    let service = |image: &str| proto::project_images::Service {
        image: image.to_owned(),
    };
    let services = [("web", ""), ("api", "own/api"), ("db", "db:1")];
    let mut prune = async |mode: &str, remove_orphans: bool| {
        let services = services.map(|(name, image)| (name.to_owned(), service(image)));
        let request = proto::PruneProjectRequest {
            images: Some(proto::ProjectImages {
                project: "shop".to_owned(),
                services: services.into(),
                mode: mode.to_owned(),
                remove_orphans,
                ..proto::ProjectImages::default()
            }),
            ..proto::PruneProjectRequest::default()
        };
        let events = pruner.prune_project(request).await?.into_inner();
        let (_, report) = finished(events).await?;
        let removed = report.removed.into_iter().map(|image| image.name);
        Ok::<Vec<String>, Status>(removed.collect())
    };
    let wrong = prune("some", false).await.unwrap_err();
    let words = "mode: unsupported image prune mode: some; accepted are local, built and all";
    assert_eq!(wrong.message(), words);
    assert_eq!(
        prune("local", false).await.unwrap(),
        ["docker.io/library/shop-web:latest"]
    );
    assert_eq!(
        prune("built", false).await.unwrap(),
        ["docker.io/own/api:latest"]
    );
    let rest = [
        "docker.io/library/db:1",
        "docker.io/library/shop-gone:latest",
    ];
    assert_eq!(prune("all", true).await.unwrap(), rest);
    assert_eq!(rig.names().await.len(), 0);
}

#[tokio::test]
async fn errors_about_invalid_requests_name_the_field() {
    let rig = Rig::start().await;
    let daemon = Daemon::start(rig.containerd.address(), &[]).await;
    let mut pruner = pruner(&daemon).await;
    let mut refused = async |change: fn(&mut proto::Request)| {
        let mut request = all();
        change(&mut request);
        let request = proto::PlanRequest {
            request: Some(request),
        };
        let status = pruner.plan(request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        status.message().to_owned()
    };
    assert!(
        refused(|request| request.namespace = "a/b".to_owned())
            .await
            .starts_with("namespace: ")
    );
    assert!(
        refused(|request| request.selection = None)
            .await
            .starts_with("selection: ")
    );
    assert!(
        refused(|request| request.target_free = "x".to_owned())
            .await
            .starts_with("target_free: ")
    );
    let other = refused(|request| request.allow_empty = "other".to_owned()).await;
    assert!(other.starts_with("allow_empty: "), "{other}");
    let mut registrar = registrar(&daemon).await;
    let mut refused = async |owner: &str, seconds: i64, container: Container| {
        let request = proto::UpsertRequest {
            owner: owner.to_owned(),
            namespace: String::new(),
            containers: vec![container],
            time_to_live: Some(prost_types::Duration { seconds, nanos: 0 }),
        };
        let status = registrar.upsert(request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        status.message().to_owned()
    };
    let web = Container {
        id: "web".to_owned(),
        ..Container::default()
    };
    assert!(
        refused("../x", 60, web.clone())
            .await
            .starts_with("owner: ")
    );
    assert!(
        refused("x", 0, web.clone())
            .await
            .starts_with("time_to_live: accepted are 1s to 24h")
    );
    assert!(
        refused("x", -1, web.clone())
            .await
            .starts_with("time_to_live: accepted are 1s to 24h")
    );
    assert!(
        refused("x", 60, Container::default())
            .await
            .starts_with("containers.id: ")
    );
    let no_digest = Container {
        image_digest: "x".to_owned(),
        ..web
    };
    assert!(
        refused("x", 60, no_digest)
            .await
            .starts_with("containers.image_digest: ")
    );
}

/// Clients that watch the health do not keep the daemon from ending.
#[tokio::test]
async fn a_daemon_that_ends_notifies_clients_that_watch_its_health() {
    let rig = Rig::start().await;
    let mut daemon = Daemon::start(rig.containerd.address(), &[]).await;
    let mut health = HealthClient::new(channel(daemon.socket()).await);
    let (serving, not_serving) = (1, 2);
    let mut watching = Vec::new();
    for service in ["", "reclaim.v1.PruneService"] {
        let request = HealthCheckRequest {
            service: service.to_owned(),
        };
        let mut answers = health.watch(request).await.unwrap().into_inner();
        assert_eq!(answers.next().await.unwrap().unwrap().status, serving);
        watching.push(answers);
    }
    daemon.signal(Signal::TERM);
    for answers in watching {
        let rest: Vec<i32> = answers.map(|answer| answer.unwrap().status).collect().await;
        assert_eq!(rest, [not_serving]);
    }
    assert!(daemon.ended().await.success());
}

#[tokio::test]
async fn reports_its_health_and_its_services() {
    let rig = Rig::start().await;
    let daemon = Daemon::start(rig.containerd.address(), &[]).await;
    let channel = channel(daemon.socket()).await;
    let mut health = HealthClient::new(channel.clone());
    for service in [""].into_iter().chain(SERVICES) {
        let request = HealthCheckRequest {
            service: service.to_owned(),
        };
        let answer = health.check(request).await.unwrap().into_inner();
        assert_eq!(answer.status, 1, "{service}");
    }
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut reflection = ServerReflectionClient::new(channel);
    let answers = reflection
        .server_reflection_info(tokio_stream::once(request))
        .await;
    let answer = answers.unwrap().into_inner().next().await.unwrap().unwrap();
    let Some(MessageResponse::ListServicesResponse(services)) = answer.message_response else {
        panic!("{answer:?}");
    };
    let names: Vec<String> = services
        .service
        .into_iter()
        .map(|service| service.name)
        .collect();
    for service in SERVICES {
        assert!(names.iter().any(|name| name == service), "{names:?}");
    }
}
