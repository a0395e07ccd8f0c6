//! Each rule by itself.

use reclaim_model::LastUse;

use super::*;
use crate::last_use::Heard;

struct Scene {
    state: State,
    now: Timestamp,
}

impl Scene {
    fn new() -> Self {
        Self {
            state: State::default(),
            now: start(),
        }
    }

    fn wait(&mut self, time: SignedDuration) -> &mut Self {
        self.now += time;
        self
    }

    #[expect(clippy::needless_pass_by_value, reason = "every look is taken once")]
    fn look(&mut self, look: Look) -> &mut Self {
        self.state.note(&namespace(), &look.0, self.now);
        self
    }

    fn hear(&mut self, what: Happening) -> Heard {
        self.state.hear(&event(what, self.now))
    }

    fn known(&self, target: &str) -> Option<LastUse> {
        let uses = self.state.uses(&namespace(), self.now);
        uses.0.get(&digest(target)).copied()
    }

    fn idle(&self, target: &str) -> SignedDuration {
        self.now
            .duration_since(self.known(target).unwrap().last_used)
    }

    /// A run removes these while its events are heard.
    fn run(&mut self, removed: &[(&str, &str)], stayed: &[&str]) -> &mut Self {
        let started = self.now;
        for (name, _) in removed {
            self.wait(seconds(1)).hear(deleted(name));
        }
        self.wait(seconds(1));
        let report = report(started, removed, stayed);
        self.state.removed(&report, self.now);
        self
    }

    fn spared(&self, target: &str) -> Option<SignedDuration> {
        let until = self.known(target).unwrap().spared_until?;
        Some(until.duration_since(self.now))
    }
}

fn app() -> Look {
    Look::default().record("app:1", "A", start() - days(30))
}

#[test]
fn what_is_seen_for_the_first_time_was_used_then() {
    let mut scene = Scene::new();
    scene.look(app()).wait(days(2));
    let seen = scene.known("A").unwrap();
    assert_eq!((seen.first_seen, seen.last_used), (start(), start()));
    scene.look(app());
    assert_eq!(scene.idle("A"), days(2));
    assert_eq!(scene.known("other"), None);
}

#[test]
fn what_is_in_use_is_used_now_and_from_the_end_of_it_on_idle() {
    let mut scene = Scene::new();
    scene.look(app().container("web", "A")).wait(days(3));
    assert_eq!(scene.idle("A"), seconds(0));
    // It ended between the looks, nobody knows when.
    scene.look(app()).wait(days(1));
    assert_eq!(scene.idle("A"), days(1));
}

#[test]
fn a_use_that_ended_while_nobody_ran_counts_until_somebody_does() {
    let mut scene = Scene::new();
    scene.look(app().container("web", "A"));
    scene.state = restarted(std::mem::take(&mut scene.state));
    scene.wait(days(9)).look(app());
    assert_eq!(scene.idle("A"), seconds(0));
}

#[test]
fn a_container_uses_its_image_in_every_spelling() {
    let name = "docker.io/library/app:latest";
    let by_digest = format!("docker.io/library/app@{}", digest("A"));
    for image in ["app", "docker.io/library/app:latest", &by_digest] {
        let mut scene = Scene::new();
        scene.look(Look::default().record(name, "A", start()));
        scene.wait(days(1));
        let (id, image) = ("web".to_owned(), image.to_owned());
        let heard = scene.hear(Happening::ContainerWritten { id, image });
        assert_eq!(heard, Heard::Understood);
        scene.wait(days(1));
        assert_eq!(scene.idle("A"), seconds(0));
    }
}

#[test]
fn a_container_of_an_unknown_image_asks_for_a_look() {
    let mut scene = Scene::new();
    scene.look(app());
    let (id, image) = ("web".to_owned(), "elsewhere:1".to_owned());
    let heard = scene.hear(Happening::ContainerWritten { id, image });
    assert_eq!(heard, Heard::LookSoon);
    let container = "web".to_owned();
    assert_eq!(scene.hear(Happening::Task { container }), Heard::LookSoon);
}

