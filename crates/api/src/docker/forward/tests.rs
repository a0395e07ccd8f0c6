//! Requests through a listener of ours to a scripted engine.

mod fixture;
mod plain;
mod refused;
mod streams;

use super::*;

fn engine_at(address: &str) -> EngineAddress {
    let address = reclaim_engine::DockerAddress::new(address, None).unwrap();
    address.try_into().unwrap()
}

/// Returns a forwarder that answers these requests itself.
fn answering(answered: &[Answered]) -> Forwarder {
    let engine = engine_at("unix:///nonexistent");
    let answered = answered.iter().copied().chain([Answered::Prune]).collect();
    Forwarder {
        shared: Arc::new(Shared {
            engine,
            answered,
            gate: Gate::new(&[]).unwrap(),
            via: Via::new(Uuid::nil()),
            cut: CancellationToken::new(),
        }),
    }
}

/// By default only prunes of images are answered here, in every spelling that the engine accepts.
#[test]
fn decides_what_is_answered_here() {
    let prune = answering(&[]);
    let more = answering(&Answered::ALL);
    for (method, path, by_default, with_all) in [
        (Method::POST, "/images/prune", true, true),
        (Method::POST, "/v1.51/images/prune", true, true),
        (Method::POST, "/v1.99/images/prune", true, true),
        (Method::POST, "/v1.24/images/prune", true, true),
        (Method::POST, "/v1.51/images/%70rune", true, true),
        (Method::POST, "/v1%2E51/images%2Fprune", true, true),
        (Method::POST, "/containers/prune", false, false),
        (Method::POST, "/networks/prune", false, false),
        (Method::POST, "/volumes/prune", false, false),
        (Method::POST, "/build/prune", false, false),
        (Method::GET, "/images/prune", false, false),
        (Method::GET, "/v1.51/images/json", false, true),
        (Method::GET, "/v1.51/images/a/b:1/json", false, true),
        (Method::GET, "/v1.51/images/a%2Fb:1/history", false, true),
        (Method::GET, "/v1.51/images/a/get", false, false),
        (Method::DELETE, "/v1.51/images/a/b:1", false, true),
        (Method::GET, "/v1.51/system/df", false, true),
        (Method::POST, "/images/load", false, false),
        (Method::POST, "/images/create", false, false),
        (Method::GET, "/_ping", false, false),
        (Method::GET, "/version", false, false),
        (Method::GET, "/events", false, false),
        (Method::POST, "/grpc", false, false),
        (Method::POST, "/session", false, false),
        (
            Method::POST,
            "/moby.buildkit.v1.Control/Solve",
            false,
            false,
        ),
        (Method::GET, "/live", true, true),
        (Method::GET, "/ready", true, true),
        (Method::GET, "/reclaim/v1/images", true, true),
        (Method::POST, "/reclaim.v1.PruneService/Prune", true, true),
        (Method::POST, "/grpc.health.v1.Health/Check", true, true),
    ] {
        assert_eq!(prune.answers(&method, path), by_default, "{method} {path}");
        assert_eq!(more.answers(&method, path), with_all, "{method} {path}");
    }
}

/// Of versions that the engine has and we do not know, the newest known one is answered.
#[test]
fn a_newer_version_is_answered_as_the_newest_known_one() {
    let known = |path: &str| {
        let request = Request::post(path).body(Body::empty()).unwrap();
        with_known_version(request).uri().to_string()
    };
    let newest = format!("/v{NEWEST}/images/prune?filters=%7B%7D");
    assert_eq!(known("/v1.99/images/prune?filters=%7B%7D"), newest);
    assert_eq!(known(&newest), newest);
    for same in [
        "/v1.24/images/prune",
        "/images/prune",
        "/v1.40/images/json?all=1",
    ] {
        assert_eq!(known(same), same);
    }
}

#[test]
fn recognises_requests_that_take_their_connection() {
    for (method, path, takes) in [
        (Method::POST, "/v1.51/containers/a/attach", true),
        (Method::POST, "/containers/a/attach", true),
        (Method::POST, "/v1.24/exec/0f/start", true),
        (Method::POST, "/v1.24/exec/0f/%73tart", true),
        (Method::GET, "/containers/a/attach", false),
        (Method::GET, "/containers/a/attach/ws", false),
        (Method::POST, "/containers/a/start", false),
        (Method::POST, "/exec/0f/resize", false),
        (Method::POST, "/containers/attach", false),
    ] {
        assert_eq!(takes_connection(&method, path), takes, "{method} {path}");
    }
}
