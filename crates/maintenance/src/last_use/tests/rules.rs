//! Tests of the rules, one by one.

use reclaim_model::LastUse;

use super::*;
use crate::last_use::Observed;

struct Scene {
    state: State,
    /// The monotonic time.
    now: Timestamp,
    /// By how much the wall clock is ahead of it.
    ahead: SignedDuration,
}

impl Scene {
    fn new() -> Self {
        Self {
            state: State::default(),
            now: start(),
            ahead: SignedDuration::ZERO,
        }
    }

    fn moment(&self) -> Moment {
        Moment::new(self.now, self.now + self.ahead)
    }

    fn wait(&mut self, time: SignedDuration) -> &mut Self {
        self.now += time;
        self
    }

    #[expect(clippy::needless_pass_by_value, reason = "every scan is taken once")]
    fn scan(&mut self, scan: Scan) -> &mut Self {
        self.state.record_scan(&namespace(), &scan.0, self.moment());
        self
    }

    fn record_event(&mut self, kind: UseEventKind) -> Observed {
        let moment = self.moment();
        self.state.record_event(&event(kind, moment.wall), moment)
    }

    fn known(&self, target: &str) -> Option<LastUse> {
        let uses = self.state.uses(&namespace(), self.now);
        uses.targets.get(&digest(target)).copied()
    }

    fn idle(&self, target: &str) -> SignedDuration {
        self.now
            .duration_since(self.known(target).unwrap().last_used)
    }

    /// A run removes these, and its events are recorded.
    fn run(&mut self, removed: &[(&str, &str)], stayed: &[&str]) -> &mut Self {
        let started = self.now + self.ahead;
        for (name, _) in removed {
            self.wait(seconds(1)).record_event(deleted(name));
        }
        self.wait(seconds(1));
        let report = report(started, removed, stayed);
        self.state.record_removals(&report, self.moment());
        self
    }

    fn spared(&self, target: &str) -> Option<SignedDuration> {
        let until = self.known(target).unwrap().spared_until?;
        Some(until.duration_since(self.now))
    }
}

fn app() -> Scan {
    Scan::default().record("app:1", "A", start() - days(30))
}

#[test]
fn a_new_image_counts_as_used_when_it_is_first_seen() {
    let mut scene = Scene::new();
    scene.scan(app()).wait(days(2));
    let seen = scene.known("A").unwrap();
    assert_eq!((seen.first_seen, seen.last_used), (start(), start()));
    scene.scan(app());
    assert_eq!(scene.idle("A"), days(2));
    assert_eq!(scene.known("other"), None);
}

#[test]
fn an_image_in_use_is_used_now_and_idle_from_the_end_of_its_use() {
    let mut scene = Scene::new();
    scene.scan(app().container("web", "A")).wait(days(3));
    assert_eq!(scene.idle("A"), seconds(0));
    // It ended at an unknown time between the scans.
    scene.scan(app()).wait(days(1));
    assert_eq!(scene.idle("A"), days(1));
}

#[test]
fn a_use_that_ended_while_no_daemon_ran_counts_until_one_starts() {
    let mut scene = Scene::new();
    scene.scan(app().container("web", "A"));
    scene.state = restarted(std::mem::take(&mut scene.state));
    scene.wait(days(9)).scan(app());
    assert_eq!(scene.idle("A"), seconds(0));
}

#[test]
fn a_container_uses_its_image_in_every_spelling() {
    let name = "docker.io/library/app:latest";
    let by_digest = format!("docker.io/library/app@{}", digest("A"));
    for image in ["app", "docker.io/library/app:latest", &by_digest] {
        let mut scene = Scene::new();
        scene.scan(Scan::default().record(name, "A", start()));
        scene.wait(days(1));
        let (id, image) = ("web".to_owned(), image.to_owned());
        let observed = scene.record_event(UseEventKind::ContainerWritten { id, image });
        assert_eq!(observed, Observed::Complete);
        scene.wait(days(1));
        assert_eq!(scene.idle("A"), seconds(0));
    }
}

