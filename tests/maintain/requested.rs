//! Policies of a running `reclaim serve`, requested with `--host`.

use reclaim_testkit::Signal;
use serde_json::Value;

use crate::daemon::{Daemon, with_metrics};
use crate::host::{Host, removed};
use crate::rig::CommandOutput;

const MIB: u64 = 1 << 20;

/// Removes everything at once, and only on request.
const POLICY: &str = "[[policy]]\nname = \"p\"\nall = true\nmin_age = \"0s\"\nlast_copies = true\n";

const SUCCESS: &str = "reclaim_config_reload_success";

fn address(host: &Host) -> String {
    format!("unix://{}", host.directory.path().join("r.sock").display())
}

/// Starts a daemon with an API.
async fn serve(host: &Host) -> Daemon {
    let listen = address(host);
    let daemon = Daemon::start_as(host, &["serve", "--grace", "10ms", "--listen", &listen]);
    daemon
        .wait_for("reclaim_containerd_up", |value| value == 1)
        .await;
    daemon
}

/// Calls `reclaim --host` on the daemon.
fn ask(host: &Host, args: &[&str]) -> CommandOutput {
    host.reclaim(&[&["--host", &address(host)], args].concat())
}

/// Returns standard output without what differs in every call: the ID of the run, times, the process of
/// the caller, and the API that it used.
fn comparable(output: &CommandOutput) -> String {
    let is_id = |word: &str| word.len() == 36 && word.matches('-').count() == 4;
    let is_time = |word: &str| word.len() >= 20 && word.starts_with("20") && word.ends_with('Z');
    let lines = output.stdout.lines();
    let lines = lines.filter(|line| {
        !["\"pid\"", "\"entry_point\""]
            .iter()
            .any(|key| line.contains(key))
    });
    lines
        .collect::<Vec<_>>()
        .join("\n")
        .split('"')
        .map(|word| {
            if is_id(word) || is_time(word) {
                "X"
            } else {
                word
            }
        })
        .collect::<Vec<_>>()
        .join("\"")
}

#[tokio::test]
async fn prints_the_same_with_a_daemon_and_without() {
    let host = Host::start(128 * MIB).await;
    let other = "[[policy]]\nname = \"other\"\ncron = \"0 3 * * *\"\nhigh = \"1GB\"\nlow = \"2GB\"\n\
                 filters = [\"label!=x\", \"reference=*:2\"]\nmax_images = 3\n";
    host.configure(&with_metrics(&format!("{POLICY}{other}")));
    for number in 0..3 {
        host.image(&format!("i{number}:1"), number, 1 << 20).await;
    }
    let calls: &[&[&str]] = &[
        &["policy", "explain"],
        &["policy", "explain", "-v"],
        &["policy", "explain", "--format", "json"],
        &["policy", "explain", "--format", "json", "other"],
        &["maintain", "--once", "--dry-run"],
        &["maintain", "--once", "--dry-run", "--format", "json"],
        &["maintain", "--once", "--policy", "nothing"],
        &["policy", "explain", "nothing"],
        &["policy", "history", "--format", "json", "nothing"],
    ];
    let alone: Vec<CommandOutput> = calls.iter().map(|args| host.with_state(args)).collect();
    let _daemon = serve(&host).await;
    for (args, alone) in calls.iter().zip(alone) {
        let hosted = ask(&host, args);
        let case = format!("reclaim {}\n{alone:#?}\n{hosted:#?}", args.join(" "));
        assert_eq!(hosted.code, alone.code, "{case}");
        assert_eq!(comparable(&hosted), comparable(&alone), "{case}");
        assert_eq!(hosted.stderr, alone.stderr, "{case}");
    }
    let unknown = ask(&host, &["maintain", "--once", "--policy", "nothing"]).exits(2);
    let error = "error: there is no enabled policy `nothing`; those that are: p, other\n";
    assert_eq!(unknown.stderr, error);
    // `policy history` can read the state while a daemon runs.
    for args in [
        &["policy", "history"][..],
        &["policy", "history", "--format", "json", "p"],
    ] {
        let hosted = ask(&host, args).exits(0);
        assert_eq!(hosted.stdout, host.with_state(args).exits(0).stdout);
        assert!(hosted.stdout.contains('p'), "{hosted:?}");
    }
}

