use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;

use reclaim_model::Room;

use super::*;
use crate::time::ClockReading;

fn filesystem(mount_point: &str, total: u64, left: u64) -> Filesystem {
    Filesystem {
        mount_point: mount_point.into(),
        block: 4096,
        bytes: Room { total, left },
        inodes: Room::default(),
        has_content: true,
        snapshotters: BTreeSet::new(),
    }
}

/// Clocks that are set by hand.
#[derive(Clone)]
struct Clock(Arc<Mutex<ClockReading>>);

impl Clock {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(ClockReading {
            wall: "2026-01-10T12:00:00Z".parse().unwrap(),
            is_synchronized: true,
            boot: "a".to_owned(),
            since_boot: SignedDuration::ZERO,
        })))
    }

    fn host(&self) -> HostClock {
        let clock = self.clone();
        HostClock::new(move || clock.0.lock().unwrap().clone())
    }

    fn set(&self, change: impl FnOnce(&mut ClockReading)) {
        change(&mut self.0.lock().unwrap());
    }

    fn pass(&self, minutes: i64) {
        let time = SignedDuration::from_mins(minutes);
        self.set(|reading| {
            reading.since_boot += time;
            reading.wall += time;
        });
    }
}

fn samples(history: &FillHistory) -> Vec<FillSample> {
    history.samples(Path::new("/var"))
}

#[test]
fn samples_are_ten_minutes_apart_and_survive_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Clock::new();
    let history = FillHistory::open_with(directory.path(), clock.host());
    for left in (0..21).rev() {
        history.record(&[filesystem("/var", 100, left)]).unwrap();
        clock.pass(1);
    }
    let lefts: Vec<u64> = samples(&history).iter().map(|it| it.left_bytes).collect();
    assert_eq!(lefts, [20, 10, 0]);
    let again = FillHistory::open_with(directory.path(), clock.host());
    assert_eq!(samples(&again), samples(&history));
    again.record(&[filesystem("/var", 100, 50)]).unwrap();
    assert_eq!(samples(&again).len(), 3, "the last one is a minute old");
    clock.pass(10);
    again.record(&[filesystem("/var", 100, 50)]).unwrap();
    assert_eq!(samples(&again).len(), 4);
}

#[test]
fn old_samples_are_thinned_and_then_dropped() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Clock::new();
    let history = FillHistory {
        path: None,
        ..FillHistory::open_with(directory.path(), clock.host())
    };
    let once = [filesystem("/gone", 100, 50)];
    history.record(&once).unwrap();
    for _ in 0..6 * 24 * 40 {
        clock.pass(10);
        history.record(&[filesystem("/var", 100, 50)]).unwrap();
    }
    let found = samples(&history);
    let n_dense = 24 * 6 + 1;
    let n_hourly = 27 * 24;
    assert!(
        (n_dense + n_hourly - 2..=n_dense + n_hourly + 2).contains(&found.len()),
        "{}",
        found.len()
    );
    let (first, last) = (found.first().unwrap().at, found.last().unwrap().at);
    assert_eq!(last.duration_since(first).as_hours(), 28 * 24);
    assert!(history.samples(Path::new("/gone")).is_empty());
}

#[test]
fn the_number_of_filesystems_is_limited_to_those_measured_last() {
    let clock = Clock::new();
    let directory = tempfile::tempdir().unwrap();
    let history = FillHistory::open_with(directory.path(), clock.host());
    for n in 0..100 {
        let place = format!("/{n}");
        history.record(&[filesystem(&place, 100, 50)]).unwrap();
        clock.pass(10);
    }
    let timed = history.timed();
    assert_eq!(timed.samples.len(), MAX_FILESYSTEMS);
    assert!(timed.samples.contains_key(Path::new("/99")));
}

#[test]
fn a_name_that_is_not_text_hides_no_other_filesystem() {
    use std::os::unix::ffi::OsStringExt;

    let directory = tempfile::tempdir().unwrap();
    let history = FillHistory::open(directory.path());
    let mut unnamed = filesystem("/", 100, 50);
    unnamed.mount_point = std::ffi::OsString::from_vec(vec![b'/', 0xff]).into();
    let found = [unnamed, filesystem("/var", 100, 50)];
    history.record(&found).unwrap();
    assert_eq!(samples(&FillHistory::open(directory.path())).len(), 1);
}

