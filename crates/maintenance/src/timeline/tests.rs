//! The file of the timeline: damage, newer versions, and its limits in age.

use std::fs;

use jiff::{SignedDuration, Timestamp};
use reclaim_model::{Digest, Report, RunId};
use tempfile::TempDir;

use super::current::Sighting;
use super::file::FILE;
use super::{ObjectKey, Recorder, SeenName, Timeline};
use crate::time::Moment;

fn at(hours: i64) -> Moment {
    let began: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let now = began + SignedDuration::from_hours(hours);
    Moment::new(now, now)
}

fn digest(number: u64) -> Digest {
    format!("sha256:{number:064x}").parse().unwrap()
}

/// An image with a layer of its own and one that all share.
fn image(number: u64, is_in_use: bool, used: i64) -> Sighting {
    Sighting {
        namespace: "default".parse().unwrap(),
        target: digest(number),
        media_type: "application/vnd.oci.image.manifest.v1+json".to_owned(),
        names: vec![SeenName {
            name: format!("app:{number}"),
            created: None,
            updated: None,
            labels: std::collections::BTreeMap::new(),
        }],
        objects: vec![
            (ObjectKey::Blob(digest(number)), 10),
            (ObjectKey::Blob(digest(999)), 20),
        ],
        configs: Vec::new(),
        sources: Vec::new(),
        is_unreadable: false,
        is_in_use,
        first_seen: at(0).monotonic,
        last_used: at(used).monotonic,
        spared_until: None,
    }
}

fn read(directory: &TempDir) -> Timeline {
    Timeline::read(directory.path()).unwrap()
}

/// Records three images, the use of one, and that one is gone.
fn recorded() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let recorder = Recorder::open(directory.path());
    let observe = |images: Vec<Sighting>, hour| recorder.observe(images, &[], at(hour)).unwrap();
    observe([1, 2, 3].map(|number| image(number, false, 0)).into(), 0);
    let used = vec![image(1, true, 1), image(2, false, 1), image(3, false, 0)];
    observe(used, 1);
    observe(vec![image(1, false, 2), image(2, false, 1)], 2);
    directory
}

#[test]
fn an_observation_has_what_changed() {
    let directory = recorded();
    let lines = read(&directory).observations;
    let [first, second, third] = &lines[..] else {
        panic!("{lines:#?}")
    };
    assert!(first.begins && !second.begins && !third.begins);
    assert_eq!((first.objects.len(), first.images.len()), (4, 3));
    assert_eq!(second.in_use, [0]);
    let used: Vec<u32> = second.used.iter().map(|it| it.image).collect();
    assert_eq!(used, [1]);
    assert!(second.images.is_empty() && second.objects.is_empty());
    assert_eq!((&third.idle[..], &third.gone[..]), (&[0][..], &[2][..]));
    // A scan that finds the same writes nothing.
    let length = || fs::metadata(directory.path().join(FILE)).unwrap().len();
    let before = length();
    let recorder = Recorder::open(directory.path());
    let same = vec![image(1, false, 2), image(2, false, 1)];
    recorder.observe(same, &[], at(3)).unwrap();
    assert_eq!(length(), before);
}

#[test]
fn only_whole_removals_by_policies_are_those_of_policies() {
    let directory = recorded();
    let recorder = Recorder::open(directory.path());
    let report = |policy: Option<&str>, name: &str| {
        let run = RunId("r".to_owned());
        let mut report = Report::new(run, "default".parse().unwrap(), reclaim_model::Mode::Apply);
        report.policy = policy.map(|name| name.parse().unwrap());
        report.removed = vec![reclaim_model::Removed {
            name: name.to_owned(),
            target: digest(1),
            reason: reclaim_model::RemoveReason::Unused,
        }];
        report
    };
    let length = || read(&directory).observations.len();
    for (policy, name) in [(None, "app:1"), (Some("p"), "other:1")] {
        let report = report(policy, name);
        recorder.record_removals(&report, at(4)).unwrap();
        assert_eq!(length(), 3);
    }
    let report = report(Some("p"), "app:1");
    recorder.record_removals(&report, at(4)).unwrap();
    let lines = read(&directory).observations;
    let removed = &lines[3].removed;
    assert_eq!((removed.len(), removed[0].image), (1, 0));
    // It is not gone again, and it can come back.
    recorder
        .observe(vec![image(2, false, 1)], &[], at(5))
        .unwrap();
    assert_eq!(length(), 4);
    let both = vec![image(1, false, 6), image(2, false, 1)];
    recorder.observe(both, &[], at(6)).unwrap();
    assert_eq!(read(&directory).observations[4].images.len(), 1);
}