#[test]
fn a_container_of_an_unknown_image_needs_a_scan() {
    let mut scene = Scene::new();
    scene.scan(app());
    let (id, image) = ("web".to_owned(), "elsewhere:1".to_owned());
    let observed = scene.record_event(UseEventKind::ContainerWritten { id, image });
    assert_eq!(observed, Observed::ScanNeeded);
    let container = "web".to_owned();
    assert_eq!(
        scene.record_event(UseEventKind::Task { container }),
        Observed::ScanNeeded
    );
}

#[test]
fn deleting_a_container_that_a_scan_found_is_a_use() {
    let mut scene = Scene::new();
    scene.scan(app().container("web", "A")).wait(days(1));
    let id = "web".to_owned();
    let observed = scene.record_event(UseEventKind::ContainerDeleted { id });
    assert_eq!(observed, Observed::ScanNeeded);
    scene.scan(app()).wait(seconds(5));
    assert_eq!(scene.idle("A"), seconds(5));
}

#[test]
fn a_task_event_is_a_use_at_its_time() {
    let mut scene = Scene::new();
    scene.scan(app().container("web", "A")).wait(days(1));
    let container = "web".to_owned();
    let observed = scene.record_event(UseEventKind::Task { container });
    assert_eq!(observed, Observed::Complete);
    let known = &scene.state.namespaces[&namespace()].targets[&digest("A")];
    assert_eq!(known.last_used, scene.now);
}

#[test]
fn a_snapshot_on_an_images_chain_is_a_use_of_the_image() {
    let mut scene = Scene::new();
    scene.scan(app()).wait(days(1));
    let on = |parent: Option<String>| UseEventKind::SnapshotPrepared { parent };
    assert_eq!(scene.record_event(on(None)), Observed::Complete);
    assert_eq!(
        scene.record_event(on(Some("key".to_owned()))),
        Observed::ScanNeeded
    );
    assert_eq!(scene.idle("A"), days(1));
    let chain = digest("chain A").to_string();
    assert_eq!(scene.record_event(on(Some(chain))), Observed::Complete);
    assert_eq!(scene.idle("A"), seconds(0));
}

#[test]
fn a_pull_is_a_use_at_its_time() {
    let mut scene = Scene::new();
    scene.scan(app()).wait(days(1));
    let now = scene.now;
    scene.record_event(written("app:1", "A", start() - days(30)));
    scene.record_event(written("new:1", "B", now));
    scene.wait(seconds(3));
    assert_eq!(scene.idle("A"), seconds(3));
    assert_eq!(scene.known("B").unwrap().first_seen, now);
    assert_eq!(scene.state.repulls, 0);
}

#[test]
fn a_missing_image_is_forgotten_after_two_scans() {
    let mut scene = Scene::new();
    scene.scan(app());
    scene.record_event(written("new:1", "B", start()));
    // This scan may have begun before the pull.
    scene.scan(app());
    assert!(scene.known("B").is_some());
    scene.scan(app());
    assert_eq!(scene.known("B"), None);
    assert!(scene.known("A").is_some());
}

#[test]
fn setting_the_clock_changes_no_age() {
    for by in [days(-20_000), days(-1), days(1), days(4_000)] {
        let mut scene = Scene::new();
        let both = || app().record("web:1", "W", start() - days(30));
        scene.scan(both().container("web", "W")).wait(days(1));
        scene.ahead += by;
        assert_eq!(scene.idle("A"), days(1));
        scene.scan(both().container("web", "W")).wait(days(1));
        assert_eq!((scene.idle("A"), scene.idle("W")), (days(2), seconds(0)));
        let container = "web".to_owned();
        scene.record_event(UseEventKind::Task { container });
        scene.scan(both()).wait(days(1));
        assert_eq!((scene.idle("A"), scene.idle("W")), (days(3), days(1)));
    }
}