#[test]
fn the_end_of_a_container_that_is_known_from_a_look_is_a_use() {
    let mut scene = Scene::new();
    scene.look(app().container("web", "A")).wait(days(1));
    let id = "web".to_owned();
    let heard = scene.hear(Happening::ContainerDeleted { id });
    assert_eq!(heard, Heard::LookSoon);
    scene.look(app()).wait(seconds(5));
    assert_eq!(scene.idle("A"), seconds(5));
}

#[test]
fn a_task_is_a_use_at_its_moment() {
    let mut scene = Scene::new();
    scene.look(app().container("web", "A")).wait(days(1));
    let container = "web".to_owned();
    let heard = scene.hear(Happening::Task { container });
    assert_eq!(heard, Heard::Understood);
    let known = &scene.state.namespaces[&namespace()].targets[&digest("A")];
    assert_eq!(known.last_used, scene.now);
}

#[test]
fn a_snapshot_on_an_images_chain_is_a_use_of_it() {
    let mut scene = Scene::new();
    scene.look(app()).wait(days(1));
    let on = |parent: Option<String>| Happening::SnapshotPrepared { parent };
    assert_eq!(scene.hear(on(None)), Heard::Understood);
    assert_eq!(scene.hear(on(Some("key".to_owned()))), Heard::LookSoon);
    assert_eq!(scene.idle("A"), days(1));
    let chain = digest("chain A").to_string();
    assert_eq!(scene.hear(on(Some(chain))), Heard::Understood);
    assert_eq!(scene.idle("A"), seconds(0));
}

#[test]
fn an_image_that_is_pulled_is_used_at_that_moment() {
    let mut scene = Scene::new();
    scene.look(app()).wait(days(1));
    let now = scene.now;
    scene.hear(written("app:1", "A", start() - days(30)));
    scene.hear(written("new:1", "B", now));
    scene.wait(seconds(3));
    assert_eq!(scene.idle("A"), seconds(3));
    assert_eq!(scene.known("B").unwrap().first_seen, now);
    assert_eq!(scene.state.repulls, 0);
}

#[test]
fn what_is_gone_is_forgotten_after_two_looks() {
    let mut scene = Scene::new();
    scene.look(app());
    scene.hear(written("new:1", "B", start()));
    // This look may have begun before the pull.
    scene.look(app());
    assert!(scene.known("B").is_some());
    scene.look(app());
    assert_eq!(scene.known("B"), None);
    assert!(scene.known("A").is_some());
}

#[test]
fn a_clock_that_goes_back_takes_no_use_back() {
    let mut scene = Scene::new();
    scene.look(app().container("web", "A")).wait(-days(400));
    scene.look(app().container("web", "A"));
    let seen = scene.known("A").unwrap();
    assert_eq!((seen.first_seen, seen.last_used), (scene.now, scene.now));
    scene.look(app()).wait(days(400));
    assert_eq!(scene.idle("A"), seconds(0));
}

#[test]
fn an_image_that_is_pulled_again_is_spared_twice_as_long_each_time() {
    let mut scene = Scene::new();
    scene.look(app());
    for (n, expected) in (1..).zip([1, 2, 4, 8, 16, 30, 30]) {
        scene.run(&[("app:1", "A")], &[]).wait(days(6));
        assert_eq!(scene.known("A"), None);
        let now = scene.now;
        scene.hear(written("app:1", "A", now));
        assert_eq!(scene.state.repulls, n);
        assert_eq!(scene.spared("A"), Some(days(expected)));
        scene.look(Look::default().record("app:1", "A", now));
        assert_eq!(scene.state.repulls, n);
    }
}

#[test]
fn the_same_name_or_the_same_target_is_a_re_pull_and_another_is_none() {
    for (name, target, n) in [
        ("app:1", "A", 1),
        ("app:1", "B", 1),
        ("app:2", "A", 1),
        ("app:2", "B", 0),
    ] {
        let mut scene = Scene::new();
        scene.look(app()).run(&[("app:1", "A")], &[]);
        let now = scene.wait(seconds(9)).now;
        scene.hear(written(name, target, now));
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
        records.try_fold(Look::default(), |look, name| {
            Some(look.record(name, "A", created))
        })
    };
    scene.look(records(start()).unwrap());
    scene.run(&names.map(|name| (name, "A")), &[]);
    let now = scene.wait(days(1)).now;
    scene.hear(written("app:1", "A", now));
    scene.look(records(now).unwrap());
    assert_eq!(scene.state.repulls, 1);
}

