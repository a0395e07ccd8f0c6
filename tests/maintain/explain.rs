//! `reclaim policy explain` and `reclaim policy history`.

use crate::host::{Host, removed};

const MIB: u64 = 1 << 20;

/// `policy explain` shows what a run then removes, and changes nothing.
#[tokio::test]
async fn explain_shows_what_a_run_removes() {
    let host = Host::start(128 * MIB).await;
    host.policy("high = \"30%\"\nlow = \"25%\"\nmax_images = 5\ninterval = \"5m\"");
    for number in 0..5 {
        host.image(&format!("i{number}:1"), number, 4 << 20).await;
    }
    let explained = host
        .with_state(&["policy", "explain", "--format", "json"])
        .exits(0)
        .json();
    let policy = &explained["policies"][0];
    assert_eq!(host.names().await.len(), 5);
    let now = &policy["namespaces"][0]["now"];
    let most = &policy["namespaces"][0]["at_most"];
    assert_eq!(most["removed"].as_array().unwrap().len(), 5, "{policy:#}");
    assert_eq!(policy["wanted"].as_array().unwrap().len(), 1, "{policy:#}");
    let planned: Vec<String> = crate::rig::names(&now["removed"])
        .into_iter()
        .map(|name| name.trim_start_matches("docker.io/library/").to_owned())
        .collect();
    assert!(!planned.is_empty() && planned.len() < 5, "{policy:#}");

    let shown = host
        .with_state(&["policy", "explain", "-v"])
        .exits(0)
        .stdout;
    for text in [
        "policy p",
        "runs every 5m",
        "starts above 30% used (bytes), stops at 25% used",
        "removes at most 5 images per run",
        "too full: ",
        "i0:1",
    ] {
        assert!(shown.contains(text), "no {text:?} in {shown}");
    }
    let run = host.once(0);
    assert_eq!(removed(&run), planned);
    assert_eq!(run["reports"][0]["estimate"], now["estimate"]);

    let history = host
        .with_state(&["policy", "history", "--format", "json"])
        .exits(0)
        .json();
    let runs = history["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 1, "{history:#}");
    assert_eq!(runs[0]["runs"][0]["removed"], planned.len());
    let table = host.with_state(&["policy", "history"]).exits(0).stdout;
    assert!(
        table.contains("USED BEFORE") && table.contains("done"),
        "{table}"
    );
}

/// `policy explain` warns of settings that are valid and probably not intended.
#[tokio::test]
async fn explain_warns_of_odd_settings() {
    let host = Host::start(64 * MIB).await;
    host.image("a:1", 1, 1000).await;
    host.configure(
        "[containerd]\nnamespaces = [\"default\", \"nowhere\"]\n\
         [protect]\nnamespaces = [\"default\"]\n\
         [[policy]]\nname = \"p\"\nnamespaces = [\"default\"]\n\
         high = \"1GB\"\nlow = \"2GB\"\nundo_window = \"1h\"\n\
         filters = [\"label=x\", \"label!=x\"]\n\
         [[policy]]\nname = \"q\"\ncron = \"0 0 31 2 *\"\n",
    );
    let shown = host.with_state(&["policy", "explain"]).exits(0).stdout;
    for text in [
        "neither cron nor interval",
        "all its namespaces are in protect.namespaces",
        "label filters contradict each other",
        "undo_window has no effect under pressure",
        "is always above high",
        "no policy has a cap",
        "never occurs",
        "namespace `nowhere` does not exist here",
    ] {
        assert!(shown.contains(text), "no {text:?} in {shown}");
    }
}
