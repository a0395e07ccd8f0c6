//! Docker's table of which images a prune takes, row by row, with our safe differences.
//!
//! Each row is evaluated twice: with containers of which the engine knows the target they were
//! created from, and with what plain containerd knows of the same containers: the name as it
//! was typed and a root filesystem on the image's chain.

use reclaim_model::{HolderKind, KeepReason, PruneFilters, RemoveReason};

use crate::world::{
    ContainerExt, LeaseExt, Outcome, World, all, chain, dangling, digest, id, library, snapshot,
};

/// Which images a prune asks for.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Scope {
    All,
    Dangling,
}
use Scope::{All, Dangling};

/// One row. In names `L/` is Docker Hub's library, `<A>` the digest of A, `<A:hex>` the same
/// without its algorithm and `<A:short>` the beginning of that.
struct Row {
    number: &'static str,
    scope: Scope,
    /// Names and targets.
    images: &'static [(&'static str, &'static str)],
    /// What each container was created from, and what that meant at the time.
    containers: &'static [(&'static str, &'static str)],
    removed: &'static [&'static str],
}

const fn row(
    number: &'static str,
    scope: Scope,
    images: &'static [(&'static str, &'static str)],
    containers: &'static [(&'static str, &'static str)],
    removed: &'static [&'static str],
) -> Row {
    Row {
        number,
        scope,
        images,
        containers,
        removed,
    }
}

#[rustfmt::skip]
const TABLE: &[Row] = &[
    row("S1", All, &[("L/a:latest", "A")], &[], &["L/a:latest"]),
    row("S2", All, &[("L/a:latest", "A")], &[("a", "A")], &[]),
    row("S2", All, &[("L/a:latest", "A")], &[("L/a:latest", "A")], &[]),
    row("S2", All, &[("L/a:latest", "A")], &[("index.docker.io/a", "A")], &[]),
    row("S5", All, BUSYBOX_TWICE, &[("busybox:latest", "A")], &["L/busybox:a"]),
    row("S6", All,
        &[("L/busybox:h", "A"), ("L/busybox:a", "A"), ("L/busybox:j", "A"), ("L/busybox:o", "A"),
          ("L/busybox:s", "A"), ("L/busybox:q", "A"), ("L/busybox:w", "A"), ("L/busybox:e", "A"),
          ("L/busybox:r", "A"), ("L/busybox:t", "A"), ("L/busybox:z", "A")],
        &[("<A>", "A")],
        &["L/busybox:a", "L/busybox:e", "L/busybox:h", "L/busybox:j", "L/busybox:o",
          "L/busybox:q", "L/busybox:r", "L/busybox:s", "L/busybox:t", "L/busybox:w"]),
    row("S8", Dangling, &[("moby-dangling@<A>", "A")], &[("<A>", "A")], &[]),
    row("S9", Dangling, &[("moby-dangling@<A>", "A"), ("L/a:latest", "B")], &[],
        &["moby-dangling@<A>"]),
    row("S10", All, &[("moby-dangling@<A>", "A"), ("L/n:latest", "B")], &[("n", "A")], &[]),
    // Docker prunes alpine:3.18: the name now leads to B, and A is not counted as used.
    row("S11, ours", All, &[("L/alpine:latest", "B"), ("L/alpine:3.18", "A")],
        &[("alpine", "A")], &[]),
    // Docker prunes foo:bar, the last name of what the container runs.
    row("S12, ours", All, &[("L/foo:bar", "A")], &[("alpine", "A")], &[]),
    // Docker prunes the tag and keeps the record without a name.
    row("S14, ours", All, &[("moby-dangling@<A>", "A"), ("quay.io/z/a:1", "A")], &[("<A>", "A")],
        &["moby-dangling@<A>"]),
    row("S15", Dangling, &[("moby-dangling@<A>", "A"), ("L/x:1", "A")], &[],
        &["moby-dangling@<A>"]),
    row("S19", All, &[("L/x:a", "A"), ("L/x:b", "A"), ("L/x:c", "A")],
        &[("x:a", "A"), ("<A>", "A")], &["L/x:b", "L/x:c"]),
    row("S20", All, &[("L/x:latest", "B")], &[("x", "A")], &[]),
    row("S23", All, &[("L/u@<A>", "A")], &[("u:latest@<A>", "A")], &[]),
    row("S25", Dangling, &[("L/u@<A>", "A")], &[], &[]),
    row("S27", All, &[("L/x:1", "A"), ("L/x:2", "A")], &[("", "A")], &["L/x:1"]),
    // Docker cannot parse the name and counts A as unused.
    row("S28, ours", All, &[("L/x:1", "A")], &[("FOO", "A")], &[]),
    // Docker looks for docker.io/library/myimg:latest only.
    row("S30, ours", All, &[("myimg", "A")], &[("myimg", "A")], &[]),
    row("S30", All, &[("myimg", "A")], &[("<A>", "A")], &[]),
    row("S31", All, &[("L/a:latest", "A"), ("L/b:latest", "B")], &[("a", "A")], &["L/b:latest"]),
    row("S33", All, &[("L/sha256:defcab", "B")], &[], &["L/sha256:defcab"]),
    row("S34", Dangling, &[("L/built:1", "A")], &[], &[]),
    row("S34", All, &[("L/built:1", "A")], &[], &["L/built:1"]),
    row("S35", All, &[], &[], &[]),
    row("S36", Dangling, &[("moby-dangling@<P>", "P"), ("L/child:1", "C")], &[],
        &["moby-dangling@<P>"]),
];