#[test]
fn after_seven_days_it_is_a_pull_like_any_other() {
    let mut scene = Scene::new();
    scene.look(app()).run(&[("app:1", "A")], &[]).wait(days(7));
    let now = scene.now;
    scene.hear(written("app:1", "A", now));
    assert_eq!((scene.state.repulls, scene.spared("A")), (0, None));
}

#[test]
fn a_re_pull_that_a_look_finds_counts_once() {
    let mut scene = Scene::new();
    scene.look(app()).run(&[("app:1", "A")], &[]);
    let pulled = scene.wait(days(1)).now;
    let again = || Look::default().record("app:1", "A", pulled);
    scene.wait(seconds(1)).look(again()).look(again());
    assert_eq!(scene.state.repulls, 1);
    assert_eq!(scene.spared("A"), Some(days(1)));
}

#[test]
fn a_look_from_before_the_removal_brings_nothing_back() {
    let mut scene = Scene::new();
    scene.look(app());
    let before = scene.now;
    scene.wait(seconds(1)).run(&[("app:1", "A")], &[]);
    scene.state.note(&namespace(), &app().0, before);
    assert_eq!((scene.known("A"), scene.state.repulls), (None, 0));
    let now = scene.wait(seconds(9)).now;
    scene.hear(written("app:1", "A", now));
    assert_eq!(scene.state.repulls, 1);
}

#[test]
fn a_re_pull_before_the_run_has_reported_counts() {
    let mut scene = Scene::new();
    scene.look(app());
    let started = scene.now;
    scene.wait(seconds(1)).hear(deleted("app:1"));
    let pulled = scene.wait(seconds(1)).now;
    scene.hear(written("app:1", "A", pulled));
    scene.wait(seconds(1));
    let report = report(started, &[("app:1", "A")], &[]);
    scene.state.removed(&report, scene.now);
    assert_eq!(scene.state.repulls, 1);
    assert_eq!(scene.spared("A"), Some(days(1)));
}

#[test]
fn a_re_pull_whose_events_come_after_the_report_counts() {
    let mut scene = Scene::new();
    scene.look(app());
    let (gone, pulled) = (start() + seconds(1), start() + seconds(2));
    scene.wait(seconds(3));
    let report = report(start(), &[("app:1", "A")], &[]);
    scene.state.removed(&report, scene.now);
    scene.state.hear(&event(deleted("app:1"), gone));
    scene
        .state
        .hear(&event(written("app:1", "A", pulled), pulled));
    assert_eq!(scene.state.repulls, 1);
}

#[test]
fn a_name_that_somebody_else_moved_about_before_is_no_re_pull() {
    let mut scene = Scene::new();
    scene.look(app()).wait(seconds(1)).hear(deleted("app:1"));
    let now = scene.wait(seconds(1)).now;
    scene.hear(written("app:1", "A", now));
    scene.wait(seconds(1));
    // The run's own deletion is not heard yet.
    let report = report(scene.now, &[("app:1", "A")], &[]);
    scene.wait(seconds(1));
    scene.state.removed(&report, scene.now);
    assert_eq!(scene.state.repulls, 0);
}

#[test]
fn what_an_undo_restores_was_not_pulled() {
    // Where the server keeps the time at which a record was made.
    let mut scene = Scene::new();
    scene.look(app()).run(&[("app:1", "A")], &[]);
    scene.wait(seconds(9));
    scene.hear(written("app:1", "A", start() - days(30)));
    scene.wait(seconds(9)).look(app());
    assert_eq!((scene.state.repulls, scene.spared("A")), (0, None));
    // Where it does not, but the undo is heard.
    scene.run(&[("app:1", "A")], &[]).wait(seconds(9));
    let name = "app:1".to_owned();
    scene.hear(Happening::ImageRestoring { name });
    let now = scene.now;
    scene.hear(written("app:1", "A", now));
    scene.look(Look::default().record("app:1", "A", now));
    assert_eq!((scene.state.repulls, scene.spared("A")), (0, None));
}

