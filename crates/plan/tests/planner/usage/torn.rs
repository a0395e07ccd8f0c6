//! Images of which a part is damaged, misnamed, or nested too deep.

use reclaim_model::{DocumentKind, KeepReason, LabelFilter, PruneFilters, RemoveReason};

use crate::world::{ContainerExt, World, all, chain, digest, library, media_type};

/// An index `index` of the manifest `A`, as `a:1`, and another image.
fn world() -> World {
    let mut world = World::new();
    world.image("seed", "A");
    world.here().images.clear();
    world.index("index", &["A"]);
    world.record(&library("a:1"), "index");
    world.image(&library("b:1"), "B");
    world
}

fn labelled(filter: &str) -> PruneFilters {
    PruneFilters {
        labels: vec![LabelFilter::parse(false, filter).unwrap()],
        ..all()
    }
}

#[test]
fn a_torn_image_goes_with_a_reason_of_its_own() {
    for part in ["index", "A", "A.config"] {
        let mut world = world();
        world.tear(part);
        let outcome = world.prune_all();
        assert_eq!(
            outcome.removed(),
            [library("a:1"), library("b:1")],
            "{part}"
        );
        assert_eq!(outcome.plan.steps[0].reason, RemoveReason::Torn);
        assert_eq!(outcome.plan.steps[1].reason, RemoveReason::Unused);
        assert!(outcome.plan.warnings[0].contains("damaged: not JSON"));
        // It has a name, and only dangling ones were asked for.
        assert_eq!(
            world.prune().reason(&library("a:1")),
            KeepReason::NotDangling
        );
    }
}

#[test]
fn a_torn_image_stays_where_something_asks_for_what_it_does_not_show() {
    let mut world = world();
    world.tear("A.config");
    let outcome = world.prune_by(labelled("team"));
    assert_eq!(outcome.reason(&library("a:1")), KeepReason::LabelFilter);
    assert_eq!(outcome.removed(), [library("b:1")]);
    // A container that only Docker lists may have been created from it.
    world.here().has_unlisted_containers = true;
    let outcome = world.prune_all();
    assert_eq!(outcome.reason(&library("a:1")), KeepReason::Unreadable);
    assert_eq!(outcome.removed(), [library("b:1")]);
}

#[test]
fn a_torn_image_stays_while_a_chain_is_not_explained_by_its_own_user() {
    for (image, stays) in [("", true), ("gone:1", true), ("b:1", false), ("a:1", true)] {
        let mut world = world();
        world.tear("A.config");
        world.active("root", &chain("base+B.layer"));
        world.container("web", image).on("root");
        let removed = world.prune_all().removed().contains(&&*library("a:1"));
        assert_eq!(removed, !stays, "created from `{image}`");
    }
    // By the digest of an image that has that chain.
    let mut world = world();
    world.tear("A.config");
    world.active("root", &chain("base+B.layer"));
    world.container("web", "").of("B").on("root");
    assert_eq!(world.prune_all().removed(), [library("a:1")]);
}

#[test]
fn an_image_whose_own_descriptor_misnames_a_document_stays_and_harms_no_other() {
    let mut world = world();
    world.record(&library("evil:1"), "index").target.media_type =
        media_type(DocumentKind::Config).to_owned();
    world.record(&library("same:1"), "index");
    let outcome = world.prune_all();
    assert_eq!(outcome.reason(&library("evil:1")), KeepReason::Unreadable);
    assert_eq!(
        outcome.removed(),
        [library("a:1"), library("b:1"), library("same:1")]
    );
    let expected = format!(
        "names `{}` as image config, but its bytes are index",
        digest("index")
    );
    assert!(
        outcome.plan.warnings[0].contains(&expected),
        "{:?}",
        outcome.plan.warnings
    );
}

#[test]
fn depth_is_counted_within_each_image() {
    let nested = |levels: usize| {
        let mut world = world();
        for level in 0..levels {
            let below = if level == 0 {
                "index".to_owned()
            } else {
                format!("n{}", level - 1)
            };
            world.nest(&format!("n{level}"), &below);
        }
        world.record(&library("deep:1"), &format!("n{}", levels - 1));
        world.prune_all()
    };
    // Manifest and config lie two and three levels below the last of them.
    assert_eq!(nested(6).removed().len(), 3);
    let outcome = nested(7);
    assert_eq!(outcome.reason(&library("deep:1")), KeepReason::Unreadable);
    assert_eq!(outcome.removed(), [library("a:1"), library("b:1")]);
}

#[test]
fn what_its_own_record_calls_a_leaf_is_not_read_even_if_another_record_reads_it() {
    let mut world = world();
    world.record(&library("odd:1"), "index").target.media_type = "text/plain".to_owned();
    world.unpack(&["unheard", "of"]);
    world.active("root", &chain("unheard+of"));
    world.container("web", "").on("root");
    let outcome = world.prune_all();
    assert_eq!(outcome.reason(&library("odd:1")), KeepReason::UsageUnknown);
    assert_eq!(outcome.removed(), [library("a:1"), library("b:1")]);
}