#[test]
fn damage_costs_what_is_after_it_only() {
    let directory = recorded();
    let path = directory.path().join(FILE);
    let whole = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = whole.lines().collect();
    // A torn last line is one that is being written.
    fs::write(&path, &whole[..whole.len() - 5]).unwrap();
    assert_eq!(read(&directory).observations.len(), 2);
    let recorder = Recorder::open(directory.path());
    let now = vec![image(1, false, 2), image(2, false, 1)];
    recorder.observe(now.clone(), &[], at(4)).unwrap();
    assert_eq!(read(&directory).observations.len(), 3);
    let unknown =
        r#"{"version":1,"at":"2026-01-01T09:00:00Z","wall":"2026-01-01T09:00:00Z","gone":[77]}"#;
    for bad in ["no JSON", "{}", unknown, lines[1]] {
        let damaged = [
            lines[0],
            lines[2].replace("\"idle\":[0],", "").as_str(),
            bad,
            "",
        ]
        .join("\n");
        fs::write(&path, &damaged).unwrap();
        assert_eq!(read(&directory).observations.len(), 2, "{bad}");
        let recorder = Recorder::open(directory.path());
        recorder.observe(now.clone(), &[], at(9)).unwrap();
        let lines = read(&directory).observations;
        assert_eq!(lines.len(), 3, "{bad}");
    }
    let entries = fs::read_dir(directory.path()).unwrap();
    let names = entries.map(|it| it.unwrap().file_name().into_string().unwrap());
    assert!(names.filter(|name| name.contains(".damaged-")).count() >= 1);
}

#[test]
fn a_newer_file_stays_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(FILE);
    let newer = "{\"version\":2,\"anything\":true}\n";
    fs::write(&path, newer).unwrap();
    let error = Timeline::read(directory.path()).unwrap_err().to_string();
    assert!(
        error.contains("of version 2, and this program knows 1"),
        "{error}"
    );
    let recorder = Recorder::open(directory.path());
    recorder
        .observe(vec![image(1, false, 0)], &[], at(0))
        .unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), newer);
}

#[test]
fn what_is_older_than_four_weeks_is_forgotten_and_what_is_there_is_not() {
    let directory = recorded();
    let recorder = Recorder::open(directory.path());
    let days = 40;
    for day in 1..days {
        let hour = 24 * day;
        // One is used every day, the other never.
        let images = vec![image(1, false, hour), image(2, false, 1)];
        recorder.observe(images, &[], at(hour)).unwrap();
    }
    let lines = read(&directory).observations;
    let (first, last) = (&lines[0], &lines[lines.len() - 1]);
    let kept = last.at.duration_since(first.at).as_hours() / 24;
    assert!((27..=29).contains(&kept), "{kept} days");
    assert!(first.begins && lines[1..].iter().all(|it| !it.begins));
    let targets: Vec<&Digest> = first.images.iter().map(|it| &it.target).collect();
    assert_eq!(targets, [&digest(1), &digest(2)]);
    assert_eq!(first.objects.len(), 3, "nothing of what is gone");
    assert_eq!(first.images[1].last_used, at(1).monotonic);
    // A reader and the next process continue from there.
    let again = Recorder::open(directory.path());
    let images = vec![image(1, true, 24 * days), image(2, false, 1)];
    again.observe(images, &[], at(24 * days)).unwrap();
    let lines = read(&directory).observations;
    assert_eq!(lines[lines.len() - 1].in_use, [0]);
}