#[test]
fn setting_the_clock_hides_no_re_pull_that_an_event_reports() {
    for by in [days(-20_000), days(-1), days(4_000)] {
        let mut scene = Scene::new();
        scene.scan(app()).run(&[("app:1", "A")], &[]);
        scene.ahead += by;
        let wall = scene.wait(days(1)).moment().wall;
        scene.record_event(written("app:1", "A", wall));
        assert_eq!(scene.state.repulls, 1, "{by:#}");
        scene.ahead -= by;
        scene.scan(Scan::default().record("app:1", "A", wall));
        assert_eq!((scene.state.repulls, scene.spared("A")), (1, Some(days(1))));
        scene.wait(days(1));
        assert_eq!(scene.spared("A"), None);
    }
}

#[test]
fn only_a_scan_since_the_last_use_and_the_last_missed_event_finds_an_image_unused() {
    let mut scene = Scene::new();
    let unused_since = |scene: &Scene| scene.known("A").unwrap().unused_since;
    scene.scan(app().container("web", "A"));
    assert_eq!(unused_since(&scene), None);
    let first = scene.wait(days(1)).scan(app()).now;
    scene.wait(days(1)).scan(app());
    assert_eq!(unused_since(&scene), Some(first));
    scene.state = restarted(std::mem::take(&mut scene.state));
    assert_eq!(unused_since(&scene), Some(first));
    scene.state.forget_checks();
    assert_eq!(unused_since(&scene), None);
    let first = scene.wait(days(1)).scan(app()).now;
    assert_eq!(unused_since(&scene), Some(first));
    scene.record_event(written("app:1", "A", start() - days(30)));
    assert_eq!(unused_since(&scene), None);
    scene.wait(days(1)).scan(app().container("web", "A"));
    assert_eq!(unused_since(&scene), None);
}

#[test]
fn each_re_pull_doubles_the_time_for_which_an_image_is_spared() {
    let mut scene = Scene::new();
    scene.scan(app());
    for (n, expected) in (1..).zip([1, 2, 4, 8, 16, 30, 30]) {
        scene.run(&[("app:1", "A")], &[]).wait(days(6));
        assert_eq!(scene.known("A"), None);
        let now = scene.now;
        scene.record_event(written("app:1", "A", now));
        assert_eq!(scene.state.repulls, n);
        assert_eq!(scene.spared("A"), Some(days(expected)));
        scene.scan(Scan::default().record("app:1", "A", now));
        assert_eq!(scene.state.repulls, n);
    }
}

#[test]
fn only_the_same_name_or_the_same_target_is_a_re_pull() {
    for (name, target, n) in [
        ("app:1", "A", 1),
        ("app:1", "B", 1),
        ("app:2", "A", 1),
        ("app:2", "B", 0),
    ] {
        let mut scene = Scene::new();
        scene.scan(app()).run(&[("app:1", "A")], &[]);
        let now = scene.wait(seconds(9)).now;
        scene.record_event(written(name, target, now));
        assert_eq!(scene.state.repulls, n, "{name} {target}");
        let is_spared = scene.spared(target).is_some();
        assert_eq!(is_spared, n == 1, "{name} {target}");
    }
}

#[test]
fn several_records_of_one_image_are_one_re_pull() {
    let mut scene = Scene::new();
    let names = ["app:1", "app@A", "sha256:A"];
    let records = |created| {
        let mut records = names.iter();
        records.try_fold(Scan::default(), |scan, name| {
            Some(scan.record(name, "A", created))
        })
    };
    scene.scan(records(start()).unwrap());
    scene.run(&names.map(|name| (name, "A")), &[]);
    let now = scene.wait(days(1)).now;
    scene.record_event(written("app:1", "A", now));
    scene.scan(records(now).unwrap());
    assert_eq!(scene.state.repulls, 1);
}

