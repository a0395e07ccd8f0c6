//! Filters as Docker has them (FL rows), and where they protect more than Docker's do.

use jiff::SignedDuration;
use reclaim_model::{Document, KeepReason, LabelFilter, PruneFilters};

use crate::world::{Part, RecordExt, World, ago, all, dangling, library};

/// Filters of `-a --filter …`, labels as typed after `label` or, with `!` first, `label!`.
fn labels(texts: &[&str]) -> PruneFilters {
    let parse = |text: &&str| match text.strip_prefix('!') {
        Some(negated) => LabelFilter::parse(false, negated).unwrap(),
        None => LabelFilter::parse(true, text).unwrap(),
    };
    PruneFilters {
        labels: texts.iter().map(parse).collect(),
        ..all()
    }
}

/// One image `<name>:1` for each name, with the labels of its config.
fn labelled(images: &[(&str, &[(&str, &str)])]) -> World {
    let mut world = World::new();
    for (name, labels) in images {
        let part = Part {
            labels,
            ..Part::default()
        };
        world.manifest(name, part);
        world.record(&library(&format!("{name}:1")), name);
    }
    world
}

#[test]
fn spares_what_carries_the_label_fl2() {
    let world = labelled(&[("withlabel", &[("on_prune", "keep")]), ("nolabel", &[])]);
    let outcome = world.prune_by(labels(&["!on_prune=keep"]));
    assert_eq!(outcome.removed(), [library("nolabel:1")]);
    assert_eq!(
        outcome.reason(&library("withlabel:1")),
        KeepReason::LabelFilter
    );
    let rows = outcome.rows();
    assert!(rows.contains(&"deleted: nolabel".to_owned()), "{rows:?}");
    assert!(
        !rows.iter().any(|row| row.contains("withlabel")),
        "{rows:?}"
    );
}

#[test]
fn takes_what_meets_every_condition() {
    let tests: &[(&str, &[(&str, &str)])] =
        &[("test1", &[("foo", "bar")]), ("test2", &[("bar", "foo")])];
    let one = "test1";
    let two = "test2";
    for (row, texts, expected) in [
        ("FL3", &["foo=bar"][..], &[one][..]),
        ("FL3", &["!bar=foo", "foo=other"], &[]),
        ("FL3", &["bar=foo"], &[two]),
        ("FL4", &["foo", "bar"], &[]),
        ("FL5", &["!foo", "!other"], &[two]),
        ("FL5", &["!foo", "!bar"], &[]),
    ] {
        let outcome = labelled(tests).prune_by(labels(texts));
        let expected = expected.iter().map(|name| library(&format!("{name}:1")));
        assert_eq!(outcome.removed(), expected.collect::<Vec<_>>(), "{row}");
    }
}

#[test]
fn an_empty_value_is_a_value_fl8() {
    let world = labelled(&[
        ("empty", &[("k", "")]),
        ("full", &[("k", "x")]),
        ("none", &[]),
    ]);
    let outcome = world.prune_by(labels(&["k="]));
    assert_eq!(outcome.removed(), [library("empty:1")]);
}

/// An index of an amd64 image with the label `keep=1` and an arm64 image without.
fn two_platforms() -> World {
    let mut world = World::new();
    for (name, labels) in [("amd64", &[("keep", "1")][..]), ("arm64", &[])] {
        let part = Part {
            layers: &[name],
            labels,
            ..Part::default()
        };
        world.manifest(name, part);
    }
    world.index("index", &["amd64", "arm64"]);
    world.record(&library("multi:1"), "index");
    world
}

#[test]
fn one_platform_with_the_label_protects_the_others_fl10() {
    let name = library("multi:1");
    // Docker would take it, for the sake of the platform that has no such label.
    for spared in ["!keep", "!keep=1", "keep!"] {
        let outcome = two_platforms().prune_by(labels(&[spared]));
        assert_eq!(outcome.reason(&name), KeepReason::LabelFilter, "{spared}");
    }
    for meant in ["keep", "keep=1", "!keep=2"] {
        let outcome = two_platforms().prune_by(labels(&[meant]));
        assert_eq!(outcome.removed(), [&*name], "{meant}");
    }
    // Not on one and the same platform.
    let outcome = two_platforms().prune_by(labels(&["keep", "other"]));
    assert_eq!(outcome.reason(&name), KeepReason::LabelFilter);
}

#[test]
fn a_platform_that_is_not_there_has_no_labels_fl11() {
    let name = library("multi:1");
    let mut world = two_platforms();
    for absent in ["arm64", "arm64.config"] {
        world.lose(absent);
    }
    let outcome = world.prune_by(labels(&["!keep"]));
    assert_eq!(outcome.reason(&name), KeepReason::LabelFilter);

    // What another namespace has of it is not there either.
    let mut world = two_platforms();
    let part = Part {
        layers: &["amd64"],
        labels: &[("keep", "1")],
        ..Part::default()
    };
    world.lose("amd64").lose("amd64.config");
    world.within("other").manifest("amd64", part);
    let outcome = world.prune_by(labels(&["!keep"]));
    assert_eq!(outcome.removed(), [&*name]);
}