/// The daemon makes the requested run, and has it in its history and its metrics.
#[tokio::test]
async fn a_daemon_makes_requested_runs() {
    let host = Host::start(64 * MIB).await;
    host.image("a:1", 1, 1 << 20).await;
    host.configure(&with_metrics(POLICY));
    let daemon = serve(&host).await;

    let without_host = host.with_state(&["maintain", "--once"]).exits(1);
    let hint = "use --host unix:///run/reclaim/reclaim.sock";
    assert!(without_host.stderr.contains(hint), "{without_host:?}");
    let without_once = ask(&host, &["maintain"]).exits(2);
    assert!(
        without_once.stderr.contains("except with --once"),
        "{without_once:?}"
    );
    let state = host.state();
    let args = ["--state", state.to_str().unwrap()];
    for command in [
        &["maintain", "--once"][..],
        &["policy", "explain"],
        &["policy", "history"],
    ] {
        let refused = ask(&host, &[command, &args].concat()).exits(2);
        assert!(
            refused.stderr.contains("cannot use `--state` with --host"),
            "{refused:?}"
        );
    }

    let dry_run = ["maintain", "--once", "--dry-run", "--format", "json"];
    let run = ask(&host, &dry_run).exits(0).json();
    assert_eq!(removed(&run["runs"][0]), ["a:1"]);
    assert_eq!(host.names().await, ["a:1"]);
    let success = "reclaim_policy_last_success_timestamp_seconds{policy=\"p\"}";
    assert_eq!(daemon.metric(success).await, Some(0));
    let run = ask(&host, &["maintain", "--once", "--format", "json"])
        .exits(0)
        .json();
    assert_eq!(run["runs"][0]["trigger"], "demand", "{run:#}");
    assert_eq!(removed(&run["runs"][0]), ["a:1"]);
    assert_eq!(host.names().await, Vec::<String>::new());

    let history = ask(&host, &["policy", "history", "--format", "json"])
        .exits(0)
        .json();
    let runs: Vec<_> = history["runs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|run| (run["trigger"].clone(), run["dry_run"].clone()))
        .collect();
    let demand = Value::from("demand");
    assert_eq!(
        runs,
        [(demand.clone(), true.into()), (demand, false.into())]
    );
    let done = "reclaim_runs_total{policy=\"p\",trigger=\"demand\",outcome=\"done\"}";
    assert_eq!(daemon.metric(done).await, Some(2));
    assert!(daemon.metric(success).await.unwrap() > 0);
    assert!(daemon.stop().await.success());
}

/// A requested run counts for the schedule, and a dry run does not.
#[tokio::test]
async fn a_requested_run_postpones_the_next() {
    let host = Host::start(64 * MIB).await;
    host.configure(&with_metrics(&format!("{POLICY}interval = \"1h\"\n")));
    let daemon = serve(&host).await;
    let next = "reclaim_policy_next_timestamp_seconds{policy=\"p\"}";
    let now = jiff::Timestamp::now().as_second();
    let due = daemon.wait_for(next, |value| value > now + 3000).await;
    while jiff::Timestamp::now().as_second() < due - 3598 {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    ask(&host, &["maintain", "--once", "--dry-run"]).exits(0);
    assert_eq!(daemon.metric(next).await, Some(due));
    ask(&host, &["maintain", "--once"]).exits(0);
    assert!(daemon.metric(next).await.unwrap() > due);
}

/// Requests and the schedule wait for each other: none fails because another run is in progress.
#[tokio::test]
async fn requested_runs_wait_for_each_other() {
    let host = Host::start(64 * MIB).await;
    host.configure(&with_metrics(&format!("{POLICY}interval = \"1s\"\n")));
    let _daemon = serve(&host).await;
    for number in 0..3 {
        host.image(&format!("i{number}:1"), number, 1 << 18).await;
        let args = ["maintain", "--once", "--format", "json"];
        let outputs: Vec<CommandOutput> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..3).map(|_| scope.spawn(|| ask(&host, &args))).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        for output in outputs {
            let runs = output.exits(0).json();
            let outcome = runs["runs"][0]["outcome"].as_str().unwrap();
            assert!(["done", "nothing"].contains(&outcome), "{runs:#}");
        }
    }
    assert_eq!(host.names().await, Vec::<String>::new());
}

/// SIGHUP loads new policies; a refused configuration changes nothing.
#[tokio::test]
async fn requests_use_a_reloaded_configuration() {
    let host = Host::start(64 * MIB).await;
    let old = with_metrics(POLICY);
    host.configure(&old);
    let daemon = serve(&host).await;
    let explained = |name: &str| ask(&host, &["policy", "explain", name]).code;
    assert_eq!((explained("p"), explained("q")), (0, 2));

    host.configure(&old.replace("\"0s\"", "\"never\""));
    daemon.signal(Signal::HUP);
    daemon.wait_for(SUCCESS, |value| value == 0).await;
    assert_eq!((explained("p"), explained("q")), (0, 2));

    host.configure(&old.replace("\"p\"", "\"q\""));
    daemon.signal(Signal::HUP);
    let due = "reclaim_policy_next_timestamp_seconds{policy=\"q\"}";
    daemon.wait_for(due, |value| value == 0).await;
    assert_eq!((explained("p"), explained("q")), (2, 0));
    let unknown = ask(&host, &["maintain", "--once", "--policy", "p"]).exits(2);
    assert!(unknown.stderr.contains("those that are: q"), "{unknown:?}");

    host.configure(&old.replace(POLICY, ""));
    daemon.signal(Signal::HUP);
    for _ in 0..600 {
        if explained("q") == 2 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let none = ask(&host, &["maintain", "--once"]).exits(0);
    assert!(none.stderr.contains("no policy is enabled"), "{none:?}");
    let none = ask(&host, &["policy", "explain"]).exits(0);
    assert!(
        none.stderr.contains("nothing is removed automatically"),
        "{none:?}"
    );
}