const BUSYBOX: &[(&str, &str)] = &[("L/busybox:latest", "A")];
const BUSYBOX_TWICE: &[(&str, &str)] = &[("L/busybox:latest", "A"), ("L/busybox:a", "A")];

/// What rows S3 and S4 have a container created from: six spellings of one digest.
const SPELLINGS: [&str; 6] = [
    "<A>",
    "<A:hex>",
    "<A:short>",
    "busybox@<A>",
    "busybox:latest@<A>",
    "docker.io/library/busybox@<A>",
];

fn text(template: &str) -> String {
    let mut text = template.to_owned();
    for target in ["A", "B", "P"] {
        let hex = digest(target).hex();
        text = text
            .replace(&format!("<{target}>"), &id(target))
            .replace(&format!("<{target}:hex>"), &hex)
            .replace(&format!("<{target}:short>"), &hex[..8]);
    }
    match text.strip_prefix("L/") {
        Some(rest) => library(rest),
        None => text,
    }
}

/// What is known of a container in addition to what it was created from.
#[derive(Debug, Clone, Copy)]
enum Evidence {
    /// An engine knows the target.
    Digest,
    /// There is a root filesystem on the image's chain.
    Chain,
}

fn world(images: &[(&str, &str)], containers: &[(&str, &str)], evidence: Evidence) -> World {
    let mut world = World::new();
    for (name, target) in images {
        world.image(&text(name), target);
    }
    for (index, (image, target)) in containers.iter().enumerate() {
        let id = format!("c{index}");
        match evidence {
            Evidence::Digest => {
                world.container(&id, &text(image)).of(target);
            }
            Evidence::Chain => {
                let layer = format!("{target}.layer");
                world.unpack(&["base", &layer]);
                world.active(&id, &chain(&format!("base+{layer}")));
                world.container(&id, &text(image)).on(&id);
            }
        }
    }
    world
}

fn prune(world: &World, scope: Scope) -> Outcome {
    match scope {
        All => world.prune_all(),
        Dangling => world.prune(),
    }
}

fn check_table(evidence: Evidence) {
    for row in TABLE {
        let outcome = prune(&world(row.images, row.containers, evidence), row.scope);
        let mut expected: Vec<String> = row.removed.iter().map(|name| text(name)).collect();
        expected.sort();
        assert_eq!(outcome.removed(), expected, "{}, {evidence:?}", row.number);
    }
}

#[test]
fn selects_as_docker_does_where_targets_are_known() {
    check_table(Evidence::Digest);
}

#[test]
fn selects_alike_by_the_chains_that_containers_stand_on() {
    check_table(Evidence::Chain);
}

#[test]
fn any_spelling_of_a_digest_keeps_one_record_s3_s4() {
    for spelling in SPELLINGS {
        for evidence in [Evidence::Digest, Evidence::Chain] {
            let container = &[(spelling, "A")];
            let outcome = world(BUSYBOX, container, evidence).prune_all();
            assert!(outcome.removed().is_empty(), "{spelling}");
            assert!(outcome.rows().is_empty(), "{spelling}");

            let outcome = world(BUSYBOX_TWICE, container, evidence).prune_all();
            assert_eq!(outcome.removed(), [library("busybox:a")], "{spelling}");
            assert_eq!(outcome.rows(), ["untagged: busybox:a"], "{spelling}");
        }
    }
}