#[test]
fn an_attestation_is_no_platform_fl12() {
    let mut world = two_platforms();
    let part = Part {
        layers: &["statement"],
        is_unpacked: false,
        ..Part::default()
    };
    world.manifest("attestation", part);
    world.index("attested", &["amd64", "attestation"]);
    world.record(&library("attested:1"), "attested");
    let outcome = world.prune_by(labels(&["!keep=1"]));
    assert_eq!(
        outcome.reason(&library("attested:1")),
        KeepReason::LabelFilter
    );
    // And its lack of labels meets no condition in place of the image's.
    world.lose("amd64").lose("amd64.config");
    let outcome = world.prune_by(labels(&["!other"]));
    assert_eq!(
        outcome.reason(&library("attested:1")),
        KeepReason::LabelFilter
    );
}

#[test]
fn labels_that_cannot_be_seen_protect() {
    for texts in [&["!x"][..], &["x"]] {
        // FL13: no config is there.
        let mut world = labelled(&[("bare", &[])]);
        world.lose("bare.config");
        let outcome = world.prune_by(labels(texts));
        assert_eq!(
            outcome.reason(&library("bare:1")),
            KeepReason::LabelFilter,
            "{texts:?}"
        );
        // FL14: it cannot be read.
        let mut world = labelled(&[("broken", &[])]);
        world.corrupt("broken.config");
        let outcome = world.prune_by(labels(texts));
        assert_eq!(
            outcome.reason(&library("broken:1")),
            KeepReason::LabelFilter,
            "{texts:?}"
        );
    }
}

#[test]
fn until_is_strict_and_counts_from_the_records_creation_fl20() {
    let day = SignedDuration::from_hours(24);
    let nanosecond = SignedDuration::from_nanos(1);
    let mut world = World::new();
    world.image(&library("at:1"), "A").created(ago(day));
    world
        .image(&library("before:1"), "B")
        .created(ago(day + nanosecond));
    world.image(&library("unknown:1"), "C").created_at = None;
    // FL22: pulled again today; for Docker its age is that of the record.
    world.image(&library("updated:1"), "D").updated_at = Some(ago(SignedDuration::ZERO));
    let outcome = world.prune_by(PruneFilters {
        until: Some(ago(day)),
        ..all()
    });
    assert_eq!(
        outcome.removed(),
        [library("before:1"), library("updated:1")]
    );
    assert_eq!(outcome.reason(&library("at:1")), KeepReason::TooRecent);
    assert_eq!(outcome.reason(&library("unknown:1")), KeepReason::TooRecent);
}

#[test]
fn all_filters_together_must_let_an_image_go_fl23() {
    let day = SignedDuration::from_hours(24);
    let mut world = labelled(&[("L", &[("tmp", "")]), ("N", &[])]);
    for record in &mut world.here().images {
        record.created(ago(day * 2));
    }
    for (name, target, age) in [
        (dangling("L"), "L", day * 3),
        (dangling("N"), "N", day * 4),
        ("<none>@L".to_owned(), "L", SignedDuration::ZERO),
    ] {
        world.record(&name, target).created(ago(age));
    }
    let outcome = world.prune_by(PruneFilters {
        dangling: Some(true),
        until: Some(ago(day)),
        ..labels(&["tmp"])
    });
    assert_eq!(outcome.removed(), [dangling("L")]);
    assert_eq!(outcome.reason(&library("L:1")), KeepReason::NotDangling);
    assert_eq!(outcome.reason("<none>@L"), KeepReason::TooRecent);
    assert_eq!(outcome.reason(&dangling("N")), KeepReason::LabelFilter);
}

#[test]
fn a_label_that_was_left_out_keeps_the_image_unless_it_was_asked_for() {
    let mut world = labelled(&[("long", &[("seen", "yes")])]);
    let documents = world.documents.values_mut();
    let mut configs = documents.filter_map(|document| {
        if let Document::Config(config) = document {
            Some(config)
        } else {
            None
        }
    });
    configs.next().unwrap().labels_left_out = 1;
    let removes = |world: &World, filter| !world.prune_by(labels(&[filter])).removed().is_empty();
    // What is in the list is known; anything else may be what was left out.
    assert!(removes(&world, "seen"));
    assert!(removes(&world, "!seen=no"));
    assert!(!removes(&world, "!seen"));
    assert!(!removes(&world, "!unseen"));
    assert!(!removes(&world, "unseen"));
    world.label_keys.insert("unseen".to_owned());
    assert!(removes(&world, "!unseen"));
    assert!(!removes(&world, "unseen"));
}
