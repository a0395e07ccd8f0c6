//! `reclaim policy try`: a replay of what was recorded, directly and from a daemon.

use std::fs;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use reclaim_testkit::Browser;
use serde_json::{Value, json};

use crate::daemon::{Daemon, with_metrics};
use crate::host::{Host, removed};

const MIB: u64 = 1 << 20;

const KEYS: &str = "interval = \"1h\"\nunused_for = \"24h\"";

fn lines(state: &Path) -> Vec<Value> {
    let text = fs::read_to_string(state.join("timeline.jsonl")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    lines.collect()
}

fn time(value: &Value) -> Timestamp {
    value.as_str().unwrap().parse().unwrap()
}

/// Moves what was recorded so many days into the past, and adds a line for each day since. On the last of them
/// the image with this name is used.
fn make_old(state: &Path, days: i64, used: &str) -> Timestamp {
    let mut lines = lines(state);
    assert_eq!(lines.len(), 1, "{lines:#?}");
    let by = SignedDuration::from_hours(24 * days);
    let back = |value: &mut Value| *value = json!(time(value) - by);
    let first = &mut lines[0];
    assert_eq!(first["begins"], true, "{first:#}");
    back(&mut first["at"]);
    back(&mut first["wall"]);
    let mut used_id = None;
    for image in first["images"].as_array_mut().unwrap() {
        back(&mut image["first_seen"]);
        back(&mut image["last_used"]);
        for name in image["names"].as_array_mut().unwrap() {
            back(&mut name["created"]);
            back(&mut name["updated"]);
        }
        if image["names"][0]["name"] == format!("docker.io/library/{used}") {
            used_id = Some(image["id"].clone());
        }
    }
    let (at, wall) = (time(&first["at"]), time(&first["wall"]));
    let filesystems = first["filesystems"].clone();
    assert_eq!(filesystems.as_array().unwrap().len(), 1, "{filesystems:#}");
    for day in 1..days {
        let passed = SignedDuration::from_hours(24 * day + 1);
        let mut line = json!({
            "version": 1,
            "at": at + passed,
            "wall": wall + passed,
            "filesystems": filesystems,
        });
        if day + 1 == days {
            let before = at + passed - SignedDuration::from_mins(30);
            line["used"] = json!([{"image": used_id, "at": before}]);
        }
        lines.push(line);
    }
    let lines: Vec<String> = lines.iter().map(Value::to_string).collect();
    fs::write(state.join("timeline.jsonl"), lines.join("\n") + "\n").unwrap();
    wall
}

#[tokio::test]
async fn a_trial_replays_what_was_recorded_directly_and_from_a_daemon() {
    let host = Host::start(128 * MIB).await;
    host.policy(KEYS);
    let config = host.config();
    let config = config.to_str().unwrap();
    let nothing = host.with_state(&["policy", "try", config]).exits(0).stdout;
    assert!(nothing.contains("recorded: nothing yet"), "{nothing}");
    for number in 0..3 {
        host.image(&format!("i{number}:1"), number, 4 << 20).await;
    }
    // A command that reads the last use records, too.
    host.with_state(&["policy", "explain"]).exits(0);
    let wall = make_old(&host.state(), 5, "i1:1");

    let trying = ["policy", "try", config, "--format", "json"];
    let trial = host.with_state(&trying).exits(0).json();
    let images = trial["images"].as_array().unwrap();
    let mut names: Vec<&str> = images
        .iter()
        .map(|image| image["names"][0].as_str().unwrap())
        .collect();
    names.sort_unstable();
    let name = |number: u8| format!("docker.io/library/i{number}:1");
    assert_eq!(names, [name(0), name(1), name(2)], "{trial:#}");
    assert_eq!(
        (&trial["removed_images"], &trial["pulled_again"]),
        (&json!(3), &json!(1))
    );
    for image in images {
        let removed = time(&image["at"]);
        assert_eq!(removed, wall + SignedDuration::from_hours(25), "{image:#}");
        let is_used = image["names"][0] == name(1);
        assert_eq!(image["pulled_again"].is_null(), !is_used, "{image:#}");
        // A layer compressed and unpacked.
        assert!(image["bytes"].as_u64().unwrap() > 8 * MIB, "{image:#}");
    }
    assert!(
        trial["freed_bytes"].as_u64().unwrap() > 24 * MIB,
        "{trial:#}"
    );
    let pulled = trial["pulled_bytes"].as_u64().unwrap();
    assert!((4 * MIB..5 * MIB).contains(&pulled), "{trial:#}");
    let points = trial["filesystems"][0]["points"].as_array().unwrap();
    assert_eq!(points.len(), 5, "{trial:#}");
    let left = |point: &Value, key: &str| point[key].as_u64().unwrap();
    let (first, last) = (&points[0], &points[4]);
    assert_eq!(
        left(first, "tried_left_bytes"),
        left(first, "recorded_left_bytes")
    );
    let gained = left(last, "tried_left_bytes") - left(last, "recorded_left_bytes");
    assert!((16 * MIB..18 * MIB).contains(&gained), "{trial:#}");

    let shown = host
        .with_state(&["policy", "try", config, "-v"])
        .exits(0)
        .stdout;
    for text in [
        "tried: p",
        "would have removed 3 images, freeing ",
        "would have been pulled again: 1 image, 4.",
        "`*` as tried",
        " 100% |",
        "i0:1",
        "PULLED AGAIN",
    ] {
        assert!(shown.contains(text), "no {text:?} in {shown}");
    }
    trial_page(&host, config);
    let unknown = host.with_state(&["policy", "try", config, "--policy", "q"]);
    assert!(
        unknown
            .exits(2)
            .stderr
            .contains("there is no enabled policy `q`")
    );

    // Nothing of the host changed.
    assert_eq!(host.names().await.len(), 3);
    from_a_daemon(&host, &trial).await;
}

/// A daemon sends the same to another file of policies, and records what policies really remove.
async fn from_a_daemon(host: &Host, direct: &Value) {
    let other = host.directory.path().join("try.toml");
    fs::copy(host.config(), &other).unwrap();
    host.configure(&with_metrics(
        "[[policy]]\nname = \"now\"\nall = true\nmin_age = \"0s\"\nlast_copies = true\n",
    ));
    let address = format!("unix://{}", host.directory.path().join("r.sock").display());
    let daemon = Daemon::start_as(host, &["serve", "--grace", "10ms", "--listen", &address]);
    daemon
        .wait_for("reclaim_containerd_up", |value| value == 1)
        .await;
    let other = other.to_str().unwrap();
    let hosted = [
        "--host", &address, "policy", "try", other, "--format", "json",
    ];
    let hosted = host.reclaim(&hosted).exits(0).json();
    // Since it started, it has seen that they were used later than the moved record says.
    let without_next = |trial: &Value| {
        let mut images = trial["images"].as_array().unwrap().clone();
        for image in &mut images {
            image["pulled_again"].take();
        }
        images
    };
    assert_eq!(without_next(&hosted), without_next(direct), "{hosted:#}");

    daemon_page(host, &address);

    let run = ["--host", &address, "maintain", "--once", "--format", "json"];
    let run = host.reclaim(&run).exits(0).json();
    assert_eq!(removed(&run["runs"][0]).len(), 3, "{run:#}");
    let lines = lines(&host.state());
    let removed = lines.iter().filter_map(|line| line["removed"].as_array());
    let removed: Vec<&Value> = removed.flatten().collect();
    assert_eq!(removed.len(), 3, "{lines:#?}");
    assert!(removed.iter().all(|it| it["policy"] == "now"), "{lines:#?}");
}

/// The daemon's page has what its policy would remove now, and how full the disk is.
fn daemon_page(host: &Host, address: &str) {
    let file = host.directory.path().join("page.html");
    let written = ["--host", address, "df", "--html", file.to_str().unwrap()];
    host.reclaim(&written).exits(0);
    let mut browser = Browser::start(1000, 1400);
    browser.open(&format!("file://{}", file.display()));
    assert_eq!(browser.complaints, Vec::<String>::new());
    let titles = "[...document.querySelectorAll('section[aria-labelledby=removals] h3')]\
                  .map(it => it.textContent.split(',')[0])";
    let expected = json!(["image prune -a: 3 images", "policy now: 3 images"]);
    assert_eq!(browser.evaluate(titles), expected);
    browser.evaluate("document.querySelectorAll('details').forEach(it => it.open = true)");
    let rows = "[...document.querySelectorAll('section[aria-labelledby=removals] tbody tr')]\
                .map(it => it.cells[0].textContent + ' ' + it.cells[2].textContent).sort()";
    let twice = ["i0:1", "i1:1", "i2:1"]
        .map(|name| [format!("{name} not in use"), format!("{name} not in use")]);
    assert_eq!(browser.evaluate(rows), json!(twice.concat()));
    let filling = "document.querySelector('section[aria-labelledby=filling] p').textContent";
    let filling = browser.evaluate(filling);
    assert!(filling.as_str().unwrap().contains("% used, "), "{filling}");
}

/// The page of the same trial has its plot, the table of the plot, and the images.
fn trial_page(host: &Host, config: &str) {
    let file = host.directory.path().join("trial.html");
    let written = ["policy", "try", config, "--html", file.to_str().unwrap()];
    host.with_state(&written).exits(0);
    let mut browser = Browser::start(1000, 1400);
    browser.open(&format!("file://{}", file.display()));
    assert_eq!(browser.complaints, Vec::<String>::new());
    let lines = "[...document.querySelectorAll('polyline')].map(it => it.points.length)";
    assert_eq!(browser.evaluate(lines), json!([5, 5]));
    let removals = "document.querySelectorAll('.removal').length";
    assert_eq!(browser.evaluate(removals), 1);
    let rows = "[...document.querySelectorAll('section[aria-labelledby=images] tbody tr')]\
                .map(it => it.cells[1].textContent).sort()";
    assert_eq!(browser.evaluate(rows), json!(["i0:1", "i1:1", "i2:1"]));
    // The table of the plot has the same points.
    let table = "document.querySelectorAll('details tbody tr').length";
    assert_eq!(browser.evaluate(table), 1 + 5);
}