#[test]
fn what_the_run_itself_restored_was_not_pulled() {
    let mut scene = Scene::new();
    let both = |created| app().record("app:2", "A", created);
    scene.look(both(start()));
    let started = scene.now;
    scene.wait(seconds(1)).hear(deleted("app:1"));
    scene.hear(deleted("app:2"));
    // The second look brings one back, with the time of now.
    let now = scene.wait(seconds(1)).now;
    scene.hear(written("app:2", "A", now));
    scene.wait(seconds(1));
    let report = report(started, &[("app:1", "A")], &["app:2"]);
    scene.state.removed(&report, scene.now);
    scene.look(Look::default().record("app:2", "A", now));
    assert_eq!((scene.state.repulls, scene.spared("A")), (0, None));
    assert!(scene.known("A").is_some());
}

#[test]
fn another_tag_of_an_image_that_lost_one_is_no_re_pull() {
    let mut scene = Scene::new();
    scene.look(app().record("app:2", "A", start()));
    scene.run(&[("app:1", "A")], &[]);
    let now = scene.wait(seconds(9)).now;
    scene.hear(written("app:3", "A", now));
    assert_eq!(scene.state.repulls, 0);
    scene.hear(written("app:1", "A", now));
    assert_eq!(scene.state.repulls, 1);
}

#[test]
fn a_report_counts_once_and_a_dry_run_never() {
    let mut scene = Scene::new();
    scene.look(app());
    let dry = Report {
        mode: Mode::DryRun,
        ..report(scene.now, &[("app:1", "A")], &[])
    };
    scene.state.removed(&dry, scene.now);
    assert!(scene.known("A").is_some());
    let report = report(scene.now, &[("app:1", "A")], &[]);
    scene.wait(seconds(1));
    scene.state.removed(&report, scene.now);
    let now = scene.wait(seconds(1)).now;
    scene.hear(written("app:1", "A", now));
    scene.state.removed(&report, scene.now);
    let now = scene.wait(seconds(1)).now;
    scene.hear(written("app:1", "A", now));
    assert_eq!(scene.state.repulls, 1);
}

#[test]
fn re_pulls_and_removals_outlive_a_restart() {
    let mut scene = Scene::new();
    scene.look(app()).run(&[("app:1", "A")], &[]);
    scene.state = restarted(std::mem::take(&mut scene.state));
    let now = scene.wait(days(1)).now;
    let again = Look::default().record("app:1", "A", now);
    scene.look(again.clone());
    assert_eq!(scene.state.repulls, 1);
    scene.state = restarted(std::mem::take(&mut scene.state));
    assert_eq!(scene.state.repulls, 1);
    assert_eq!(scene.spared("A"), Some(days(1)));
    scene.look(again).run(&[("app:1", "A")], &[]);
    let now = scene.wait(days(1)).now;
    scene.hear(written("app:1", "A", now));
    assert_eq!(scene.spared("A"), Some(days(2)));
}

#[test]
fn removals_leave_after_seven_days_or_when_there_are_too_many() {
    let mut scene = Scene::new();
    let names: Vec<String> = (0..10_100).map(|n| format!("t{n}")).collect();
    let removed: Vec<(&str, &str)> = names.iter().map(|it| (&**it, &**it)).collect();
    let report = report(scene.now, &removed, &[]);
    scene.state.removed(&report, scene.now);
    let n = |scene: &Scene| {
        scene.state.namespaces[&namespace()]
            .removals
            .targets()
            .count()
    };
    scene.wait(seconds(1)).look(Look::default());
    assert_eq!(n(&scene), 10_000);
    scene.wait(days(7)).look(Look::default());
    assert_eq!(n(&scene), 0);
}