#[test]
fn a_spelling_of_the_digest_alone_is_evidence_enough() {
    for spelling in SPELLINGS {
        let mut world = World::new();
        world.image(&library("other:1"), "A");
        world.container("web", &text(spelling));
        let outcome = world.prune_all();
        assert_eq!(
            outcome.reason(&library("other:1")),
            KeepReason::InUse,
            "{spelling}"
        );
        assert_eq!(outcome.holders(&library("other:1")), ["container web"]);
    }
}

#[test]
fn a_filter_takes_the_record_that_it_passes_s17() {
    let mut world = world(
        &[("L/x:a", "A"), ("L/x:b", "A")],
        &[("<A>", "A")],
        Evidence::Digest,
    );
    let until = world.here().images[0].created_at.unwrap();
    world.here().images[0].created_at = Some(until - jiff::SignedDuration::from_secs(1));
    let outcome = world.prune_by(PruneFilters {
        until: Some(until),
        ..all()
    });
    assert_eq!(outcome.removed(), [library("x:a")]);
    assert_eq!(outcome.removal(&library("x:a")), RemoveReason::Duplicate);
    assert_eq!(outcome.reason(&library("x:b")), KeepReason::TooRecent);
}

#[test]
fn an_image_mount_keeps_its_image_s37() {
    let mut world = World::new();
    world.image(&library("m:1"), "A");
    world.image(&library("app:1"), "B");
    world.image(&library("free:1"), "C");
    let mount = digest("container-src=m:1-dst=/m").hex();
    world.active(&mount, &chain("base+A.layer"));
    world.lease(&mount, &[snapshot(&mount)]);
    world.container("app", "app:1").of("B");
    let outcome = world.prune_all();
    assert_eq!(outcome.removed(), [library("free:1")]);
    assert_eq!(outcome.holders(&library("m:1")), [format!("lease {mount}")]);
}

/// By its name, and by what the name meant: the container is of another image.
#[test]
fn a_mount_that_an_engine_lists_keeps_its_image() {
    let mut world = World::new();
    world.image(&library("m:1"), "A");
    world.record(&library("m:2"), "A");
    world.image(&library("app:1"), "B");
    let mut listed = World::new();
    let container = listed.container("app", "app:1").of("B");
    container.mounts = vec!["m:1".to_owned()];
    world.registered = listed.here().containers.clone();
    let outcome = world.prune_all();
    assert_eq!(outcome.removed(), [library("m:2")]);
    assert_eq!(outcome.removal(&library("m:2")), RemoveReason::Duplicate);
    assert_eq!(outcome.holders(&library("m:1")), ["container app"]);
}

#[test]
fn a_container_in_any_state_keeps_its_image_s38() {
    let mut world = World::new();
    world.image(&library("a:latest"), "A");
    // Registered by its engine, not yet started: containerd has nothing of it.
    let mut created = World::new();
    created.container("created", "a").of("A");
    world.registered = created.here().containers.clone();
    let outcome = world.prune_all();
    assert_eq!(outcome.reason(&library("a:latest")), KeepReason::InUse);
    assert_eq!(outcome.holders(&library("a:latest")), ["container created"]);
}

#[test]
fn says_why_each_record_stays_or_goes() {
    let mut world = world(
        &[
            ("L/alpine:latest", "B"),
            ("L/alpine:3.18", "A"),
            ("L/alpine:3", "A"),
            ("L/free:1", "C"),
            ("moby-dangling@<P>", "P"),
        ],
        &[("alpine", "A"), ("alpine", "A")],
        Evidence::Digest,
    );
    let outcome = world.prune_all();
    let both = ["container c0", "container c1"];
    assert_eq!(outcome.reason(&library("alpine:latest")), KeepReason::InUse);
    assert_eq!(outcome.holders(&library("alpine:latest")), both);
    assert_eq!(outcome.holders(&library("alpine:3.18")), both);
    assert_eq!(
        outcome.removal(&library("alpine:3")),
        RemoveReason::Duplicate
    );
    assert_eq!(outcome.removal(&library("free:1")), RemoveReason::Unused);
    assert_eq!(outcome.removal(&dangling("P")), RemoveReason::Dangling);

    let outcome = world.prune();
    assert_eq!(outcome.reason(&library("free:1")), KeepReason::NotDangling);
    assert!(outcome.holders(&library("free:1")).is_empty());

    world.lease("pull", &[]).expired();
    let kinds = world.prune_all().plan.kept.into_iter();
    let kinds = kinds.flat_map(|kept| kept.holders).map(|it| it.kind);
    assert!(kinds.eq([HolderKind::Container; 4]));
}
