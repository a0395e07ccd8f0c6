//! What the metrics of the daemon say about itself and containerd, while both change.

use std::fs;

use rcgen::date_time_ymd;
use reclaim_testkit::{Layer, image};

use crate::authority::{Authority, free_port, params, text};
use crate::measured::Measured;
use crate::rig::Rig;

/// 2099-12-31T00:00:00Z.
const END_OF_2099: i64 = 4_102_358_400;
/// 2031-05-01T00:00:00Z.
const MAY_2031: i64 = 1_935_360_000;
/// 2032-05-01T00:00:00Z.
const MAY_2032: i64 = 1_966_982_400;

#[tokio::test(flavor = "multi_thread")]
async fn the_metrics_follow_containerd_and_its_images() {
    let mut rig = Rig::start().await;
    let mut configurations = Vec::new();
    for (number, name) in ["broken:1", "whole:1"].into_iter().enumerate() {
        let number = u64::try_from(number).unwrap();
        let built =
            image(&format!("docker.io/library/{name}")).layers([Layer::random(number, 900)]);
        let built = built.build(&rig.namespace).await.unwrap();
        configurations.push(built.manifests[0].config.digest.clone());
    }
    let broken = &configurations[0];
    let path = rig.containerd.content_dir();
    let path = path.join(broken.algorithm()).join(broken.hex());
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    let args = ["--undo-window", "1h"];
    let measured = Measured::start(rig.containerd.address(), &args).await;
    measured
        .until("reclaim_event_stream_up", |up| up == 1)
        .await;
    let unreadable = "reclaim_images_unreadable{namespace=\"default\"}";
    measured.until(unreadable, |images| images == 1).await;
    let calls = "reclaim_containerd_call_seconds_count{method=\"Version/Version\"}";
    measured.until(calls, |calls| calls > 0).await;
    for process in [
        "process_resident_memory_bytes",
        "process_virtual_memory_bytes",
        "process_start_time_seconds",
        "process_open_fds",
        "process_max_fds",
        "process_threads",
    ] {
        assert!(measured.metric(process).await.unwrap() > 0, "{process}");
    }

    let deleted = "reclaim_containerd_call_seconds_count{method=\"Images/Delete\"}";
    assert_eq!(measured.metric(deleted).await, None);
    assert_eq!(measured.metric("reclaim_held_bytes").await, Some(0));
    let prune = "/images/prune?filters=%7B%22dangling%22%3A%5B%22false%22%5D%7D";
    measured.daemon.ask("POST", prune).await.done();
    assert_eq!(measured.metric(deleted).await, Some(1));
    measured
        .until("reclaim_held_bytes", |bytes| bytes >= 900)
        .await;
    let written = "reclaim_state_last_write_timestamp_seconds";
    measured.until(written, |time| time > 0).await;
    assert_eq!(
        measured.metric("reclaim_state_write_failures_total").await,
        Some(0)
    );
    assert_eq!(
        measured.metric("reclaim_run_start_timestamp_seconds").await,
        Some(0)
    );

    rig.containerd.kill().await;
    measured
        .until("reclaim_event_stream_up", |up| up == 0)
        .await;
    measured.until_ready(503).await;
    let refused = "reclaim_containerd_call_errors_total\
                   {method=\"Version/Version\",code=\"Unavailable\"}";
    measured.until(refused, |errors| errors > 0).await;
    let answered = "reclaim_containerd_last_answer_timestamp_seconds";
    let last = measured.metric(answered).await.unwrap();
    assert!(last > 0);

    rig.containerd.restart().await;
    measured
        .until("reclaim_event_stream_up", |up| up == 1)
        .await;
    measured.until(answered, |time| time > last + 1).await;
}

#[tokio::test]
async fn the_metrics_have_the_end_of_the_tls_files() {
    let rig = Rig::start().await;
    let authority = Authority::new();
    let ending = |year: i32| {
        let mut params = params();
        params.not_after = date_time_ymd(year, 5, 1);
        authority.sign_params("server", &params)
    };
    let server = ending(2031);
    let list = authority.file("revoked.pem");
    fs::write(&list, authority.revoke(&[], 2099)).unwrap();
    let listen = format!("tcp://127.0.0.1:{}", free_port());
    let mut args = authority.options(&server);
    args.extend(["--tls-crl", text(&list), "--listen", &listen].map(str::to_owned));
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let measured = Measured::start(rig.containerd.address(), &args).await;
    let end = |kind: &str| format!("reclaim_tls_expiry_timestamp_seconds{{kind=\"{kind}\"}}");
    assert_eq!(measured.metric(&end("server")).await, Some(MAY_2031));
    assert_eq!(measured.metric(&end("crl")).await, Some(END_OF_2099));
    assert!(measured.metric(&end("client_ca")).await.unwrap() > END_OF_2099);
    ending(2032);
    measured.until(&end("server"), |end| end == MAY_2032).await;
}

/// The page is on the port of the metrics only if the configuration says so, and is made once a minute.
#[tokio::test(flavor = "multi_thread")]
async fn the_page_is_on_the_port_of_the_metrics_if_configured() {
    let rig = Rig::start().await;
    let built = image("docker.io/library/first:1").layers([Layer::random(1, 900)]);
    built.build(&rig.namespace).await.unwrap();
    let measured = Measured::start(rig.containerd.address(), &[]).await;
    assert_eq!(measured.get("/page").await.0, 404);
    measured.daemon.stop().await;

    let measured = Measured::configured(rig.containerd.address(), "page = true\n", &[]).await;
    let (status, html) = measured.get("/page").await;
    assert_eq!(status, 200, "{html}");
    assert!(
        html.starts_with("<!DOCTYPE html>") && html.contains("first:1"),
        "{html}"
    );
    assert!(html.contains("Content-Security-Policy"), "{html}");
    assert!(html.contains("No policy is enabled."), "{html}");
    let built = image("docker.io/library/second:1").layers([Layer::random(2, 900)]);
    built.build(&rig.namespace).await.unwrap();
    assert_eq!(measured.get("/page").await.1, html);
    assert_eq!(measured.get("/metrics").await.0, 200);
}
