//! Labels of the collector on random objects: every spelling that it follows or almost follows, with
//! values that refer to an object, to nothing or in a circle.

use super::draft::Draft;
use super::registry::Registry;
use super::{FUTURE, PAST, SNAPSHOTTERS};
use crate::random::store::ObjectKind;

/// Values that are not the digest, key or name of any object. Few, so that labels share them.
const HOSTILE: [&str; 5] = [
    "nothing",
    "sha256:0000",
    "../../etc/passwd",
    "a/b|c,d",
    "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
];

/// Adds labels to a few objects of the namespace.
pub(super) fn sprinkle(draft: &mut Draft, registry: &Registry) {
    let number = match draft.dice.below(4) {
        0 => 0,
        1 => draft.dice.between(8, 20),
        _ => draft.dice.between(1, 6),
    };
    for _ in 0..number {
        match draft.dice.below(10) {
            0 => put_through_missing(draft),
            1 => put_conditional(draft),
            _ => {
                let label = label(draft, registry);
                put(draft, label, |_| true);
            }
        }
    }
}

/// Adds a label to one of the objects that `is_fit` accepts, if there is any.
fn put(draft: &mut Draft, (key, value): (String, String), is_fit: impl Fn(&ObjectKind) -> bool) {
    // An ingest has no labels.
    let can_have =
        |object: &ObjectKind| !matches!(object, ObjectKind::Ingest { .. }) && is_fit(object);
    let n_fit = draft
        .objects_here()
        .iter()
        .filter(|object| can_have(&object.kind))
        .count();
    if n_fit == 0 {
        return;
    }
    let index = draft.dice.below(n_fit);
    let mut objects = draft.objects_here().into_iter();
    let object = objects
        .by_ref()
        .filter(|object| can_have(&object.kind))
        .nth(index);
    if let Some(object) = object {
        object
            .labels
            .insert(format!("containerd.io/gc.{key}"), value);
    }
}

/// Makes one object refer to a missing one, and another name the same as its back reference. The
/// collector follows from the first to the second.
fn put_through_missing(draft: &mut Draft) {
    let missing = (*draft.dice.pick(&HOSTILE)).to_owned();
    let kind = *draft
        .dice
        .pick(&["content", "image", "snapshot.native", "snapshot.overlayfs"]);
    put(draft, (format!("ref.{kind}"), missing.clone()), |_| true);
    put(draft, (format!("bref.{kind}"), missing), |_| true);
}

/// Adds a conditional reference to a snapshot, and the time at which the snapshot was used.
fn put_conditional(draft: &mut Draft) {
    let Some((snapshotter, key)) = draft.pick_snapshot(|_| true) else {
        return;
    };
    let condition = condition(draft);
    let reference = format!("cond.snapshot.{snapshotter}");
    let is_holder =
        |object: &ObjectKind| matches!(object, ObjectKind::Blob { .. } | ObjectKind::Image { .. });
    put(draft, (reference, format!("{condition}|{key}")), is_holder);
    let used_at = moment(draft);
    put(
        draft,
        ("cond.value-usedat".to_owned(), used_at),
        |object| matches!(object, ObjectKind::Snapshot { key: own, .. } if *own == key),
    );
}

fn label(draft: &mut Draft, registry: &Registry) -> (String, String) {
    let spelling = *draft.dice.pick(&["", ".x", "/x", ".l.0/y"]);
    let snapshotter = *draft.dice.pick(&SNAPSHOTTERS);
    let slashed = *draft.dice.pick(&["", "/x", "/x/y"]);
    match draft.dice.below(20) {
        0..=2 => (format!("ref.content{spelling}"), digest(draft, registry)),
        3 => ("ref.contents".to_owned(), digest(draft, registry)),
        4..=6 => (format!("ref.snapshot.{snapshotter}{slashed}"), key(draft)),
        7 => ("ref.snapshot".to_owned(), key(draft)),
        8 => (format!("ref.image{spelling}"), name(draft)),
        9 => (format!("ref.container{spelling}"), container(draft)),
        10 => ("root".to_owned(), "2021".to_owned()),
        11 => {
            let prefixed = *draft.dice.pick(&["root.x", "rooted", "root/"]);
            (prefixed.to_owned(), "yes".to_owned())
        }
        12 => ("expire".to_owned(), moment(draft)),
        13 => ("flat".to_owned(), "true".to_owned()),
        14 => (format!("bref.container{spelling}"), container(draft)),
        15 => (format!("bref.content{spelling}"), digest(draft, registry)),
        16 => (format!("bref.image{spelling}"), name(draft)),
        17 => (format!("bref.snapshot.{snapshotter}{slashed}"), key(draft)),
        18 => conditional(draft, snapshotter),
        _ => {
            let suffix = *draft.dice.pick(&["", ".x", "s"]);
            (format!("cond.value-usedat{suffix}"), moment(draft))
        }
    }
}

/// Returns a reference to a snapshot that depends on when it was last used.
fn conditional(draft: &mut Draft, snapshotter: &str) -> (String, String) {
    let kind = match draft.dice.below(4) {
        0 => format!("cond.snapshot/{snapshotter}/x"),
        1 => format!("cond.snapshot{snapshotter}"),
        2 => "cond.snapshot".to_owned(),
        _ => format!("cond.snapshot.{snapshotter}"),
    };
    let condition = condition(draft);
    (kind, format!("{condition}|{}", key(draft)))
}

fn condition(draft: &mut Draft) -> &'static str {
    const CONDITIONS: [&str; 8] = [
        "usedat<72h",
        "usedat>72h",
        "usedat<=72h",
        "usedat<3d",
        "other<72h,usedat>1h30m",
        "usedat<-1h",
        "usedat",
        "",
    ];
    CONDITIONS[draft.dice.below(CONDITIONS.len())]
}

/// Returns a time, or a text that the server does not quite accept as one.
fn moment(draft: &mut Draft) -> String {
    let moment = *draft.dice.pick(&[
        PAST,
        FUTURE,
        PAST,
        FUTURE,
        "soon",
        "2021-02-03T4:05:06Z",
        "2021-02-03T04:05:06,5Z",
        "2021-02-03T04:05:06.1234567890123Z",
        "2021-02-03T04:05:60Z",
        "2021-02-30T04:05:06Z",
        "2021-02-03T04:05:06+24:60",
        "2021-02-03t04:05:06z",
        "2021-02-03 04:05:06Z",
        "2099-02-03",
    ]);
    moment.to_owned()
}

fn digest(draft: &mut Draft, registry: &Registry) -> String {
    let digests = draft.known().digests.clone();
    match draft.dice.below(10) {
        0 => (*draft.dice.pick(&HOSTILE)).to_owned(),
        1 => draft
            .dice
            .pick(&registry.artifacts)
            .target
            .digest
            .to_string(),
        _ => one_of(draft, &digests),
    }
}

fn key(draft: &mut Draft) -> String {
    let snapshots = draft.known().snapshots.iter();
    let keys: Vec<String> = snapshots.map(|(_, key, _)| key.clone()).collect();
    one_of(draft, &keys)
}

fn name(draft: &mut Draft) -> String {
    let names = draft.known().names.clone();
    one_of(draft, &names)
}

fn container(draft: &mut Draft) -> String {
    let containers = draft.known().containers.clone();
    one_of(draft, &containers)
}

/// Returns one of the existing names, or in some cases a missing one.
fn one_of(draft: &mut Draft, existing: &[String]) -> String {
    if existing.is_empty() || draft.dice.percent(10) {
        (*draft.dice.pick(&HOSTILE)).to_owned()
    } else {
        draft.dice.pick(existing).clone()
    }
}
