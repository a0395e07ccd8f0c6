//! `CloudEvents` after policy runs, and the file of the last run.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use hyper::server::conn::http1;
use hyper::{HeaderMap, StatusCode};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::daemon::{CHECKS, Daemon, PAUSE, with_metrics};
use crate::host::Host;

const MIB: u64 = 1 << 20;

/// The events that were accepted, and how many requests to refuse before.
#[derive(Debug, Clone, Default)]
struct Receiver(Arc<Mutex<(Vec<Value>, usize)>>);

impl Receiver {
    /// Listens on a free port. Returns the URL.
    async fn start(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook?token=t", listener.local_addr().unwrap());
        let router = Router::new()
            .route("/hook", post(receive))
            .with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        url
    }

    /// As [`Self::start`], with TLS. Returns the URL, and the certificate to trust.
    async fn start_tls(&self) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let pem = certificate.pem();
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.into()],
                PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            )
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let router = Router::new()
            .route("/hook", post(receive))
            .with_state(self.clone());
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                // A client that does not trust the certificate ends the handshake.
                let Ok(stream) = acceptor.accept(stream).await else {
                    continue;
                };
                let service = TowerToHyperService::new(router.clone());
                let serving = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                serving.await.ok();
            }
        });
        (format!("https://localhost:{port}/hook"), pem)
    }

    fn events(&self) -> Vec<Value> {
        self.0.lock().unwrap().0.clone()
    }

    async fn until_received(&self, number: usize) -> Vec<Value> {
        for _ in 0..CHECKS {
            if self.events().len() >= number {
                return self.events();
            }
            tokio::time::sleep(PAUSE).await;
        }
        panic!("{:?}", self.events());
    }
}

async fn receive(State(receiver): State<Receiver>, headers: HeaderMap, body: Bytes) -> StatusCode {
    assert_eq!(
        headers["content-type"],
        "application/cloudevents+json; charset=utf-8"
    );
    let mut state = receiver.0.lock().unwrap();
    if state.1 > 0 {
        state.1 -= 1;
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    state.0.push(serde_json::from_slice(&body).unwrap());
    StatusCode::ACCEPTED
}

/// Writes a configuration with the receiver and one policy, `p`.
fn configure(host: &Host, url: &str, keys: &str) {
    let policy = "all = true\nmin_age = \"0s\"\nlast_copies = true\n";
    let text = format!("[events]\nurl = \"{url}\"\n[[policy]]\nname = \"p\"\n{policy}{keys}\n");
    host.configure(&with_metrics(&text));
}

fn last_run(host: &Host) -> Value {
    let text = std::fs::read_to_string(host.state().join("last-run.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_recorded_run_is_an_event_and_the_last_one_a_file() {
    let host = Host::start(64 * MIB).await;
    let receiver = Receiver::default();
    configure(&host, &receiver.start().await, "");
    host.image("a:1", 1, 1 << 20).await;
    let run = host.once(0);
    let events = receiver.events();
    let [event] = &events[..] else {
        panic!("{events:#?}")
    };
    let last = last_run(&host);
    assert_eq!(event["data"], last);
    assert_eq!(last["runs"][0]["removed"], 1);
    let history = ["policy", "history", "--format", "json"];
    let history = host.with_state(&history).exits(0).json();
    assert_eq!(history["runs"][0], last);
    for (key, expected) in [
        ("specversion", json!("1.0")),
        ("id", run["reports"][0]["run"].clone()),
        ("type", json!("reclaim.policy.ran")),
        ("subject", json!("p")),
        ("time", run["ended"].clone()),
        ("datacontenttype", json!("application/json")),
    ] {
        assert_eq!(event[key], expected, "{event:#}");
    }
    let source = event["source"].as_str().unwrap();
    assert!(
        source.starts_with("/reclaim/") && source.len() > 9,
        "{source}"
    );
}

/// The receiver refuses at first. The daemon retries, and its policies run meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn the_daemon_sends_what_cannot_be_met_and_retries() {
    let host = Host::start(64 * MIB).await;
    let receiver = Receiver::default();
    receiver.0.lock().unwrap().1 = 1;
    let unmet = "max_used = \"1kB\"\ninterval = \"1s\"";
    configure(&host, &receiver.start().await, unmet);
    let used = host.image("a:1", 1, 1 << 20).await;
    let namespace = &host.rig.namespace;
    namespace.nerdctl_container("user", &used).await.unwrap();
    let daemon = Daemon::start_as(&host, &["maintain"]);
    let event = receiver.until_received(1).await.remove(0);
    assert_eq!(event["type"], "reclaim.policy.unmet", "{event:#}");
    assert_eq!(event["data"]["outcome"], "unmet");
    assert_eq!(event["data"]["trigger"], "schedule");
    assert!(daemon.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn https_trusts_the_certificates_of_the_system() {
    let host = Host::start(64 * MIB).await;
    let receiver = Receiver::default();
    let (url, pem) = receiver.start_tls().await;
    configure(&host, &url, "max_used = \"1kB\"\ninterval = \"1s\"");
    let used = host.image("a:1", 1, 1 << 20).await;
    let namespace = &host.rig.namespace;
    namespace.nerdctl_container("user", &used).await.unwrap();
    // The system does not know this certificate.
    assert_eq!(host.once(5)["outcome"], "unmet");
    assert_eq!(receiver.events(), [] as [Value; 0]);
    let trusted = host.directory.path().join("ca.pem");
    std::fs::write(&trusted, pem).unwrap();
    let environment = [("SSL_CERT_FILE", &*trusted)];
    let daemon = Daemon::start_with(&host, &["maintain"], &environment);
    let event = receiver.until_received(1).await.remove(0);
    assert_eq!(event["type"], "reclaim.policy.unmet");
    assert!(daemon.stop().await.success());
}

/// A run ends as it would without events.
#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_away_fails_no_run() {
    let host = Host::start(64 * MIB).await;
    configure(&host, "http://127.0.0.1:1/", "");
    host.image("a:1", 1, 1 << 20).await;
    let run = host.once(0);
    assert_eq!(run["outcome"], "done");
    assert_eq!(last_run(&host)["outcome"], "done");
    for url in ["ftp://host/", "https://user@host/", "host", "http://"] {
        configure(&host, url, "");
        let output = host.reclaim(&["config", "check"]).exits(2);
        assert!(
            output.stderr.contains("events.url: not an http"),
            "{output:?}"
        );
    }
}