#[test]
fn a_pull_after_seven_days_is_no_re_pull() {
    let mut scene = Scene::new();
    scene.scan(app()).run(&[("app:1", "A")], &[]).wait(days(7));
    let now = scene.now;
    scene.record_event(written("app:1", "A", now));
    assert_eq!((scene.state.repulls, scene.spared("A")), (0, None));
}

#[test]
fn a_re_pull_that_a_scan_finds_counts_once() {
    let mut scene = Scene::new();
    scene.scan(app()).run(&[("app:1", "A")], &[]);
    let pulled = scene.wait(days(1)).now;
    let again = || Scan::default().record("app:1", "A", pulled);
    scene.wait(seconds(1)).scan(again()).scan(again());
    assert_eq!(scene.state.repulls, 1);
    assert_eq!(scene.spared("A"), Some(days(1)));
}

#[test]
fn a_scan_that_began_before_the_removal_restores_nothing() {
    let mut scene = Scene::new();
    scene.scan(app());
    let before = scene.now;
    scene.wait(seconds(1)).run(&[("app:1", "A")], &[]);
    scene
        .state
        .record_scan(&namespace(), &app().0, moment(before));
    assert_eq!((scene.known("A"), scene.state.repulls), (None, 0));
    let now = scene.wait(seconds(9)).now;
    scene.record_event(written("app:1", "A", now));
    assert_eq!(scene.state.repulls, 1);
}

#[test]
fn a_re_pull_before_the_report_counts() {
    let mut scene = Scene::new();
    scene.scan(app());
    let started = scene.now;
    scene.wait(seconds(1)).record_event(deleted("app:1"));
    let pulled = scene.wait(seconds(1)).now;
    scene.record_event(written("app:1", "A", pulled));
    scene.wait(seconds(1));
    let report = report(started, &[("app:1", "A")], &[]);
    scene.state.record_removals(&report, scene.moment());
    assert_eq!(scene.state.repulls, 1);
    assert_eq!(scene.spared("A"), Some(days(1)));
}

#[test]
fn a_re_pull_whose_events_follow_the_report_counts() {
    let mut scene = Scene::new();
    scene.scan(app());
    let (gone, pulled) = (start() + seconds(1), start() + seconds(2));
    scene.wait(seconds(3));
    let report = report(start(), &[("app:1", "A")], &[]);
    scene.state.record_removals(&report, scene.moment());
    let arrival = scene.moment();
    for event in [
        event(deleted("app:1"), gone),
        event(written("app:1", "A", pulled), pulled),
    ] {
        scene.state.record_event(&event, arrival);
    }
    assert_eq!(scene.state.repulls, 1);
}

#[test]
fn a_name_that_others_moved_before_the_removal_is_no_re_pull() {
    let mut scene = Scene::new();
    scene
        .scan(app())
        .wait(seconds(1))
        .record_event(deleted("app:1"));
    let now = scene.wait(seconds(1)).now;
    scene.record_event(written("app:1", "A", now));
    scene.wait(seconds(1));
    // The event of the run's own deletion has not arrived yet.
    let report = report(scene.now, &[("app:1", "A")], &[]);
    scene.wait(seconds(1));
    scene.state.record_removals(&report, scene.moment());
    assert_eq!(scene.state.repulls, 0);
}

#[test]
fn an_undo_is_no_re_pull() {
    // With a server that keeps the creation time of a record.
    let mut scene = Scene::new();
    scene.scan(app()).run(&[("app:1", "A")], &[]);
    scene.wait(seconds(9));
    scene.record_event(written("app:1", "A", start() - days(30)));
    scene.wait(seconds(9)).scan(app());
    assert_eq!((scene.state.repulls, scene.spared("A")), (0, None));
    // With one that does not, by the event of the undo.
    scene.run(&[("app:1", "A")], &[]).wait(seconds(9));
    let name = "app:1".to_owned();
    scene.record_event(UseEventKind::ImageRestoring { name });
    let now = scene.now;
    scene.record_event(written("app:1", "A", now));
    scene.scan(Scan::default().record("app:1", "A", now));
    assert_eq!((scene.state.repulls, scene.spared("A")), (0, None));
}

