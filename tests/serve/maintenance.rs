//! The maintenance service: invalid requests, and clients that disconnect. `tests/maintain`
//! compares its answers with the output of the command.

use std::fs;
use std::time::Duration;

use reclaim_api::grpc::proto;
use reclaim_api::grpc::proto::maintenance_service_client::MaintenanceServiceClient;
use reclaim_testkit::{Layer, image};
use tempfile::TempDir;
use tonic::Code;
use tonic::transport::Channel;

use crate::daemon::Daemon;
use crate::grpc::channel;
use crate::rig::Rig;

/// A daemon with a policy that removes everything, and the directory of its configuration.
async fn daemon(rig: &Rig) -> (Daemon, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("config.toml");
    let policy = "[[policy]]\nname = \"p\"\nall = true\nmin_age = \"0s\"\nlast_copies = true\n";
    fs::write(&config, policy).unwrap();
    let args = ["--config", config.to_str().unwrap()];
    let daemon = Daemon::start(rig.containerd.address(), &args).await;
    (daemon, directory)
}

async fn client(daemon: &Daemon) -> MaintenanceServiceClient<Channel> {
    MaintenanceServiceClient::new(channel(daemon.socket()).await)
}

#[tokio::test]
async fn every_call_refuses_invalid_names() {
    let rig = Rig::start().await;
    let (daemon, _directory) = daemon(&rig).await;
    let mut client = client(&daemon).await;
    let hostile = [
        (vec!["x".repeat(1 << 20)], "names[0]: it is not 1 to 63"),
        (vec!["p".to_owned(), "../p".to_owned()], "names[1]: "),
        (vec![String::new()], "names[0]: "),
        (vec!["p".to_owned(); 5000], "names: accepted are up to 1000"),
    ];
    for (names, words) in hostile {
        let run = proto::RunPoliciesRequest {
            names: names.clone(),
            dry_run: true,
        };
        let explain = proto::ExplainPoliciesRequest {
            names: names.clone(),
        };
        let history = proto::PolicyHistoryRequest { names };
        let refused = [
            client.run_policies(run).await.map(drop),
            client.explain_policies(explain).await.map(drop),
            client.policy_history(history).await.map(drop),
        ];
        for refused in refused {
            let refused = refused.unwrap_err();
            assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
            assert!(refused.message().starts_with(words), "{refused:?}");
        }
    }
    let unknown = proto::ExplainPoliciesRequest {
        names: vec!["q".to_owned()],
    };
    let unknown = client.explain_policies(unknown).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound, "{unknown:?}");
    assert_eq!(unknown.metadata().get("reclaim-error").unwrap(), "invalid");
    assert!(
        unknown.message().ends_with("those that are: p"),
        "{unknown:?}"
    );
}

#[tokio::test]
async fn finishes_a_run_whose_client_disconnects() {
    let rig = Rig::start().await;
    let app = image("docker.io/library/app:1").layers([Layer::named("app", 900)]);
    app.build(&rig.namespace).await.unwrap();
    let (daemon, _directory) = daemon(&rig).await;
    let mut asking = client(&daemon).await;
    let runs = asking.run_policies(proto::RunPoliciesRequest::default());
    drop(runs.await.unwrap());
    drop(asking);
    let mut client = client(&daemon).await;
    for _ in 0..600 {
        let history = client.policy_history(proto::PolicyHistoryRequest::default());
        if let [run] = &history.await.unwrap().into_inner().runs[..] {
            assert_eq!(run.outcome(), proto::Outcome::Done, "{run:#?}");
            assert_eq!(run.trigger(), proto::Trigger::Demand, "{run:#?}");
            assert_eq!(rig.names().await.len(), 0);
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the history has no run");
}
