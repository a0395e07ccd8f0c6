//! A containerd that does not answer, is down, or has not started yet.

use std::time::Duration;

use reclaim_testkit::{Containerd, Layer, Signal, image};
use tokio::time::Instant;

use crate::daemon::Daemon;
use crate::measured::Measured;
use crate::prune::wait_until_gone;
use crate::rig::Rig;

async fn rig_with_one_image() -> Rig {
    let rig = Rig::start().await;
    let app = image("docker.io/library/app:1").layers([Layer::random(1, 900)]);
    app.build(&rig.namespace).await.unwrap();
    rig
}

/// Prints a time, in a way that the test runner does not capture.
fn announce(what: &str, took: Duration) {
    use std::io::Write;
    let line = format!("{what}: {:.1} s\n", took.as_secs_f32());
    std::io::stderr().write_all(line.as_bytes()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_containerd_makes_the_daemon_unready_and_fails_requests() {
    let rig = rig_with_one_image().await;
    let measured = Measured::start(rig.containerd.address(), &[]).await;
    announce("ready", measured.until_ready(200).await);
    assert_eq!(measured.health(&[]), (0, "ready\n".to_owned()));
    rig.containerd.signal(Signal::STOP);
    let began = Instant::now();
    let (refused, unready) = tokio::join!(
        async {
            let answer = measured.daemon.ask("POST", "/images/prune").await;
            (answer.refused(503), began.elapsed())
        },
        measured.until_ready(503)
    );
    let (message, took) = refused;
    assert!(message.contains("no answer from containerd"), "{message}");
    announce("not ready after SIGSTOP", unready);
    let error = "error: 503 Service Unavailable: containerd does not answer\n";
    assert_eq!(measured.health(&[]), (1, error.to_owned()));
    assert_eq!(measured.health(&["--live"]), (0, "alive\n".to_owned()));
    announce("POST /images/prune ends", took);
    // Over gRPC, after containerd has not answered for a while.
    let host = format!("unix://{}", measured.daemon.socket().display());
    let began = Instant::now();
    let args = ["--host", &host, "image", "prune", "-a", "-f"];
    let output = tokio::task::block_in_place(|| rig.reclaim(&args)).exits(1);
    announce("prune over gRPC ends", began.elapsed());
    let stderr = &output.stderr;
    assert!(stderr.contains("no answer from containerd"), "{output:#?}");
    rig.containerd.signal(Signal::CONT);
    announce("ready after SIGCONT", measured.until_ready(200).await);
    measured.daemon.ask("POST", "/images/prune").await.done();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_ends_while_containerd_is_stopped() {
    let rig = rig_with_one_image().await;
    let mut measured = Measured::start(rig.containerd.address(), &[]).await;
    measured.until_ready(200).await;
    rig.containerd.signal(Signal::STOP);
    let asking = measured.daemon.ask("POST", "/images/prune");
    // The request has started, and gets no answer.
    let pending = tokio::time::timeout(Duration::from_secs(2), asking).await;
    assert!(pending.is_err(), "{pending:?}");
    let began = Instant::now();
    measured.daemon.signal(Signal::TERM);
    let status = measured.daemon.ended().await;
    announce("SIGTERM ends", began.elapsed());
    assert!(status.success(), "{status}");
    rig.containerd.signal(Signal::CONT);
    let names = rig.names().await;
    assert_eq!(names.len(), 1, "{names:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_without_a_daemon_fails_with_an_error_that_names_containerd() {
    let rig = rig_with_one_image().await;
    rig.containerd.signal(Signal::STOP);
    let began = Instant::now();
    let output = rig.reclaim(&["image", "prune", "-a", "-f"]).exits(1);
    announce("image prune ends", began.elapsed());
    let stderr = &output.stderr;
    assert!(stderr.contains("no answer from containerd"), "{output:#?}");
    rig.containerd.signal(Signal::CONT);
}

#[tokio::test(flavor = "multi_thread")]
async fn becomes_ready_when_containerd_starts() {
    let mut containerd = Containerd::start().await;
    let address = containerd.address().to_owned();
    containerd.kill().await;
    let measured = Measured::start(&address, &[]).await;
    assert_eq!(measured.get("/live").await.0, 200);
    measured.until_ready(503).await;
    measured
        .daemon
        .ask("POST", "/images/prune")
        .await
        .refused(503);
    containerd.restart().await;
    let rig = Rig::on(containerd);
    measured.until_ready(200).await;
    let app = image("docker.io/library/app:1").layers([Layer::random(1, 900)]);
    app.build(&rig.namespace).await.unwrap();
    let filters = r#"{"dangling":["false"]}"#;
    measured.daemon.prune(filters).await.done();
    assert_eq!(rig.names().await.len(), 0);
}

/// containerd stops after the removals and before the second look.
#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_ends_during_a_run_loses_nothing() {
    let rig = rig_with_one_image().await;
    let mut daemon = Daemon::start(rig.containerd.address(), &["--grace", "5s"]).await;
    let filters = crate::daemon::form_urlencoded(r#"{"dangling":["false"]}"#);
    let path = format!("/images/prune?filters={filters}");
    let asking = daemon.ask("POST", &path);
    let stopped = async {
        wait_until_gone(&rig).await;
        rig.containerd.signal(Signal::STOP);
    };
    tokio::select! {
        answer = asking => panic!("{answer:?}"),
        () = stopped => {}
    }
    let began = Instant::now();
    daemon.signal(Signal::TERM);
    let status = daemon.ended().await;
    announce("SIGTERM ends during a run", began.elapsed());
    assert!(status.success(), "{status}");
    rig.containerd.signal(Signal::CONT);
    // The next run restores what is held, and evaluates it again.
    let report = rig
        .reclaim(&["image", "prune", "-a", "-f", "--format", "json"])
        .exits(0)
        .json();
    let removed = report["removed"].as_array().unwrap();
    assert_eq!(removed.len(), 1, "{report:#}");
    assert_eq!(rig.namespace.leases().await.unwrap().len(), 0);
}
