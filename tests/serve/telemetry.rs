//! Spans and logs of a run.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::trace::v1::Span;
use reclaim_testkit::image;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use crate::rig::Rig;

/// An OpenTelemetry collector that keeps the spans.
#[derive(Clone, Default)]
struct Collector {
    spans: Arc<Mutex<Vec<Span>>>,
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let spans = request
            .into_inner()
            .resource_spans
            .into_iter()
            .flat_map(|resource| resource.scope_spans)
            .flat_map(|scope| scope.spans);
        self.spans.lock().unwrap().extend(spans);
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

/// The span of the run has the run ID of the report.
#[tokio::test(flavor = "multi_thread")]
async fn sends_the_spans_of_a_run_to_a_collector() {
    let rig = Rig::start().await;
    image("docker.io/library/app:1")
        .build(&rig.namespace)
        .await
        .unwrap();
    let collector = Collector::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let service = TraceServiceServer::new(collector.clone());
    let incoming = TcpListenerStream::new(listener);
    let serving = tokio::spawn(
        Server::builder()
            .add_service(service)
            .serve_with_incoming(incoming),
    );
    let prune = [
        "image", "prune", "-a", "-f", "--grace", "1ms", "--format", "json",
    ];
    let args = [&["--otlp-endpoint", &*endpoint][..], &prune].concat();
    let report = tokio::task::block_in_place(|| rig.reclaim(&args))
        .exits(0)
        .json();
    serving.abort();
    let spans = collector.spans.lock().unwrap().clone();
    let names: BTreeSet<&str> = spans.iter().map(|span| span.name.as_str()).collect();
    for name in [
        "image_prune",
        "observe",
        "plan",
        "hold",
        "look_again",
        "collect",
        "measure",
    ] {
        assert!(names.contains(name), "no span {name}: {names:?}");
    }
    let prune = spans
        .iter()
        .find(|span| span.name == "image_prune")
        .unwrap();
    let run = prune
        .attributes
        .iter()
        .find(|attribute| attribute.key == "run")
        .unwrap();
    let run = format!("{:?}", run.value);
    assert!(run.contains(report["run"].as_str().unwrap()), "{run}");
    let within = spans
        .iter()
        .filter(|span| span.trace_id == prune.trace_id)
        .count();
    assert!(within >= 7, "{within} spans of one trace");
}

#[tokio::test]
async fn logs_as_json() {
    let rig = Rig::start().await;
    image("docker.io/library/app:1")
        .build(&rig.namespace)
        .await
        .unwrap();
    let args = [
        "--log-level",
        "info",
        "--log-format",
        "json",
        "image",
        "prune",
        "-a",
        "-f",
    ];
    let output = rig.reclaim(&args).exits(0);
    let lines: Vec<Value> = output
        .stderr
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    let pruned = lines
        .iter()
        .find(|line| line["fields"]["message"] == "pruned")
        .unwrap();
    assert_eq!(pruned["fields"]["removed"], 1);
    assert_eq!(pruned["span"]["name"], "image_prune");
    assert!(pruned["span"]["run"].is_string());
}