#[test]
fn what_the_run_itself_restores_is_no_re_pull() {
    let mut scene = Scene::new();
    let both = |created| app().record("app:2", "A", created);
    scene.scan(both(start()));
    let started = scene.now;
    scene.wait(seconds(1)).record_event(deleted("app:1"));
    scene.record_event(deleted("app:2"));
    // The second look of the run restores one, with the current time.
    let now = scene.wait(seconds(1)).now;
    scene.record_event(written("app:2", "A", now));
    scene.wait(seconds(1));
    let report = report(started, &[("app:1", "A")], &["app:2"]);
    scene.state.record_removals(&report, scene.moment());
    scene.scan(Scan::default().record("app:2", "A", now));
    assert_eq!((scene.state.repulls, scene.spared("A")), (0, None));
    assert!(scene.known("A").is_some());
}

#[test]
fn a_new_tag_of_an_image_that_kept_one_is_no_re_pull() {
    let mut scene = Scene::new();
    scene.scan(app().record("app:2", "A", start()));
    scene.run(&[("app:1", "A")], &[]);
    let now = scene.wait(seconds(9)).now;
    scene.record_event(written("app:3", "A", now));
    assert_eq!(scene.state.repulls, 0);
    scene.record_event(written("app:1", "A", now));
    assert_eq!(scene.state.repulls, 1);
}

#[test]
fn a_report_counts_once_and_a_dry_run_never() {
    let mut scene = Scene::new();
    scene.scan(app());
    let dry = Report {
        mode: Mode::DryRun,
        ..report(scene.now, &[("app:1", "A")], &[])
    };
    scene.state.record_removals(&dry, scene.moment());
    assert!(scene.known("A").is_some());
    let report = report(scene.now, &[("app:1", "A")], &[]);
    scene.wait(seconds(1));
    scene.state.record_removals(&report, scene.moment());
    let now = scene.wait(seconds(1)).now;
    scene.record_event(written("app:1", "A", now));
    scene.state.record_removals(&report, scene.moment());
    let now = scene.wait(seconds(1)).now;
    scene.record_event(written("app:1", "A", now));
    assert_eq!(scene.state.repulls, 1);
}

#[test]
fn re_pulls_and_removals_survive_a_restart() {
    let mut scene = Scene::new();
    scene.scan(app()).run(&[("app:1", "A")], &[]);
    scene.state = restarted(std::mem::take(&mut scene.state));
    let now = scene.wait(days(1)).now;
    let again = Scan::default().record("app:1", "A", now);
    scene.scan(again.clone());
    assert_eq!(scene.state.repulls, 1);
    scene.state = restarted(std::mem::take(&mut scene.state));
    assert_eq!(scene.state.repulls, 1);
    assert_eq!(scene.spared("A"), Some(days(1)));
    scene.scan(again).run(&[("app:1", "A")], &[]);
    let now = scene.wait(days(1)).now;
    scene.record_event(written("app:1", "A", now));
    assert_eq!(scene.spared("A"), Some(days(2)));
}

#[test]
fn removals_are_dropped_after_seven_days_or_when_there_are_too_many() {
    let mut scene = Scene::new();
    let names: Vec<String> = (0..10_100).map(|n| format!("t{n}")).collect();
    let removed: Vec<(&str, &str)> = names.iter().map(|it| (&**it, &**it)).collect();
    let report = report(scene.now, &removed, &[]);
    scene.state.record_removals(&report, scene.moment());
    let n = |scene: &Scene| {
        scene.state.namespaces[&namespace()]
            .removals
            .targets()
            .count()
    };
    scene.wait(seconds(1)).scan(Scan::default());
    assert_eq!(n(&scene), 10_000);
    scene.wait(days(7)).scan(Scan::default());
    assert_eq!(n(&scene), 0);
}