#[test]
fn a_wall_clock_that_jumps_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Clock::new();
    let history = FillHistory::open_with(directory.path(), clock.host());
    for wall in [
        "1970-01-01T00:00:00Z",
        "2036-02-07T06:28:16Z",
        "2026-01-10T14:00:00Z",
    ] {
        clock.pass(10);
        clock.set(|reading| reading.wall = wall.parse().unwrap());
        history.record(&[filesystem("/var", 100, 50)]).unwrap();
    }
    let times: Vec<Timestamp> = samples(&history).iter().map(|it| it.at).collect();
    assert_eq!(times[1].duration_since(times[0]), EVERY);
    assert_eq!(times[2].duration_since(times[1]), EVERY);
}

#[test]
fn time_off_counts_as_soon_as_it_is_known() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Clock::new();
    let history = FillHistory::open_with(directory.path(), clock.host());
    history.record(&[filesystem("/var", 100, 50)]).unwrap();
    let real = clock.0.lock().unwrap().wall + SignedDuration::from_hours(100);
    clock.set(|reading| {
        *reading = ClockReading {
            wall: Timestamp::UNIX_EPOCH,
            is_synchronized: false,
            boot: "b".to_owned(),
            since_boot: SignedDuration::from_mins(10),
        };
    });
    let history = FillHistory::open_with(directory.path(), clock.host());
    history.record(&[filesystem("/var", 100, 40)]).unwrap();
    clock.pass(10);
    clock.set(|reading| {
        reading.wall = real;
        reading.is_synchronized = true;
    });
    history.record(&[filesystem("/var", 100, 30)]).unwrap();
    let times: Vec<Timestamp> = samples(&history).iter().map(|it| it.at).collect();
    assert_eq!(times.len(), 3);
    let between = |a: usize, b: usize| times[b].duration_since(times[a]);
    assert_eq!(between(0, 2).as_hours(), 100);
    assert_eq!(between(1, 2), EVERY);
}

#[test]
fn a_damaged_file_is_set_aside() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(FILE);
    for damage in ["", "no JSON", "{\"version\":1}", "[]", "\u{0}"] {
        fs::write(&path, damage).unwrap();
        let history = FillHistory::open(directory.path());
        assert!(samples(&history).is_empty());
        assert!(!path.exists(), "{damage:?}");
        history.record(&[filesystem("/var", 100, 50)]).unwrap();
        let again = FillHistory::open(directory.path());
        assert_eq!(samples(&again), samples(&history));
        fs::remove_file(&path).unwrap();
    }
    let entries = fs::read_dir(directory.path()).unwrap();
    let names = entries.map(|it| it.unwrap().file_name().into_string().unwrap());
    assert!(names.into_iter().all(|it| it.contains(".damaged-")));
}

#[test]
fn a_newer_file_stays_and_nothing_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(FILE);
    let text = r#"{"version":2,"anything":[]}"#;
    fs::write(&path, text).unwrap();
    let history = FillHistory::open(directory.path());
    history.record(&[filesystem("/var", 100, 50)]).unwrap();
    assert_eq!(samples(&history).len(), 1);
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
}

/// The file of version 1, so that later versions read it.
#[test]
fn reads_a_file_of_version_1() {
    const TEXT: &str = concat!(
        r#"{"version":1,"clock":{"now":"2026-01-10T13:00:00Z","boot":"a","since_boot":"PT1H","#,
        r#""synchronized":{"boot":"a","now":"2026-01-10T13:00:00Z","#,
        r#""wall":"2026-01-10T13:00:00Z"}},"filesystems":[{"mount_point":"/var","#,
        r#""samples":[{"at":"2026-01-10T12:50:00Z","total_bytes":100,"left_bytes":50},"#,
        r#"{"at":"2026-01-10T13:00:00Z","total_bytes":100,"left_bytes":40}]}]}"#,
    );
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(FILE);
    fs::write(&path, TEXT).unwrap();
    let history = FillHistory::open_with(directory.path(), Clock::new().host());
    let lefts: Vec<u64> = samples(&history).iter().map(|it| it.left_bytes).collect();
    assert_eq!(lefts, [50, 40]);
    let written = serde_json::to_string(&history.timed().contents()).unwrap();
    assert_eq!(written, TEXT, "the form is unchanged");
}

#[test]
fn samples_of_the_future_are_dropped() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Clock::new();
    let history = FillHistory::open_with(directory.path(), clock.host());
    history.record(&[filesystem("/var", 100, 50)]).unwrap();
    let path = directory.path().join(FILE);
    let text = fs::read_to_string(&path).unwrap();
    let future = text.replace("\"at\":\"2026", "\"at\":\"9026");
    assert_ne!(future, text);
    fs::write(&path, future).unwrap();
    let history = FillHistory::open_with(directory.path(), clock.host());
    assert!(samples(&history).is_empty());
    history.record(&[filesystem("/var", 100, 50)]).unwrap();
    assert_eq!(samples(&history).len(), 1);
}
